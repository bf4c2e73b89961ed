//! Responsible for everything that comes over the network: one HTTP client for the whole run, and
//! where its results lie.
//!
//! A request passes through [`persistence`] (mirrors, retries), then [`credentials`], then reqwest
//! with the proxies and the roots of trust of the [`NetworkSettings`]. Bodies of answers are
//! watched by [`bounds`], and indices in parts are checked by [`parts`].

mod absent;
mod bounds;
mod credentials;
mod local;
mod mirrors;
mod notices;
mod parts;
mod persistence;
mod settings;
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
use credentials::{Keys, SignedRequests};
use mirrors::MirrorTable;
use notices::Notices;
use parts::Parts;
use persistence::Persistence;
use unchanged::BareUnchanged;

pub use mirrors::Mirrors;
pub(crate) use persistence::ServedBy;
pub use settings::{NetworkSettings, Proxies, Trust};

/// The way to the channels, ready for use.
#[derive(Clone)]
pub struct Network {
    settings: Arc<NetworkSettings>,
    client: LazyClient,
    keys: Arc<Keys>,
    notices: Arc<Notices>,
    /// Is true when a part of an index was mended, so that the question that failed for it can be
    /// repeated.
    mended: Arc<AtomicBool>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How often a waiting build looks whether the user wants to stop.
const POLL: Duration = Duration::from_millis(50);

impl Network {
    /// Reads what the settings name: certificates, credentials, proxies. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::NetworkSetting`] for a file or an address that cannot be used.
    pub fn open(settings: NetworkSettings) -> Result<Self, Error> {
        let (keys, notices) = (Arc::new(Keys::default()), Arc::new(Notices::default()));
        let mended = Arc::default();
        let client = client(&settings, &keys, &notices, &mended)?;
        Ok(Self {
            settings: Arc::new(settings),
            client,
            keys,
            notices,
            mended,
        })
    }

    /// What it was opened with.
    pub fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    /// The client that everything goes through.
    pub(crate) fn client(&self) -> &LazyClient {
        &self.client
    }

    /// Returns whether a part of an index has been mended since the last call.
    pub(crate) fn take_mended(&self) -> bool {
        self.mended.swap(false, Ordering::Relaxed)
    }

    /// Downloads at a time, at least one.
    pub(crate) fn concurrent_downloads(&self) -> usize {
        self.settings.concurrent_downloads.max(1)
    }

    /// Returns the directory of archives. Archives that can be checked when they are used may be
    /// kept in a directory that others can write into.
    pub(crate) fn archives_dir(&self, checkable: bool) -> PathBuf {
        let dir = if checkable {
            &self.settings.cache_dir
        } else {
            private_dir(&self.settings)
        };
        dir.join("archives")
    }

    /// Where channel indices lie.
    pub(crate) fn index_dir(&self) -> PathBuf {
        index_dir(&self.settings)
    }

    /// The URL without its credentials, which every later request below it gets back.
    pub(crate) fn without_keys(&self, url: &Url) -> Url {
        self.keys.take(url)
    }

    /// The same for a channel.
    pub(crate) fn channel_without_keys(&self, channel: &Channel) -> Channel {
        let url: &Url = channel.base_url.url();
        let clean = self.without_keys(url);
        if clean == *url {
            return channel.clone();
        }
        Channel {
            platforms: channel.platforms.clone(),
            ..Channel::from_url(clean)
        }
    }

    /// The same for what was asked for.
    pub(crate) fn spec_without_keys(&self, spec: &MatchSpec) -> MatchSpec {
        MatchSpec {
            channel: spec
                .channel
                .as_deref()
                .map(|channel| Arc::new(self.channel_without_keys(channel))),
            url: spec.url.as_ref().map(|url| self.without_keys(url)),
            ..spec.clone()
        }
    }

    /// Makes the cache directory, marked so that backups leave it alone.
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

    /// Waits for `work` unless the user asks to stop, and passes on what the network has to say
    /// meanwhile.
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

/// Returns the directory for everything that no digest protects.
fn private_dir(settings: &NetworkSettings) -> &Path {
    let private_dir = settings.private_dir.as_ref();
    private_dir.unwrap_or(&settings.cache_dir)
}

/// Builds the client; see the module's text for the order of its parts.
fn client(
    settings: &NetworkSettings,
    keys: &Arc<Keys>,
    notices: &Arc<Notices>,
    mended: &Arc<AtomicBool>,
) -> Result<LazyClient, Error> {
    let mut builder = reqwest::Client::builder()
        .no_gzip()
        // A referrer would carry the token of the channel to the host that it redirects to.
        .referer(false)
        .pool_max_idle_per_host(settings.concurrent_downloads.max(1))
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .user_agent(concat!("condense/", env!("CARGO_PKG_VERSION")))
        // Proxies come from the settings alone.
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
    let raw = builder.build().map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        Error::NetworkSetting {
            what: "the HTTP client".to_owned(),
            problem: source.unwrap_or_else(|| error.to_string()),
        }
    })?;
    let mut builder = reqwest_middleware::ClientBuilder::new(raw);
    if settings.offline {
        builder = builder.with(OfflineMiddleware);
    }
    let mirrors = MirrorTable::new(&settings.mirrors, keys);
    let parts = Parts::new(index_dir(settings), Arc::clone(notices), Arc::clone(mended));
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

/// Says where a file that a setting names cannot be used.
fn unusable(what: &Path, problem: impl std::fmt::Display) -> Error {
    Error::NetworkSetting {
        what: what.display().to_string(),
        problem: problem.to_string(),
    }
}
