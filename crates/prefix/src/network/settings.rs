//! Responsible for the settings of the network: plain values, set by the code that reads
//! environment variables and configuration files.

use std::{fmt, path::PathBuf, time::Duration};

use reqwest::NoProxy;

use super::Mirrors;
use crate::{error::Error, secrets::without_secrets};

/// Settings for downloads of packages and indices.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// Cache directory for archives and channel indices: few and large files,
    /// never unpacked packages.
    pub cache_dir: PathBuf,
    /// Cache directory for data that no digest protects (indices, and archives without a digest),
    /// if other users can write to `cache_dir`.
    pub private_dir: Option<PathBuf>,
    /// Number of concurrent downloads.
    pub concurrent_downloads: usize,
    /// True if no request may be sent. Files that are not in the cache give an error.
    pub offline: bool,
    /// Number of times that a request is repeated after failures that may be temporary.
    pub retries: u32,
    /// Delay before the first repetition; it doubles with each further one.
    pub backoff: Duration,
    /// Longest time for establishing a connection.
    pub connect_timeout: Duration,
    /// Time without a response, or with less than 512 bytes per second, after which a request is
    /// cancelled and repeated.
    pub read_timeout: Duration,
    /// Largest size in bytes of a channel's index, compressed or not. The largest index, that of
    /// conda-forge's linux-64, has some hundred million bytes. An unlimited index could fill the
    /// user's disk quota.
    pub index_bytes_max: u64,
    /// Largest size in bytes of a sharded index, and of each of its shards. The sharded indices of
    /// conda-forge have some million bytes. rattler holds several copies of them in memory.
    pub part_bytes_max: u64,
    /// Mirrors that are used instead of channels.
    pub mirrors: Mirrors,
    /// Proxies between this machine and the servers.
    pub proxies: Proxies,
    /// Certificates that servers are checked against.
    pub trust: Trust,
    /// Files of credentials in rattler's JSON format. The first one that has a host is used for it.
    /// All files must exist.
    pub auth_files: Vec<PathBuf>,
    /// A netrc file for hosts that are not in `auth_files`. The file must exist.
    pub netrc: Option<PathBuf>,
}

impl NetworkSettings {
    /// Default number of concurrent downloads: enough to hide the latency of a slow server.
    pub const DOWNLOADS: usize = 12;
    /// Default number of repetitions, the same as in conda.
    pub const RETRIES: u32 = 3;

    /// Returns settings with this cache directory, the system's certificates, no proxies, no
    /// mirrors and no credentials.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            private_dir: None,
            concurrent_downloads: Self::DOWNLOADS,
            offline: false,
            retries: Self::RETRIES,
            backoff: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            index_bytes_max: 2 << 30,
            part_bytes_max: 64 << 20,
            mirrors: Mirrors::default(),
            proxies: Proxies::default(),
            trust: Trust::default(),
            auth_files: Vec::new(),
            netrc: None,
        }
    }
}

/// Function of reqwest that makes a proxy of one kind.
type Make = fn(String) -> reqwest::Result<reqwest::Proxy>;

/// Proxies, each as `http://[user:password@]host[:port]` or `socks5h://…`. A proxy without a scheme
/// is one of `http://`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Proxy for `http://` URLs.
    pub http: Option<String>,
    /// Proxy for `https://` URLs.
    pub https: Option<String>,
    /// Proxy for both kinds of URLs, if they have none of their own.
    pub all: Option<String>,
    /// Hosts that are connected to without a proxy, separated by commas: names (with their
    /// subdomains), addresses, networks or `*`.
    pub no_proxy: Option<String>,
}

// Hides credentials, since URLs of proxies often contain passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |proxy: &Option<String>| {
            proxy
                .as_deref()
                .map(|text| without_secrets(&with_scheme(text)).into_owned())
        };
        f.debug_struct("Proxies")
            .field("http", &hidden(&self.http))
            .field("https", &hidden(&self.https))
            .field("all", &hidden(&self.all))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

fn with_scheme(text: &str) -> String {
    if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    }
}

impl Proxies {
    /// Returns the proxies for reqwest.
    pub(super) fn load(&self) -> Result<Vec<reqwest::Proxy>, Error> {
        let around = self.no_proxy.as_deref().unwrap_or_default();
        if around.split(',').any(|word| word.trim() == "*") {
            return Ok(Vec::new());
        }
        let around = NoProxy::from_string(around);
        let kinds: [(&Option<String>, Make, &str); 3] = [
            (&self.http, |text| reqwest::Proxy::http(text), "http_proxy"),
            (
                &self.https,
                |text| reqwest::Proxy::https(text),
                "https_proxy",
            ),
            (&self.all, |text| reqwest::Proxy::all(text), "all_proxy"),
        ];
        let mut proxies = Vec::new();
        for (text, make, name) in kinds {
            let Some(text) = text else { continue };
            let text = with_scheme(text);
            let known = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
            let problem = || Error::NetworkSetting {
                what: name.to_owned(),
                problem: format!("`{}` is not the address of a proxy", without_secrets(&text)),
            };
            let url = url::Url::parse(&text).map_err(|_| problem())?;
            if !known.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
                return Err(problem());
            }
            let proxy = make(text.clone()).map_err(|_| problem())?;
            proxies.push(proxy.no_proxy(around.clone()));
        }
        Ok(proxies)
    }
}

/// Certificates that servers are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Files of certificates that replace those of the system (SSL_CERT_FILE). They must exist.
    pub files: Vec<PathBuf>,
    /// Directories of certificates that replace those of the system
    /// (SSL_CERT_DIR). They must exist.
    pub dirs: Vec<PathBuf>,
    /// Files or directories of further trusted certificates (REQUESTS_CA_BUNDLE). They must exist.
    pub extra: Vec<PathBuf>,
    /// True if certificates of servers are checked.
    pub verify: bool,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            dirs: Vec::new(),
            extra: Vec::new(),
            verify: true,
        }
    }
}
