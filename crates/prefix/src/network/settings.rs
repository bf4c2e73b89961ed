//! Responsible for what can be set about the network; plain values that whoever reads variables and
//! files fills in.

use std::{fmt, path::PathBuf, time::Duration};

use reqwest::NoProxy;

use super::Mirrors;
use crate::{error::Error, secrets::without_secrets};

/// How packages reach this machine.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// Archives and channel indices; few and large files, never unpacked packages.
    pub cache_dir: PathBuf,
    /// The directory for data that no digest protects, when others can write into `cache_dir`:
    /// indices, and archives without a digest.
    pub private_dir: Option<PathBuf>,
    /// Downloads at a time.
    pub concurrent_downloads: usize,
    /// Nothing is sent; what the cache does not have is missing.
    pub offline: bool,
    /// Times a request is repeated that failed in a way that may pass.
    pub retries: u32,
    /// Wait before the first repetition; it doubles with each.
    pub backoff: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Time without an answer, or with less than 512 bytes a second, after which a request is
    /// given up and repeated.
    pub read_timeout: Duration,
    /// Bytes that a channel's index may have, compressed or not. The largest, that of
    /// conda-forge's linux-64, has some hundred millions. An unlimited index could fill a
    /// quota.
    pub index_bytes_max: u64,
    /// Bytes that an index in parts may have, and each of its parts. Those of conda-forge have
    /// some millions. The reader holds all of it in memory, several times.
    pub part_bytes_max: u64,
    /// Where channels are to be had instead.
    pub mirrors: Mirrors,
    /// What stands between this machine and the servers.
    pub proxies: Proxies,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Files of credentials in rattler's form, JSON; the first that knows a host wins. All must
    /// exist.
    pub auth_files: Vec<PathBuf>,
    /// A netrc file, asked after those; must exist.
    pub netrc: Option<PathBuf>,
}

impl NetworkSettings {
    /// Downloads at a time unless something else is asked for: enough to hide a slow server's
    /// latency.
    pub const DOWNLOADS: usize = 12;
    /// Repetitions unless something else is asked for, as conda has it.
    pub const RETRIES: u32 = 3;

    /// A direct way with this cache, the system's certificates and no credentials.
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

/// How reqwest makes a proxy of one kind.
type Make = fn(String) -> reqwest::Result<reqwest::Proxy>;

/// Proxies, each as `http://[user:password@]host[:port]` or `socks5h://…`; no scheme means `http://`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://` URLs.
    pub http: Option<String>,
    /// For `https://` URLs.
    pub https: Option<String>,
    /// For both where they have none of their own.
    pub all: Option<String>,
    /// Hosts that are reached directly: names with their subdomains, addresses, networks or `*`,
    /// between commas.
    pub no_proxy: Option<String>,
}

// Proxies often have passwords.
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
    /// As reqwest wants them.
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

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Files of certificates that replace those of the system (SSL_CERT_FILE); must exist.
    pub files: Vec<PathBuf>,
    /// Directories of certificates that replace those of the system (SSL_CERT_DIR); must exist.
    pub dirs: Vec<PathBuf>,
    /// Files or directories that are believed as well (REQUESTS_CA_BUNDLE); must exist.
    pub extra: Vec<PathBuf>,
    /// Certificates are checked at all.
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
