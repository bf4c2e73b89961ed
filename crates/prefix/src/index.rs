//! Responsible for querying channel indices for packages. rattler's gateway refuses a whole channel
//! because of one entry that it cannot read. This module leaves such an entry out.

mod usable;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rattler_conda_types::{Channel, MatchSpec, PackageNameMatcher, Subdir};
use rattler_repodata_gateway::{
    Gateway, GatewayError, RepoDataQueryOutput, Source,
    fetch::{CacheAction, FetchRepoDataOptions, fetch_repo_data},
    sparse::SparseRepoData,
};

use crate::{
    error::Error,
    index_repair::{UnreadableEntry, json},
    network::Network,
    progress::{Progress, Warning},
    secrets::url_without_secrets,
};
pub(crate) use usable::usable;

/// Largest number of times that a query is repeated. Each attempt may fail because of one more part
/// of an index that has unreadable entries.
const REPAIRS_MAX: u32 = 1000;

/// A query to channels about packages.
pub(crate) struct ChannelQuery<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) network: &'a Network,
    pub(crate) channels: &'a [Channel],
    pub(crate) subdir: Subdir,
    pub(crate) specs: &'a [MatchSpec],
    /// Directory for indices that have to be rewritten.
    pub(crate) scratch: &'a Path,
    /// Whether the entries of dependencies are read as well.
    pub(crate) with_dependencies: bool,
}

/// Reason why a channel cannot be queried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("`{}` cannot be read", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{url}` is not an index")]
    NotAnIndex {
        url: String,
        source: serde_json::Error,
    },
}

impl<'a> ChannelQuery<'a> {
    /// Makes a query about the requested packages without their dependencies.
    pub(crate) fn plain(
        gateway: &'a Gateway,
        network: &'a Network,
        channels: &'a [Channel],
        subdir: Subdir,
        specs: &'a [MatchSpec],
        scratch: &'a Path,
    ) -> Self {
        Self {
            gateway,
            network,
            channels,
            subdir,
            specs,
            scratch,
            with_dependencies: false,
        }
    }
}

impl ChannelQuery<'_> {
    fn subdirs(&self) -> [Subdir; 2] {
        [self.subdir, Subdir::NoArch]
    }

    /// Returns the channels' entries for the requested packages and for all packages
    /// that they may depend on.
    pub(crate) async fn run(
        &self,
        progress: &dyn Progress,
    ) -> Result<RepoDataQueryOutput, QueryError> {
        for channel in self.channels {
            self.refuse_special_files(channel)?;
        }
        let mut sources: Vec<Source> = self.channels.iter().cloned().map(Source::from).collect();
        match self.query_with_retries(&sources).await {
            Err(error) if is_unreadable(&error) => {}
            other => return other.map_err(QueryError::Gateway),
        }
        // The error does not name the channel with the unreadable entry, so each
        // channel is queried alone.
        let mut unreadable = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            let alone = self.query_with_retries(std::slice::from_ref(source)).await;
            if alone.is_err_and(|error| is_unreadable(&error)) {
                unreadable.push(at);
            }
        }
        if unreadable.is_empty() {
            unreadable.extend(0..sources.len());
        }
        for at in unreadable {
            let repaired = self
                .drop_unreadable(&self.channels[at], at, progress)
                .await?;
            if !repaired.is_empty() {
                sources[at] = Source::SparseRepoData(repaired);
            }
        }
        self.query_with_retries(&sources)
            .await
            .map_err(QueryError::Gateway)
    }

    /// Repeats the query as long as it fails only because a part of an index was rewritten without
    /// unreadable entries.
    async fn query_with_retries(
        &self,
        sources: &[Source],
    ) -> Result<RepoDataQueryOutput, GatewayError> {
        for _ in 1..REPAIRS_MAX {
            let answer = self.once(sources).await;
            if answer.is_ok() || !self.network.take_repaired() {
                return answer;
            }
        }
        self.once(sources).await
    }

    async fn once(&self, sources: &[Source]) -> Result<RepoDataQueryOutput, GatewayError> {
        let query = self
            .gateway
            .query(sources.to_vec(), self.subdirs(), self.specs.to_vec())
            .recursive(self.with_dependencies);
        query.execute().await
    }

    fn file(channel: &Channel, subdir: Subdir) -> Option<PathBuf> {
        let dir = channel.platform_url(subdir).to_file_path().ok()?;
        Some(dir.join("repodata.json"))
    }

    /// Refuses a channel in which the index is a special file, since reading
    /// from a pipe might never end.
    fn refuse_special_files(&self, channel: &Channel) -> Result<(), QueryError> {
        for subdir in self.subdirs() {
            if let Some(path) = Self::file(channel, subdir)
                && path.exists()
            {
                condense_input::check(&path, self.network.settings().index_bytes_max).map_err(
                    |source| QueryError::unreadable(channel, Unreadable::File { path, source }),
                )?;
            }
        }
        Ok(())
    }

    /// Rewrites the channel's indices without unreadable entries.
    async fn drop_unreadable(
        &self,
        channel: &Channel,
        number: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<Arc<SparseRepoData>>, QueryError> {
        let mut repaired = Vec::new();
        for subdir in self.subdirs() {
            let Some(path) = self.index_of(channel, subdir).await else {
                continue;
            };
            let new = self.scratch.join(format!("index-{number}-{subdir}.json"));
            let file_error = |source, path: &Path| {
                QueryError::unreadable(
                    channel,
                    Unreadable::File {
                        path: path.to_owned(),
                        source,
                    },
                )
            };
            let bytes = condense_input::read(&path, self.network.settings().index_bytes_max)
                .map_err(|error| file_error(error, &path))?;
            let url = url_without_secrets(&channel.platform_url(subdir)) + "repodata.json";
            let (bytes, unreadable) = json::drop_unreadable(&bytes).map_err(|source| {
                let url = url.clone();
                QueryError::unreadable(channel, Unreadable::NotAnIndex { url, source })
            })?;
            self.say(&url, &unreadable, progress);
            fs_err::create_dir_all(self.scratch)
                .and_then(|()| fs_err::write(&new, bytes))
                .map_err(|error| file_error(error, &new))?;
            let read = SparseRepoData::from_file(channel.clone(), subdir.as_str(), &new, None)
                .map_err(|error| file_error(error, &new))?;
            repaired.push(Arc::new(read));
        }
        Ok(repaired)
    }

    /// Returns the path of the index: a local channel's own file, or the file in the cache after
    /// downloading it. Returns `None` if the channel has no index for the platform.
    async fn index_of(&self, channel: &Channel, subdir: Subdir) -> Option<PathBuf> {
        if let Some(path) = Self::file(channel, subdir) {
            return path.exists().then_some(path);
        }
        let options = FetchRepoDataOptions {
            cache_action: if self.network.settings().offline {
                CacheAction::ForceCacheOnly
            } else {
                CacheAction::CacheOrFetch
            },
            ..FetchRepoDataOptions::default()
        };
        let url = channel.platform_url(subdir);
        let client = self.network.client().clone();
        let found = fetch_repo_data(url, client, self.network.index_dir(), options, None).await;
        Some(found.ok()?.repo_data_json_path)
    }

    /// Warns about unreadable entries: by name for packages that were requested, and with a number
    /// for the others.
    fn say(&self, url: &str, unreadable: &[UnreadableEntry], progress: &dyn Progress) {
        let (mut others, mut example) = (0, "");
        for UnreadableEntry { entry, problem } in unreadable {
            if self.is_asked_for(entry) {
                progress.warn(Warning::Index(format!(
                    "`{entry}` in `{url}` cannot be used and is left out: {problem}"
                )));
            } else {
                others += 1;
                example = entry;
            }
        }
        if others > 0 {
            progress.warn(Warning::Notice(format!(
                "{others} entries of `{url}` cannot be used and are left out, such as `{example}`"
            )));
        }
    }

    pub(crate) fn is_asked_for(&self, entry: &str) -> bool {
        let name = entry.rsplitn(3, '-').nth(2).unwrap_or(entry);
        self.specs.iter().any(|spec| {
            matches!(&spec.name, PackageNameMatcher::Exact(asked)
                if asked.as_normalized().eq_ignore_ascii_case(name))
        })
    }
}

/// Error of a query.
pub(crate) enum QueryError {
    /// An error of rattler's gateway.
    Gateway(GatewayError),
    /// An error of this crate.
    Other(Error),
}

impl QueryError {
    fn unreadable(channel: &Channel, source: Unreadable) -> Self {
        Self::Other(Error::Channel {
            channel: url_without_secrets(channel.base_url.as_ref()),
            source: Box::new(source),
        })
    }
}

/// Returns true if the error means that an index was received but cannot be parsed.
fn is_unreadable(error: &GatewayError) -> bool {
    matches!(error, GatewayError::IoError(what, _)
        if what.contains("parse repodata.json") || what.contains("repodata records"))
}
