//! Responsible for the one HTTP client and for the cache of archives.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rattler_networking::{AuthenticationMiddleware, AuthenticationStorage, LazyClient};

use crate::{error::Error, progress::Progress};

/// How packages reach this machine.
#[derive(Debug, Clone)]
pub struct Network {
    /// Archives and channel indices; few and large files, never unpacked packages.
    pub cache_dir: PathBuf,
    /// Downloads at a time.
    pub concurrent_downloads: usize,
}

/// A stream that says nothing for this long is broken and is tried again.
const SILENCE: Duration = Duration::from_secs(60);

impl Network {
    /// Where archives lie.
    pub(crate) fn archives_dir(&self) -> PathBuf {
        self.cache_dir.join("archives")
    }

    /// Where channel indices lie.
    pub(crate) fn index_dir(&self) -> PathBuf {
        self.cache_dir.join("index")
    }

    /// Makes the cache directory, marked so that backups leave it alone.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        for dir in [self.archives_dir(), self.index_dir()] {
            fs_err::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        }
        let tag = self.cache_dir.join("CACHEDIR.TAG");
        if !tag.exists() {
            // The signature is fixed by the cache directory tagging convention.
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# Archives and indices of conda channels; safe to delete.\n";
            fs_err::write(&tag, text).map_err(Error::io("write", &tag))?;
        }
        Ok(())
    }

    /// The client: proxies from the environment, credentials from netrc and rattler's file, retries with back-off.
    pub(crate) fn client(&self) -> Result<LazyClient, Error> {
        let refused = |source: Box<dyn std::error::Error + Send + Sync>| Error::Download {
            url: "(any)".to_owned(),
            source,
        };
        let authentication = AuthenticationStorage::from_env_and_defaults()
            .map_err(|error| refused(Box::new(error)))?;
        let raw = reqwest::Client::builder()
            .no_gzip()
            .pool_max_idle_per_host(self.concurrent_downloads)
            .read_timeout(SILENCE)
            .connect_timeout(Duration::from_secs(30))
            .user_agent(concat!("condense/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refused(Box::new(error)))?;
        let policy = rattler_networking::retry_policies::default_retry_policy();
        let client = reqwest_middleware::ClientBuilder::new(raw)
            .with(reqwest_retry::RetryTransientMiddleware::new_with_policy(
                policy,
            ))
            .with(AuthenticationMiddleware::from_auth_storage(authentication))
            .build();
        Ok(client.into())
    }
}

/// Waits for `work` unless the user asks to stop.
pub(crate) async fn unless_cancelled<T>(
    progress: &dyn Progress,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let stop = async {
        while !progress.cancelled() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        result = work => result,
        () = stop => Err(Error::Interrupted),
    }
}

/// Removes a file when dropped, unless kept.
#[derive(Debug)]
pub(crate) struct Partial {
    path: Option<PathBuf>,
}

impl Partial {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path: Some(path) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.path
            .as_deref()
            .expect("a partial file has a path until it is kept")
    }

    pub(crate) fn keep_as(mut self, path: &Path) -> std::io::Result<()> {
        fs_err::rename(self.path(), path)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nothing can be done about a file that will not go, and it is only a cache.
            let _ = fs_err::remove_file(path);
        }
    }
}
