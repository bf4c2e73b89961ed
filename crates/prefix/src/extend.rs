//! Responsible for installing more packages into an existing environment, which scripts among the
//! build steps request by calling `conda`.

mod dependencies;
mod planned;
mod remove;
mod requests;
mod unlink;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Instant,
};

use rattler_conda_types::{MatchSpec, Matches, PackageNameMatcher, PrefixRecord, RepoDataRecord};

use crate::{
    error::Error,
    fetch::{self, Archives},
    install,
    link::{self, LinkJob, Linked},
    network::Network,
    progress::{Phase, Progress},
    records,
    solution::Solution,
    solve::{SolveContext, solve_near},
    spec::EnvironmentSpec,
    steps::{PostLink, post_link_scripts},
    target::{Place, Target},
};

pub use planned::{Planned, StillNeeded, plan_change};
pub use remove::{Removal, remove};

/// Request of `conda install`, `conda update` or `conda env update`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Packages in the notation of conda's command line.
    pub packages: Vec<String>,
    /// Channels with a lower priority than all others.
    pub channels: Vec<String>,
    /// Requests the newest fitting versions of packages that are already installed.
    pub update: bool,
    /// Requests the newest version of every package, whatever versions were requested before.
    pub all: bool,
}

/// Result of adding packages to an environment.
#[derive(Debug)]
pub struct Extended {
    /// All packages that are installed now.
    pub solution: Solution,
    /// Sorted `name-version-build` of the added packages.
    pub added: Vec<String>,
    /// Sorted `name-version-build` of the removed packages.
    pub removed: Vec<String>,
    pub(crate) post_link: Vec<PostLink>,
    /// Sources that linking has changed.
    pub(crate) patched: HashSet<PathBuf>,
}

/// Environment into which packages are installed, and the means for it.
#[derive(Debug, Clone, Copy)]
pub struct InstallContext<'a> {
    /// Target that the environment was solved for.
    pub target: &'a Target,
    /// Network access to the channels.
    pub network: &'a Network,
    /// Paths of the environment.
    pub place: &'a Place,
    /// Directory for temporary files, on the same file system.
    pub scratch: &'a Path,
}

impl InstallContext<'_> {
    /// Returns the directory in which the packages are unpacked.
    fn unpacked_dir(&self) -> PathBuf {
        self.scratch.join("packages-of-scripts")
    }
}

/// Adds packages to the environment at `context.place`, or updates them, as conda does. Packages
/// that are already installed stay unchanged as far as possible. `spec` holds the packages that
/// were requested before; the newly requested ones are added to it.
///
/// # Errors
/// Returns any error of [`crate::solve()`], [`crate::fetch()`] and [`crate::install()`];
/// [`Error::Spec`] for an invalid package or channel; [`Error::NotInstalled`] for the update of a
/// package that is not installed.
pub async fn extend(
    spec: &mut EnvironmentSpec,
    solution: &Solution,
    change: &Change,
    context: &InstallContext<'_>,
    progress: &dyn Progress,
) -> Result<Extended, Error> {
    let mut wanted = spec.clone();
    let asked = wanted.add_packages(&change.packages, &change.channels)?;
    if !change.update && is_satisfied(solution, &asked) {
        install::write_history(solution, &wanted, &context.place.open_env()?)?;
        *spec = wanted;
        return Ok(Extended::unchanged(solution));
    }
    let means = SolveContext {
        target: context.target,
        network: context.network,
        scratch: context.scratch,
    };
    let mut new = solve_change(&mut wanted, solution, change, &asked, &means, progress).await?;
    if change.update && !change.all && goes_back(solution, &new, &asked) {
        return Ok(Extended::unchanged(solution));
    }
    refuse_another_python(solution, &new)?;
    new.locked_pip.clone_from(&solution.locked_pip);
    let (more, gone) = differences(solution, &mut new);
    let archives = fetch::fetch(&more, context.network, progress).await?;
    let started = Instant::now();
    progress.begin(Phase::Link, Some(more.records.len() as u64));
    let env = context.place.open_env()?;
    let files = gone.iter().map(|record| record.identifier.to_file_name());
    unlink::remove_packages(&env, &files.collect())?;
    let linked = link_more(&more, &archives, &new, context, progress)?;
    add_digests(&mut new, &more, &linked);
    let records: Vec<PrefixRecord> = linked.into_iter().map(|linked| linked.record).collect();
    let post_link = post_link_scripts(&records, &env);
    let patched = install::patched_sources(&records);
    install::write_history(&new, &wanted, &env)?;
    let unpacked = context.unpacked_dir();
    fs_err::remove_dir_all(&unpacked).map_err(Error::io("remove", &unpacked))?;
    progress.end(Phase::Link, started.elapsed());
    let mut added: Vec<String> = more.records.iter().map(name_of).collect();
    let mut removed: Vec<String> = gone.into_iter().map(name_of).collect();
    added.sort();
    removed.sort();
    *spec = wanted;
    Ok(Extended {
        solution: new,
        added,
        removed,
        post_link,
        patched,
    })
}

/// Returns true if packages that fit the requests are installed already.
fn is_satisfied(solution: &Solution, asked: &[MatchSpec]) -> bool {
    asked
        .iter()
        .all(|asked| solution.records.iter().any(|record| asked.matches(record)))
}

/// Solves the environment with the requested change. Packages that are already installed stay
/// unchanged as far as the change allows.
async fn solve_change(
    wanted: &mut EnvironmentSpec,
    solution: &Solution,
    change: &Change,
    asked: &[MatchSpec],
    means: &SolveContext<'_>,
    progress: &dyn Progress,
) -> Result<Solution, Error> {
    let kept = change.packages_to_keep(solution, asked)?;
    if change.all {
        wanted.remove_versions();
    }
    let mut whole = wanted.clone();
    whole.request_unrequested(solution);
    let pinned = change.update && whole.pin_python(solution);
    let mut new = solve_near(&whole, &kept, means, progress).await?;
    if pinned {
        new.specs.pop();
    }
    Ok(new)
}

/// Returns the packages of `new` that are not installed, and the installed packages that `new` does
/// not have. Packages that stay keep the digests that were taken when they were linked.
fn differences<'a>(
    before: &'a Solution,
    new: &mut Solution,
) -> (Solution, Vec<&'a RepoDataRecord>) {
    let key = |record: &RepoDataRecord| {
        (
            record.identifier.to_file_name(),
            record.package_record.subdir.clone(),
        )
    };
    let old_keys: HashSet<_> = before.records.iter().map(key).collect();
    let new_keys: HashSet<_> = new.records.iter().map(key).collect();
    let more = Solution {
        records: new
            .records
            .iter()
            .filter(|record| !old_keys.contains(&key(record)))
            .cloned()
            .collect(),
        ..new.clone()
    };
    for record in &mut new.records {
        if let Some(old) = before.records.iter().find(|old| key(old) == key(record)) {
            *record = old.clone();
        }
    }
    let gone = before.records.iter();
    let gone = gone.filter(|record| !new_keys.contains(&key(record)));
    (more, gone.collect())
}

/// Links the packages `more`, which are a part of `new`.
fn link_more(
    more: &Solution,
    archives: &Archives,
    new: &Solution,
    context: &InstallContext<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Linked>, Error> {
    let place = Place {
        packages: context.unpacked_dir(),
        ..context.place.clone()
    };
    fs_err::create_dir_all(&place.packages).map_err(Error::io("create", &place.packages))?;
    let installed = records::records(&place.open_env()?)?;
    let target = link::open_prefix(&place.scratch_env())?;
    let (_, options) = link::link_options(new, &place)?;
    let job = LinkJob {
        solution: more,
        archives,
        place: &place,
        target: &target,
        options: &options,
        installed: &installed,
        spool: None,
    };
    link::link_all(&job, progress)
}

/// Adds the digests of packages for which the channel lists none.
fn add_digests(new: &mut Solution, more: &Solution, linked: &[Linked]) {
    for Linked { index, sha256, .. } in linked {
        let file = more.records[*index].identifier.to_file_name();
        for record in &mut new.records {
            if record.identifier.to_file_name() == file && record.package_record.sha256.is_none() {
                record.package_record.sha256 = Some((*sha256).into());
            }
        }
    }
}

fn name_of(record: &RepoDataRecord) -> String {
    let package = &record.package_record;
    format!(
        "{}-{}-{}",
        package.name.as_normalized(),
        package.version,
        package.build
    )
}

/// Refuses to change the Python version, since all packages that are compiled for one version would
/// have to be replaced.
fn refuse_another_python(before: &Solution, after: &Solution) -> Result<(), Error> {
    let minor = |solution: &Solution| {
        let version = solution.python()?;
        let mut numbers = version.split('.').map(str::to_owned);
        Some((numbers.next()?, numbers.next()?))
    };
    match (minor(before), minor(after)) {
        (Some(old), new) if Some(&old) != new.as_ref() => Err(Error::Unsolvable {
            target: "this environment".to_owned(),
            explanation: format!(
                "its Python would no longer be {}.{}: ask for another one in the environment file",
                old.0, old.1
            ),
        }),
        _ => Ok(()),
    }
}

impl Extended {
    fn unchanged(solution: &Solution) -> Self {
        Self {
            solution: solution.clone(),
            added: Vec::new(),
            removed: Vec::new(),
            post_link: Vec::new(),
            patched: HashSet::new(),
        }
    }

    /// Returns lines for the container, one per post-link script: script, package, version and
    /// build number, separated by tabs.
    pub fn post_link_lines(&self) -> Vec<String> {
        self.post_link.iter().map(PostLink::line).collect()
    }
}

impl Change {
    /// Makes a request for all packages of an environment file, except those for pip.
    pub fn from_spec(spec: &EnvironmentSpec) -> Self {
        let specs = spec.specs.iter();
        Self {
            packages: specs.map(|requested| requested.written.clone()).collect(),
            channels: spec.channels(),
            ..Self::default()
        }
    }

    /// Selects the packages that the solver should keep unchanged where it can.
    fn packages_to_keep(
        &self,
        solution: &Solution,
        asked: &[MatchSpec],
    ) -> Result<Vec<RepoDataRecord>, Error> {
        if !self.update {
            return Ok(solution.records.clone());
        }
        if self.all {
            return Ok(Vec::new());
        }
        let is_there = |spec: &MatchSpec| {
            let mut records = solution.records.iter();
            records.any(|record| names(spec, record))
        };
        let missing = asked.iter().zip(&self.packages);
        let missing: Vec<String> = missing
            .filter(|(spec, _)| !is_there(spec))
            .map(|(_, package)| package.clone())
            .collect();
        if !missing.is_empty() {
            return Err(Error::NotInstalled {
                names: missing,
                by_pip: false,
            });
        }
        let kept = solution
            .records
            .iter()
            .filter(|record| asked.iter().all(|spec| !names(spec, record)));
        Ok(kept.cloned().collect())
    }
}

fn names(spec: &MatchSpec, record: &RepoDataRecord) -> bool {
    matches!(&spec.name, PackageNameMatcher::Exact(name) if *name == record.package_record.name)
}

/// Returns true when a package that should be updated would get an older version.
fn goes_back(before: &Solution, after: &Solution, asked: &[MatchSpec]) -> bool {
    asked.iter().any(|spec| {
        let of = |solution: &Solution| {
            let mut records = solution.records.iter();
            let found = records.find(|record| names(spec, record));
            found.map(|record| record.package_record.version.clone())
        };
        of(after) < of(before)
    })
}
