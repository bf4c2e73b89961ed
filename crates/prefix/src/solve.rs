//! Responsible for solving: turning the requested packages into exact packages.

mod missing;

use std::{
    collections::HashMap,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use rattler_cache::package_cache::PackageCache;
use rattler_conda_types::{Channel, MatchSpec, PackageRecord, RepoDataRecord, Subdir};
use rattler_networking::OfflineError;
use rattler_repodata_gateway::{
    Gateway, GatewayError, RepoData, SourceConfig,
    fetch::{CacheAction, FetchRepoDataError},
};
use rattler_solve::{CancellationToken, RepoDataIter, SolveError, SolverImpl, SolverTask, resolvo};

use crate::{
    error::Error,
    explicit,
    index::{ChannelQuery, QueryError, usable},
    lock::as_in_a_lock,
    network::Network,
    progress::{Phase, Progress, Warning},
    secrets::{url_without_secrets, without_secrets},
    solution::{Solution, refuse_unsafe_names},
    spec::{ChannelPriority, EnvironmentSpec, Kind},
    target::Target,
};

/// Longest time that the solver may take. No real environment needs longer. Without a limit, an
/// environment that is too hard to solve would keep a login node busy for hours.
const SOLVE_LIMIT: Duration = Duration::from_secs(600);
/// Interval at which a waiting build checks for cancellation.
const POLL: Duration = Duration::from_millis(50);

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
    let context = SolveContext {
        target,
        network,
        scratch,
    };
    solve_near(spec, &[], &context, progress).await
}

/// Machine to solve for, and the means for it.
#[derive(Clone, Copy)]
pub(crate) struct SolveContext<'a> {
    pub(crate) target: &'a Target,
    pub(crate) network: &'a Network,
    /// Directory for temporary files.
    pub(crate) scratch: &'a Path,
}

/// Solves `spec` with as few changes to the `installed` packages as the specs allow.
pub(crate) async fn solve_near(
    spec: &EnvironmentSpec,
    installed: &[RepoDataRecord],
    context: &SolveContext<'_>,
    progress: &dyn Progress,
) -> Result<Solution, Error> {
    let SolveContext {
        target, network, ..
    } = *context;
    network.prepare()?;
    if spec.kind() == Kind::Explicit {
        return explicit::solution(spec, target, network);
    }
    // The gateway and the solver get URLs without credentials. The network client adds the
    // credentials to the requests again.
    let channels = spec.channels.iter();
    let channels: Vec<Channel> = channels
        .map(|channel| network.channel_without_credentials(channel))
        .collect();
    let specs = spec.specs.iter();
    let specs: Vec<MatchSpec> = specs
        .map(|requested| network.spec_without_credentials(&requested.spec))
        .collect();
    let gateway = gateway(network, context.scratch);
    let query = ChannelQuery {
        gateway: &gateway,
        network,
        channels: &channels,
        subdir: target.architecture.subdir(),
        specs: &specs,
        scratch: context.scratch,
        with_dependencies: true,
    };
    let repodata = read_indices(&query, spec, progress).await?;
    let usable = usable(&repodata, query.subdir, progress, |name| {
        query.is_asked_for(name)
    })?;
    missing::refuse(&query, spec, &usable).await?;

    let started = Instant::now();
    progress.begin(Phase::Solve, None);
    let task = SolverTask {
        specs: specs.clone(),
        locked_packages: installed.iter().collect(),
        virtual_packages: target
            .generic_virtual_packages()
            .map_err(|explanation| unsolvable(target, explanation))?,
        channel_priority: match spec.channel_priority() {
            ChannelPriority::Flexible => rattler_solve::ChannelPriority::Flexible,
            ChannelPriority::Strict => rattler_solve::ChannelPriority::Strict,
            ChannelPriority::Disabled => rattler_solve::ChannelPriority::Disabled,
        },
        timeout: Some(SOLVE_LIMIT),
        ..usable.iter().cloned().collect()
    };
    let records = run_solver(task, target, progress).map_err(|error| match error {
        Error::Unsolvable {
            target,
            explanation,
        } => Error::Unsolvable {
            explanation: explanation.trim_end().to_owned()
                + &missing::existing_versions(&explanation, &usable),
            target,
        },
        other => other,
    })?;
    progress.end(Phase::Solve, started.elapsed());
    for record in &records {
        refuse_unsafe_names(record)?;
    }
    if spec.channel_priority() == ChannelPriority::Flexible {
        let packages = from_later_channels(&records, &repodata, &channels);
        if !packages.is_empty() {
            progress.warn(Warning::LaterChannel { packages });
        }
    }
    let records = as_in_a_lock(records, query.subdir)?;
    Ok(Solution {
        records: PackageRecord::sort_topologically(records),
        channels: spec.channels(),
        subdir: query.subdir,
        specs,
        virtual_packages: target.virtual_packages(),
        locked_pip: None,
    })
}

/// Returns rattler's reader of channel indices.
pub(crate) fn gateway(network: &Network, scratch: &Path) -> Gateway {
    Gateway::builder()
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
        .finish()
}

/// Reads the channels' entries for all packages that the environment may need.
pub(crate) async fn read_indices(
    query: &ChannelQuery<'_>,
    spec: &EnvironmentSpec,
    progress: &dyn Progress,
) -> Result<Vec<RepoData>, Error> {
    let started = Instant::now();
    progress.begin(Phase::Index, None);
    let answering = async {
        match query.run(progress).await {
            Ok(answer) => Ok(answer),
            Err(QueryError::Other(error)) => Err(error),
            Err(QueryError::Gateway(error)) => Err(query.explain(error, spec).await),
        }
    };
    let answer = Box::pin(query.network.attended(progress, answering)).await?;
    for warning in &answer.warnings {
        progress.warn(Warning::Notice(warning.to_string()));
    }
    progress.end(Phase::Index, started.elapsed());
    Ok(answer.repodata)
}

impl ChannelQuery<'_> {
    /// Returns the error of this crate for an error of the gateway.
    pub(crate) async fn explain(&self, error: GatewayError, spec: &EnvironmentSpec) -> Error {
        if not_cached(&error) {
            let missing = missing_indices(self, &error).await;
            return Error::Offline { missing };
        }
        channel_error(error, spec)
    }
}

fn unsolvable(target: &Target, explanation: String) -> Error {
    Error::Unsolvable {
        target: target.to_string(),
        explanation,
    }
}

/// Runs the solver in a thread of its own, which stops when the work is cancelled.
fn run_solver<'a>(
    task: SolverTask<'a, Vec<RepoDataIter<Vec<&'a RepoDataRecord>>>>,
    target: &Target,
    progress: &dyn Progress,
) -> Result<Vec<RepoDataRecord>, Error> {
    let token = CancellationToken::new();
    let task = SolverTask {
        cancellation_token: Some(token.clone()),
        ..task
    };
    let solved = tokio::task::block_in_place(|| {
        let (done, waiting) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let solving = condense_threads::scoped(scope, || {
                // Waiting ends when this is dropped, also by a panic.
                let _done = done;
                resolvo::Solver.solve(task)
            })?;
            while waiting.recv_timeout(POLL) == Err(mpsc::RecvTimeoutError::Timeout) {
                if progress.cancelled() {
                    token.cancel();
                }
            }
            Ok::<_, Error>(solving.join())
        })
    })?;
    let solved = solved
        .map_err(|_| unsolvable(target, "the solver broke down".to_owned()))?
        .map_err(|error| match error {
            SolveError::Cancelled if progress.cancelled() => Error::Interrupted,
            SolveError::Unsolvable(lines) => unsolvable(target, lines.join("\n")),
            SolveError::Cancelled => {
                let limit = SOLVE_LIMIT.as_secs();
                unsolvable(target, format!("no answer within {limit} s"))
            }
            other => unsolvable(target, other.to_string()),
        })?;
    Ok(solved.records)
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
async fn missing_indices(query: &ChannelQuery<'_>, met: &GatewayError) -> Vec<String> {
    let mut missing = Vec::new();
    for channel in query.channels {
        for subdir in [query.subdir, Subdir::NoArch] {
            let names = query.gateway.names([channel.clone()], [subdir]);
            let names = names.execute().await;
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
