//! Responsible for network access: the HTTP client of the whole run, and the cache
//! directories for downloads.
//!
//! A request passes through [`persistence`] (mirrors, retries), then [`credentials`], then reqwest
//! with the proxies and certificates of the [`NetworkSettings`]. [`bounds`] limits the bodies of
//! responses, and [`shards`] checks sharded indices.

mod absent;
mod bounds;
mod credentials;
mod local;
mod mirrors;
mod notices;
mod persistence;
mod settings;
mod shards;
mod trust;
mod unchanged;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rattler_conda_types::{Channel, MatchSpec};
use rattler_networking::{LazyClient, OfflineMiddleware};
use url::Url;

use crate::{error::Error, progress::Progress};
use absent::EmptySubdirs;
use bounds::Bounded;
use credentials::{Credentials, SignedRequests};
use mirrors::MirrorTable;
use notices::Notices;
use persistence::Persistence;
use shards::ShardRepair;
use unchanged::BareUnchanged;

pub use mirrors::Mirrors;
pub(crate) use persistence::ServedBy;
pub use settings::{NetworkSettings, Proxies, Trust};

/// HTTP client, cache directories and settings for access to channels.
#[derive(Clone)]
pub struct Network {
    settings: Arc<NetworkSettings>,
    client: LazyClient,
    keys: Arc<Credentials>,
    notices: Arc<Notices>,
    /// True if a shard of an index was rewritten without unreadable entries, so that the query that
    /// failed because of it can be repeated.
    repaired: Arc<AtomicBool>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Interval at which a waiting build checks for cancellation.
const POLL: Duration = Duration::from_millis(50);

impl Network {
    /// Reads the files that the settings name (certificates, credentials) and the proxies. No
    /// request is sent.
    ///
    /// # Errors
    /// Returns [`Error::NetworkSetting`] for a file or an address that cannot be used.
    pub fn open(settings: NetworkSettings) -> Result<Self, Error> {
        let (keys, notices) = (
            Arc::new(Credentials::default()),
            Arc::new(Notices::default()),
        );
        let repaired = Arc::default();
        let client = client(&settings, &keys, &notices, &repaired)?;
        Ok(Self {
            settings: Arc::new(settings),
            client,
            keys,
            notices,
            repaired,
        })
    }

    /// Returns the settings that the network was opened with.
    pub fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    /// Returns the HTTP client for all requests.
    pub(crate) fn client(&self) -> &LazyClient {
        &self.client
    }

    /// Returns true if a shard of an index has been rewritten since the last call.
    pub(crate) fn take_repaired(&self) -> bool {
        self.repaired.swap(false, Ordering::Relaxed)
    }

    /// Returns the number of concurrent downloads, at least one.
    pub(crate) fn concurrent_downloads(&self) -> usize {
        self.settings.concurrent_downloads.max(1)
    }

    /// Returns the cache directory of archives. Archives with a digest, which is checked when they
    /// are used, may be in a directory that other users can write to.
    pub(crate) fn archives_dir(&self, checkable: bool) -> PathBuf {
        let dir = if checkable {
            &self.settings.cache_dir
        } else {
            private_dir(&self.settings)
        };
        dir.join("archives")
    }

    /// Returns the cache directory of channel indices.
    pub(crate) fn index_dir(&self) -> PathBuf {
        index_dir(&self.settings)
    }

    /// Returns the URL without its credentials. Later requests for this URL and for URLs below it
    /// get the credentials back.
    pub(crate) fn without_credentials(&self, url: &Url) -> Url {
        self.keys.take(url)
    }

    /// Returns the channel with a URL without credentials, like [`Network::without_credentials`].
    pub(crate) fn channel_without_credentials(&self, channel: &Channel) -> Channel {
        let url: &Url = channel.base_url.url();
        let clean = self.without_credentials(url);
        if clean == *url {
            return channel.clone();
        }
        Channel {
            platforms: channel.platforms.clone(),
            ..Channel::from_url(clean)
        }
    }

    /// Returns the match spec with URLs without credentials, like [`Network::without_credentials`].
    pub(crate) fn spec_without_credentials(&self, spec: &MatchSpec) -> MatchSpec {
        MatchSpec {
            channel: spec
                .channel
                .as_deref()
                .map(|channel| Arc::new(self.channel_without_credentials(channel))),
            url: spec.url.as_ref().map(|url| self.without_credentials(url)),
            ..spec.clone()
        }
    }

    /// Creates the cache directories, and marks the cache so that backup programs skip it.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        for dir in [
            self.archives_dir(true),
            self.archives_dir(false),
            self.index_dir(),
        ] {
            fs_err::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        }
        let tag = self.settings.cache_dir.join("CACHEDIR.TAG");
        if !tag.exists() {
            // The signature is fixed by the cache directory tagging convention.
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# Archives and indices of conda channels; safe to delete.\n";
            fs_err::write(&tag, text).map_err(Error::io("write", &tag))?;
        }
        Ok(())
    }

    /// Waits for `work` until it ends or the user cancels, and passes notices of the network to
    /// `progress` meanwhile.
    pub(crate) async fn attended<T>(
        &self,
        progress: &dyn Progress,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let attend = async {
            while !progress.cancelled() {
                self.notices.pass_on(progress);
                tokio::time::sleep(POLL).await;
            }
        };
        let result = tokio::select! {
            result = work => result,
            () = attend => Err(Error::Interrupted),
        };
        self.notices.pass_on(progress);
        result
    }
}

fn index_dir(settings: &NetworkSettings) -> PathBuf {
    private_dir(settings).join("index")
}

/// Returns the cache directory for all files that have no digest.
fn private_dir(settings: &NetworkSettings) -> &Path {
    let private_dir = settings.private_dir.as_ref();
    private_dir.unwrap_or(&settings.cache_dir)
}

/// Builds the client. The documentation of the module has the order of its middlewares.
fn client(
    settings: &NetworkSettings,
    keys: &Arc<Credentials>,
    notices: &Arc<Notices>,
    repaired: &Arc<AtomicBool>,
) -> Result<LazyClient, Error> {
    let raw = raw_client(settings, notices)?;
    let mut builder = reqwest_middleware::ClientBuilder::new(raw);
    if settings.offline {
        builder = builder.with(OfflineMiddleware);
    }
    let mirrors = MirrorTable::new(&settings.mirrors, keys);
    let parts = ShardRepair::new(
        index_dir(settings),
        Arc::clone(notices),
        Arc::clone(repaired),
    );
    let client = builder
        .with(EmptySubdirs)
        .with(BareUnchanged)
        .with(parts)
        .with(Persistence::new(settings, mirrors, Arc::clone(notices)))
        .with(SignedRequests::load(settings, Arc::clone(keys), notices)?)
        .with(Bounded::new(settings))
        .build();
    Ok(client.into())
}

/// Builds a client that sends single requests as they are: with the mirrors, the credentials, the
/// proxies and the certificates of the settings, but without repetitions.
pub(crate) fn plain_client(
    settings: &NetworkSettings,
) -> Result<reqwest_middleware::ClientWithMiddleware, Error> {
    let (keys, notices) = (
        Arc::new(Credentials::default()),
        Arc::new(Notices::default()),
    );
    let raw = raw_client(settings, &notices)?;
    let mirrors = MirrorTable::new(&settings.mirrors, &keys);
    Ok(reqwest_middleware::ClientBuilder::new(raw)
        .with(Persistence::new(settings, mirrors, Arc::clone(&notices)))
        .with(SignedRequests::load(settings, keys, &notices)?)
        .build())
}

/// Builds the client without middlewares.
fn raw_client(settings: &NetworkSettings, notices: &Notices) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .no_gzip()
        // A referrer would send the token in a channel's URL to the host that
        // the channel redirects to.
        .referer(false)
        .pool_max_idle_per_host(settings.concurrent_downloads.max(1))
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .user_agent(concat!("condense/", env!("CARGO_PKG_VERSION")))
        // Only the settings name proxies.
        .no_proxy();
    for proxy in settings.proxies.load()? {
        builder = builder.proxy(proxy);
    }
    if settings.trust.verify {
        builder = builder.tls_certs_only(settings.trust.load(settings.offline)?);
    } else {
        notices.add("the certificates of servers are not checked".to_owned());
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        Error::NetworkSetting {
            what: "the HTTP client".to_owned(),
            problem: source.unwrap_or_else(|| error.to_string()),
        }
    })
}

/// Returns the error for a file of the settings that cannot be used.
fn unusable(what: &Path, problem: impl std::fmt::Display) -> Error {
    Error::NetworkSetting {
        what: what.display().to_string(),
        problem: problem.to_string(),
    }
}
