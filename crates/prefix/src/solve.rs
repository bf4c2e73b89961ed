//! Responsible for solving: turning the requested packages into exact packages.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

use rattler_cache::package_cache::PackageCache;
use rattler_conda_types::{
    Channel, MatchSpec, PackageNameMatcher, PackageRecord, RepoDataRecord, Subdir,
};
use rattler_networking::OfflineError;
use rattler_repodata_gateway::{
    Gateway, GatewayError, RepoData, SourceConfig,
    fetch::{CacheAction, FetchRepoDataError},
};
use rattler_solve::{CancellationToken, SolveError, SolverImpl, SolverTask, resolvo};

use crate::{
    error::Error,
    explicit,
    index::{Question, Trouble, usable},
    lock::LockedPip,
    network::Network,
    progress::{Progress, Stage, Warning},
    secrets::{url_without_secrets, without_secrets},
    spec::{ChannelPriority, EnvironmentSpec, Kind},
    target::Target,
};

/// Exact packages to install, in an order in which dependencies come first.
#[derive(Debug, Clone)]
pub struct Solution {
    pub(crate) records: Vec<RepoDataRecord>,
    pub(crate) channels: Vec<String>,
    pub(crate) specs: Vec<MatchSpec>,
    pub(crate) subdir: Subdir,
    pub(crate) virtual_packages: Vec<String>,
    /// Packages that pip installs, if a lock file names them.
    pub(crate) locked_pip: Option<Vec<LockedPip>>,
}

/// A conda package, either an exact one or a request for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedPackage {
    /// Name of the package in lower case.
    pub name: String,
    /// Version, or constraint on the version; empty if any version fits.
    pub version: String,
    /// Build string, or pattern for it; empty if any build fits.
    pub build: String,
    /// URL of the channel without credentials; empty if any channel fits.
    pub channel: String,
}

/// Longest time that the solver may take. No real environment needs longer. Without a limit, an
/// environment that is too hard to solve would keep a login node busy for hours.
const SOLVE_LIMIT: Duration = Duration::from_secs(600);

/// Solves `spec` for `target`. For an `@EXPLICIT` file, the solution has only the facts that the
/// file itself states, until [`crate::complete`] adds the rest.
///
/// # Errors
/// Returns [`Error::Channel`] if an index cannot be read, [`Error::Offline`] if the index is not in
/// the cache and downloads are forbidden, [`Error::PackagesNotFound`] if no channel has a requested
/// package, and [`Error::Unsolvable`] if there is no solution.
pub async fn solve(
    spec: &EnvironmentSpec,
    target: &Target,
    network: &Network,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Solution, Error> {
    solve_near(spec, &[], target, network, scratch, progress).await
}

/// Solves `spec` with as few changes to the `installed` packages as the specs allow.
pub(crate) async fn solve_near(
    spec: &EnvironmentSpec,
    installed: &[RepoDataRecord],
    target: &Target,
    network: &Network,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Solution, Error> {
    network.prepare()?;
    if spec.kind() == Kind::Explicit {
        return explicit::solution(spec, target, network);
    }
    let started = Instant::now();
    progress.begin(Stage::Index, None);
    let subdir = target.architecture.subdir();
    // The gateway and the solver get URLs without credentials. The network client adds the
    // credentials to the requests again.
    let channels: Vec<Channel> = spec
        .channels
        .iter()
        .map(|channel| network.channel_without_keys(channel))
        .collect();
    let specs: Vec<MatchSpec> = spec
        .specs
        .iter()
        .map(|requested| network.spec_without_keys(&requested.spec))
        .collect();
    let gateway = Gateway::builder()
        .with_cache_dir(network.index_dir())
        .with_package_cache(PackageCache::new(scratch.join("direct")))
        .with_client(network.client().clone())
        .with_max_concurrent_requests(network.concurrent_downloads())
        .with_channel_config(rattler_repodata_gateway::ChannelConfig {
            default: SourceConfig {
                cache_action: if network.settings().offline {
                    CacheAction::ForceCacheOnly
                } else {
                    CacheAction::CacheOrFetch
                },
                ..SourceConfig::default()
            },
            per_channel: HashMap::new(),
        })
        .finish();
    let question = Question {
        gateway: &gateway,
        network,
        channels: &channels,
        subdir,
        specs: &specs,
        scratch,
    };
    let query = async {
        match question.ask(progress).await {
            Ok(answer) => Ok(answer),
            Err(Trouble::Other(error)) => Err(error),
            Err(Trouble::Gateway(error)) if not_cached(&error) => {
                let missing = missing_indices(&gateway, &channels, subdir, &error).await;
                Err(Error::Offline { missing })
            }
            Err(Trouble::Gateway(error)) => Err(channel_error(error, spec)),
        }
    };
    let answer = Box::pin(network.attended(progress, query)).await?;
    for warning in &answer.warnings {
        progress.warn(Warning::Notice(warning.to_string()));
    }
    progress.end(Stage::Index, started.elapsed());

    let usable = usable(&answer.repodata, subdir, progress, |name| {
        question.is_asked_for(name)
    })?;
    refuse_unknown_names(spec, &usable)?;

    let started = Instant::now();
    progress.begin(Stage::Solve, None);
    let unsolvable = |explanation: String| Error::Unsolvable {
        target: target.to_string(),
        explanation,
    };
    let token = CancellationToken::new();
    let task = SolverTask {
        specs: specs.clone(),
        locked_packages: installed.iter().collect(),
        virtual_packages: target.generic_virtual_packages().map_err(unsolvable)?,
        channel_priority: match spec.channel_priority() {
            ChannelPriority::Flexible => rattler_solve::ChannelPriority::Flexible,
            ChannelPriority::Strict => rattler_solve::ChannelPriority::Strict,
            ChannelPriority::Disabled => rattler_solve::ChannelPriority::Disabled,
        },
        timeout: Some(SOLVE_LIMIT),
        cancellation_token: Some(token.clone()),
        ..usable
            .iter()
            .map(|records| records.iter().copied())
            .collect()
    };
    let solved = tokio::task::block_in_place(|| {
        let waiting = std::thread::current();
        std::thread::scope(|scope| {
            let solving = condense_threads::scoped(scope, || {
                let solved = resolvo::Solver.solve(task);
                waiting.unpark();
                solved
            })?;
            while !solving.is_finished() {
                if progress.cancelled() {
                    token.cancel();
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Ok::<_, Error>(solving.join())
        })
    })?;
    let solved = solved
        .map_err(|_| unsolvable("the solver broke down".to_owned()))?
        .map_err(|error| match error {
            SolveError::Cancelled if progress.cancelled() => Error::Interrupted,
            SolveError::Unsolvable(lines) => unsolvable(lines.join("\n")),
            SolveError::Cancelled => {
                unsolvable(format!("no answer within {} s", SOLVE_LIMIT.as_secs()))
            }
            other => unsolvable(other.to_string()),
        })?;
    progress.end(Stage::Solve, started.elapsed());
    for record in &solved.records {
        refuse_unsafe_names(record)?;
    }
    if spec.channel_priority() == ChannelPriority::Flexible {
        let packages = from_later_channels(&solved.records, &answer.repodata, &channels);
        if !packages.is_empty() {
            progress.warn(Warning::LaterChannel { packages });
        }
    }
    Ok(Solution {
        records: PackageRecord::sort_topologically(solved.records),
        channels: spec.channels(),
        specs,
        subdir,
        virtual_packages: target.virtual_packages(),
        locked_pip: None,
    })
}

/// Lists the packages for which an earlier channel has packages of the same name, each as `name
/// version (channel)`.
fn from_later_channels(
    records: &[RepoDataRecord],
    repodata: &[RepoData],
    channels: &[Channel],
) -> Vec<String> {
    let plain = |url: &str| without_secrets(url).trim_end_matches('/').to_owned();
    let order: Vec<String> = channels
        .iter()
        .map(|channel| plain(channel.base_url.as_str()))
        .collect();
    let rank_of = |record: &RepoDataRecord| {
        let channel = plain(record.channel.as_deref()?);
        order.iter().position(|known| *known == channel)
    };
    let mut first: HashMap<&str, usize> = HashMap::new();
    for record in repodata.iter().flat_map(RepoData::iter) {
        let name = record.package_record.name.as_normalized();
        if let Some(rank) = rank_of(record) {
            let known = first.entry(name).or_insert(rank);
            *known = rank.min(*known);
        }
    }
    let mut found: Vec<String> = records
        .iter()
        .filter_map(|record| {
            let package = &record.package_record;
            let name = package.name.as_normalized();
            let rank = rank_of(record).filter(|rank| first.get(name) < Some(rank))?;
            Some(format!("{name} {} ({})", package.version, order[rank]))
        })
        .collect();
    found.sort();
    found
}

/// Returns true if the error means that a part of an index is not in the cache and only a download
/// could provide it.
fn not_cached(error: &GatewayError) -> bool {
    matches!(
        error,
        GatewayError::FetchRepoDataError(FetchRepoDataError::NoCacheAvailable(_))
            | GatewayError::ShardNotCached(_)
            | GatewayError::ShardedIndexNotCached(_)
    ) || matches!(error, GatewayError::ReqwestMiddlewareError(inner) if inner.is::<OfflineError>())
        || causes(error).any(|cause| cause.to_string() == OFFLINE)
}

/// Message of rattler's error for a request in offline mode. The error's type is lost on some
/// paths, so the text is compared.
const OFFLINE: &str = "network access is disabled by offline mode";

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// Lists all parts of indices that an offline query lacks, not only the first one, which is in the
/// error `met`.
async fn missing_indices(
    gateway: &Gateway,
    channels: &[Channel],
    subdir: Subdir,
    met: &GatewayError,
) -> Vec<String> {
    let mut missing = Vec::new();
    for channel in channels {
        for subdir in [subdir, Subdir::NoArch] {
            let names = gateway.names([channel.clone()], [subdir]).execute().await;
            if names.is_err_and(|error| not_cached(&error)) {
                let url = url_without_secrets(channel.base_url.as_ref());
                missing.push(format!("the index {url}{subdir}"));
            }
        }
    }
    match met {
        GatewayError::ShardNotCached(name) if missing.is_empty() => {
            missing.push(format!("what the index says about `{name}`"));
        }
        GatewayError::DirectUrlQueryError(url, _) => {
            missing.push(without_secrets(url).into_owned());
        }
        _ => {}
    }
    if missing.is_empty() {
        missing.push(without_secrets(&met.to_string()).into_owned());
    }
    missing
}

fn channel_error(error: GatewayError, spec: &EnvironmentSpec) -> Error {
    let channel = match &error {
        GatewayError::SubdirNotFoundError(missing) => {
            url_without_secrets(missing.channel.base_url.as_ref())
        }
        _ => spec.channels().join("`, `"),
    };
    Error::Channel {
        channel,
        source: Box::new(error),
    }
}

/// Refuses names that no channel has. The check comes before solving, because the solver's own
/// message for an unknown name is hard to read.
fn refuse_unknown_names(
    spec: &EnvironmentSpec,
    usable: &[Vec<&RepoDataRecord>],
) -> Result<(), Error> {
    let known: HashSet<&str> = usable
        .iter()
        .flatten()
        .map(|record| record.package_record.name.as_normalized())
        .collect();
    let mut missing = Vec::new();
    for requested in &spec.specs {
        if let PackageNameMatcher::Exact(name) = &requested.spec.name
            && !name.as_normalized().starts_with("__")
            && !known.contains(name.as_normalized())
        {
            missing.push(requested.written.clone());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::PackagesNotFound {
        names: missing,
        channels: spec.channels(),
    })
}

/// Refuses a record with a name or build that would lead out of the prefix when used as a file
/// name. Channels are not trusted in this respect.
pub(crate) fn refuse_unsafe_names(record: &RepoDataRecord) -> Result<(), Error> {
    if is_safely_named(record) {
        return Ok(());
    }
    let file = record.identifier.to_file_name();
    Err(Error::Damaged {
        package: file.replace(['/', '\0'], "?"),
        url: url_without_secrets(&record.url),
        problem: "its name would leave the prefix".to_owned(),
    })
}

/// Returns true if every field of the record that becomes a file name is a safe file name.
pub(crate) fn is_safely_named(record: &RepoDataRecord) -> bool {
    let file = record.identifier.to_file_name();
    let package = &record.package_record;
    let words = [
        file.as_str(),
        package.name.as_normalized(),
        package.build.as_str(),
    ];
    words
        .iter()
        .all(|word| !word.contains(['/', '\0']) && !matches!(*word, "." | ".."))
}

/// Characters of a mount point's suffix: only lower-case letters and digits, since some tools
/// ignore case. Seven of them make 36^7 different names.
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

impl Solution {
    /// Returns the solution of an environment without conda packages.
    pub fn without_packages(target: &Target) -> Self {
        Self {
            records: Vec::new(),
            channels: Vec::new(),
            specs: Vec::new(),
            subdir: target.architecture.subdir(),
            virtual_packages: target.virtual_packages(),
            locked_pip: None,
        }
    }

    /// Lists names, versions, builds and channels of all conda packages.
    pub fn packages(&self) -> Vec<NamedPackage> {
        let of = |record: &RepoDataRecord| NamedPackage {
            name: record.package_record.name.as_normalized().to_owned(),
            version: record.package_record.version.to_string(),
            build: record.package_record.build.to_string(),
            channel: record
                .channel
                .as_deref()
                .map(|channel| without_secrets(channel).into_owned())
                .unwrap_or_default(),
        };
        self.records.iter().map(of).collect()
    }

    /// Lists names and versions of the pip packages that a lock file names.
    pub fn locked_pip_packages(&self) -> Vec<(String, String)> {
        let locked = self.locked_pip.iter().flatten();
        locked
            .map(|package| {
                let version = package.version.clone().unwrap_or_default();
                (package.name.clone(), version)
            })
            .collect()
    }

    /// Returns true if a lock file lists pip packages but no Python that could install them.
    pub(crate) fn lacks_python_for_locked_pip(&self) -> bool {
        let has_pip = self.locked_pip.iter().any(|locked| !locked.is_empty());
        let mut names = self
            .records
            .iter()
            .map(|record| &record.package_record.name);
        has_pip && !names.any(|name| name.as_normalized() == "python")
    }

    /// Returns the number of conda packages.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns true for an environment without any conda package.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns true if pip has packages to install: those in the lock file, or else those in the
    /// environment file.
    pub fn needs_pip(&self, spec: &EnvironmentSpec) -> bool {
        match &self.locked_pip {
            Some(locked) => !locked.is_empty(),
            None => !spec.pip().is_empty(),
        }
    }

    /// Lists the URLs, without credentials, of the packages that pip installs from a lock file and
    /// that other machines can download. Returns `None` without a lock file.
    pub fn locked_pip_from_elsewhere(&self) -> Option<Vec<String>> {
        let locked = self.locked_pip.as_ref()?.iter();
        Some(locked.filter_map(LockedPip::elsewhere).collect())
    }

    /// Returns the output of `list-packages`: one line `name version build channel` per package,
    /// sorted by name. Packages that pip installed have build `pypi_0` and channel `pypi`, as in
    /// `conda list`.
    pub fn listing(&self, pip_packages: &[(String, String)], replaced_by_pip: &[String]) -> String {
        let mut lines: BTreeSet<String> = BTreeSet::new();
        for (name, version) in pip_packages {
            lines.insert(format!("{name:<27} {version:<18} {:<28} pypi", "pypi_0"));
        }
        for record in &self.records {
            let package = &record.package_record;
            if replaced_by_pip
                .iter()
                .any(|name| name == package.name.as_normalized())
            {
                continue;
            }
            let channel = record
                .channel
                .as_deref()
                .map_or("", |text| text.trim_end_matches('/'));
            let channel = channel.rsplit('/').next().unwrap_or(channel);
            lines.insert(format!(
                "{:<27} {:<18} {:<28} {channel}",
                package.name.as_normalized(),
                package.version.to_string(),
                package.build
            ));
        }
        let mut text = format!(
            "{:<27} {:<18} {:<28} Channel\n",
            "# Name", "Version", "Build"
        );
        for line in lines {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Returns true if any archive has to be downloaded from another machine.
    pub fn needs_network(&self) -> bool {
        self.records
            .iter()
            .any(|record| record.url.scheme() != "file")
    }

    /// Returns the size of all archives in bytes. An archive for which the channel gives no size
    /// counts as zero.
    pub fn archive_bytes(&self) -> u64 {
        self.records
            .iter()
            .filter_map(|record| record.package_record.size)
            .sum()
    }

    /// Returns the newest build time of any package, in seconds since 1970. It becomes the
    /// modification time of all files in the image.
    pub fn newest_timestamp(&self) -> Option<u32> {
        let newest = self
            .records
            .iter()
            .filter_map(|record| record.package_record.timestamp.as_ref());
        let seconds = newest.map(|time| time.jiff_timestamp().as_second()).max()?;
        u32::try_from(seconds).ok()
    }

    /// Returns the version of Python, such as `3.11.7`, if the environment has one.
    pub fn python(&self) -> Option<String> {
        let record = self
            .records
            .iter()
            .find(|record| record.package_record.name.as_normalized() == "python")?;
        Some(record.package_record.version.to_string())
    }

    /// Returns seven characters that identify this environment and end its mount point. They are
    /// made from a digest of names, versions, builds and digests of all packages and of all other
    /// contents of the spec.
    pub fn suffix(&self, spec: &EnvironmentSpec) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        let mut identities: Vec<String> = self
            .records
            .iter()
            .map(|record| {
                let digest = record
                    .package_record
                    .sha256
                    .map(hex::encode)
                    .unwrap_or_default();
                format!(
                    "{}/{} {digest}\n",
                    record.package_record.subdir,
                    record.identifier.to_file_name()
                )
            })
            .collect();
        identities.sort_unstable();
        for identity in identities {
            hash.update(identity);
        }
        match &self.locked_pip {
            // The pip packages in a lock file are more exact than the lines
            // in the environment file.
            Some(locked) if !locked.is_empty() => {
                for package in locked {
                    hash.update(package.identity());
                    hash.update([0]);
                }
                hash.update(spec.digest_of_variables());
            }
            _ => hash.update(spec.digest_beyond_conda()),
        }
        hash.finalize()
            .iter()
            .take(7)
            .map(|byte| char::from(ALPHABET[usize::from(*byte) % 36]))
            .collect()
    }
}
