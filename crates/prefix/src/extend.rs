//! Responsible for installing more packages into an existing environment, which scripts among the
//! build steps request by calling `conda`.

mod apply;
mod dependencies;
mod planned;
mod remove;
mod requests;
mod unlink;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use rattler_conda_types::{Channel, MatchSpec, Matches, PackageNameMatcher, RepoDataRecord};

use crate::{
    error::Error,
    install,
    network::Network,
    progress::Progress,
    secrets::{url_without_secrets, without_secrets},
    solution::Solution,
    solve::{SolveContext, solve_near},
    spec::EnvironmentSpec,
    steps::PostLink,
    target::{Place, Target},
};

pub use apply::{EnvFiles, apply, byte_code_of, old_byte_code_of};
pub use planned::{Planned, StillNeeded, Transaction, plan_change};
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
    /// Keeps no installed version for its own sake: every package may get the newest version that
    /// the requests allow.
    pub free: bool,
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
    /// Files of the packages that were linked, relative to the environment.
    pub linked: Vec<PathBuf>,
    /// Records of these packages, relative to the environment.
    pub records: Vec<PathBuf>,
    /// Files of packages that are gone, relative to the environment, which no other package has.
    /// Byte code that no record names is not among them.
    pub unlinked: Vec<PathBuf>,
    /// Directories of packages that stay, relative to the environment. They stay even if they are
    /// empty.
    pub kept_dirs: HashSet<PathBuf>,
    /// Sorted names of packages that stay and were linked again, since they share files with
    /// packages that are gone.
    pub relinked: Vec<String>,
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
    if !change.update && !change.free && is_satisfied(solution, &asked) {
        install::write_history(solution, &wanted, &context.place.open_env()?)?;
        *spec = wanted;
        return Ok(Extended::unchanged(solution));
    }
    let means = SolveContext {
        target: context.target,
        network: context.network,
        scratch: context.scratch,
    };
    let both = (solution, solution);
    let new = solve_change(&mut wanted, both, change, &asked, &means, progress).await?;
    if change.update && !change.all && goes_back(solution, &new, &asked) {
        return Ok(Extended::unchanged(solution));
    }
    let planned = Planned::between(solution, new, wanted)?;
    let extended = apply(&planned, context, EnvFiles::All, progress).await?;
    *spec = planned.asked;
    Ok(extended)
}

/// Returns true if packages that fit the requests are installed already.
fn is_satisfied(solution: &Solution, asked: &[MatchSpec]) -> bool {
    asked
        .iter()
        .all(|asked| solution.records.iter().any(|record| fits(asked, record)))
}

fn fits(asked: &MatchSpec, record: &RepoDataRecord) -> bool {
    asked.matches(record) && is_from(record, asked.channel.as_deref())
}

/// Returns whether the record comes from the channel, if one is asked for. A match of rattler does
/// not compare channels.
fn is_from(record: &RepoDataRecord, channel: Option<&Channel>) -> bool {
    let Some(channel) = channel else { return true };
    let url = url_without_secrets(channel.base_url.as_ref());
    let plain = |url: &str| url.trim_end_matches('/').to_owned();
    let of_record = record.channel.as_deref().map(without_secrets);
    of_record.is_some_and(|found| plain(&found) == plain(&url))
}

/// Solves the environment with the requested change. Packages that are already installed stay
/// unchanged as far as the change allows: those of `solution`, and those of `near` that the new
/// environment needs again.
async fn solve_change(
    wanted: &mut EnvironmentSpec,
    (solution, near): (&Solution, &Solution),
    change: &Change,
    asked: &[MatchSpec],
    means: &SolveContext<'_>,
    progress: &dyn Progress,
) -> Result<Solution, Error> {
    let kept = change.packages_to_keep(near, asked)?;
    if change.all {
        wanted.remove_versions();
    }
    let mut whole = wanted.clone();
    whole.request_unrequested(solution);
    let pinned = (change.update || change.free) && whole.pin_python(solution);
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
    let of_name = |records: &'a [RepoDataRecord]| -> HashMap<&'a str, &'a RepoDataRecord> {
        let names = records.iter().map(|record| (normalized(record), record));
        names.collect()
    };
    let old = of_name(&before.records);
    let mut added = Vec::new();
    let mut stay = HashSet::new();
    for record in &mut new.records {
        match old.get(normalized(record)) {
            Some(old) if is_same(old, record) => {
                *record = (*old).clone();
                stay.insert(normalized(old));
            }
            _ => added.push(record.clone()),
        }
    }
    let gone = before.records.iter();
    let gone = gone.filter(|record| !stay.contains(normalized(record)));
    let gone = gone.collect();
    let more = Solution {
        records: added,
        ..new.clone()
    };
    (more, gone)
}

fn normalized(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}

/// Returns whether two records are of the same archive. Channels may have different ones of the
/// same name.
fn is_same(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    let digests = (one.package_record.sha256, other.package_record.sha256);
    let is_same_content = match digests {
        (Some(one), Some(other)) => one == other,
        _ => is_same_channel(one, other),
    };
    one.identifier.to_file_name() == other.identifier.to_file_name()
        && one.package_record.subdir == other.package_record.subdir
        && is_same_content
}

fn is_same_channel(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    let plain = |record: &RepoDataRecord| {
        let channel = without_secrets(record.channel.as_deref()?).into_owned();
        Some(channel.trim_end_matches('/').to_owned())
    };
    plain(one) == plain(other)
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
            linked: Vec::new(),
            records: Vec::new(),
            unlinked: Vec::new(),
            kept_dirs: HashSet::new(),
            relinked: Vec::new(),
            post_link: Vec::new(),
            patched: HashSet::new(),
        }
    }

    /// Returns the names of new packages with a post-link script.
    pub fn post_link_packages(&self) -> impl Iterator<Item = &str> {
        self.post_link.iter().map(|one| one.package.as_str())
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
        if self.all || self.free {
            return Ok(Vec::new());
        }
        if !self.update {
            // The solver would keep a package of another channel than the request's.
            let stays = |record: &&RepoDataRecord| {
                let mut asked = asked.iter();
                asked.all(|spec| !names(spec, record) || fits(spec, record))
            };
            return Ok(solution.records.iter().filter(stays).cloned().collect());
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
