//! Responsible for installing more packages into an existing environment, which scripts among the
//! build steps request by calling `conda`.

mod remove;
mod unlink;

use std::{collections::HashSet, path::Path, time::Instant};

use rattler_conda_types::{
    Channel, MatchSpec, Matches, PackageNameMatcher, PrefixRecord, RepoDataRecord,
};

use crate::{
    error::Error,
    fetch,
    install::{self, Linked},
    link,
    network::Network,
    progress::{Progress, Stage},
    records,
    solve::{self, Solution},
    spec::{EnvironmentSpec, Kind},
    target::{Place, Target},
};

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
    /// Lines for the container, one per post-link script: script, package, version and build
    /// number, separated by tabs.
    pub post_link: Vec<String>,
}

/// Environment into which packages are installed, and the means for it.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Target that the environment was solved for.
    pub target: &'a Target,
    /// Network access to the channels.
    pub network: &'a Network,
    /// Paths of the environment.
    pub place: &'a Place,
    /// Directory for temporary files, on the same file system.
    pub scratch: &'a Path,
}

/// Adds packages to the environment at `place`, or updates them, as conda does. Packages that are
/// already installed stay unchanged as far as possible. `spec` holds the packages that were
/// requested before; the newly requested ones are added to it.
///
/// # Errors
/// Returns any error of [`crate::solve()`], [`crate::fetch()`] and [`crate::install()`];
/// [`Error::Spec`] for an invalid package or channel; [`Error::NotInstalled`] for the update of a
/// package that is not installed.
pub async fn extend(
    spec: &mut EnvironmentSpec,
    solution: &Solution,
    change: &Change,
    site: &Site<'_>,
    progress: &dyn Progress,
) -> Result<Extended, Error> {
    let Site {
        target,
        network,
        place,
        scratch,
    } = *site;
    let mut wanted = spec.clone();
    let asked = wanted.add_packages(&change.packages, &change.channels)?;
    let satisfied = !change.update
        && asked
            .iter()
            .all(|asked| solution.records.iter().any(|record| asked.matches(record)));
    if satisfied {
        install::write_history(solution, &wanted, &place.open_env()?)?;
        *spec = wanted;
        return Ok(Extended::nothing(solution));
    }
    let near = change.near(solution, &asked)?;
    if change.all {
        wanted.forget_versions();
    }
    let mut whole = wanted.clone();
    whole.keep(solution);
    let pinned = change.update && whole.pin_python(solution);
    let mut new = solve::solve_near(&whole, &near, target, network, scratch, progress).await?;
    if pinned {
        new.specs.pop();
    }
    if change.update && !change.all && goes_back(solution, &new, &asked) {
        return Ok(Extended::nothing(solution));
    }
    refuse_another_python(solution, &new)?;
    new.locked_pip.clone_from(&solution.locked_pip);
    let key = |record: &RepoDataRecord| {
        (
            record.identifier.to_file_name(),
            record.package_record.subdir.clone(),
        )
    };
    let before: HashSet<_> = solution.records.iter().map(key).collect();
    let after: HashSet<_> = new.records.iter().map(key).collect();
    let more = Solution {
        records: new
            .records
            .iter()
            .filter(|record| !before.contains(&key(record)))
            .cloned()
            .collect(),
        ..new.clone()
    };
    // Packages that stay keep the digests that were taken when they were linked.
    for record in &mut new.records {
        if let Some(old) = solution.records.iter().find(|old| key(old) == key(record)) {
            *record = old.clone();
        }
    }
    let archives = fetch::fetch(&more, network, progress).await?;
    let started = Instant::now();
    progress.begin(Stage::Link, Some(more.records.len() as u64));
    let gone = solution
        .records
        .iter()
        .filter(|record| !after.contains(&key(record)));
    let files = gone.clone().map(|record| record.identifier.to_file_name());
    let env = place.open_env()?;
    unlink::take_away(&env, &files.collect())?;
    let mut removed: Vec<String> = gone.map(name_of).collect();
    let place = Place {
        packages: scratch.join("packages-of-scripts"),
        ..place.clone()
    };
    fs_err::create_dir_all(&place.packages).map_err(Error::io("create", &place.packages))?;
    let installed = records::records(&env)?;
    let env_dir = link::open_prefix(&place.scratch_env())?;
    let (_, options) = install::link_options(&new, &place)?;
    let linked = link::link_all(
        &more, &archives, &place, &env_dir, &options, &installed, progress,
    )?;
    for Linked { index, sha256, .. } in &linked {
        let file = more.records[*index].identifier.to_file_name();
        for record in &mut new.records {
            if record.identifier.to_file_name() == file && record.package_record.sha256.is_none() {
                record.package_record.sha256 = Some((*sha256).into());
            }
        }
    }
    let records: Vec<PrefixRecord> = linked.into_iter().map(|linked| linked.record).collect();
    let post_link = install::post_link_scripts(&records, &env);
    install::write_history(&new, &wanted, &env)?;
    fs_err::remove_dir_all(&place.packages).map_err(Error::io("remove", &place.packages))?;
    progress.end(Stage::Link, started.elapsed());
    let mut added: Vec<String> = more.records.iter().map(name_of).collect();
    added.sort();
    removed.sort();
    *spec = wanted;
    Ok(Extended {
        solution: new,
        added,
        removed,
        post_link: post_link.iter().map(install::PostLink::line).collect(),
    })
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
    fn nothing(solution: &Solution) -> Self {
        Self {
            solution: solution.clone(),
            added: Vec::new(),
            removed: Vec::new(),
            post_link: Vec::new(),
        }
    }
}

impl Change {
    /// Makes a request for all packages of an environment file, except those for pip.
    pub fn of(spec: &EnvironmentSpec) -> Self {
        let specs = spec.specs.iter();
        Self {
            packages: specs.map(|requested| requested.written.clone()).collect(),
            channels: spec.channels(),
            ..Self::default()
        }
    }

    /// Selects the packages that the solver should keep unchanged where it can.
    fn near(&self, solution: &Solution, asked: &[MatchSpec]) -> Result<Vec<RepoDataRecord>, Error> {
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

fn refused(verb: &str, what: &str, problem: &str) -> Error {
    Error::Spec {
        file: verb.into(),
        line: 0,
        column: 0,
        message: format!("`{what}`: {problem}"),
    }
}

impl EnvironmentSpec {
    /// Adds packages and channels to the requested ones, and returns the parsed packages.
    fn add_packages(
        &mut self,
        packages: &[String],
        channels: &[String],
    ) -> Result<Vec<MatchSpec>, Error> {
        let mut asked = Vec::new();
        for package in packages {
            let parsed = self
                .add_package(package)
                .map_err(|problem| refused("conda install", package, &problem))?;
            if let PackageNameMatcher::Exact(name) = &parsed.name {
                // The latest request for a package counts.
                let name = name.as_normalized().to_owned();
                let last = self.specs.len() - 1;
                let mut at = 0;
                self.specs.retain(|requested| {
                    at += 1;
                    at - 1 == last
                        || !matches!(&requested.spec.name, PackageNameMatcher::Exact(other) if other.as_normalized() == name)
                });
            }
            asked.push(parsed);
        }
        for channel in channels {
            self.add_channel(channel)
                .map_err(|problem| refused("conda install", channel, &problem))?;
        }
        Ok(asked)
    }

    /// Puts a channel before all others, or after them.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] for an invalid channel.
    pub fn put_channel(&mut self, channel: &str, first: bool) -> Result<(), Error> {
        self.remove_channel(channel)?;
        self.add_channel(channel)
            .map_err(|problem| refused("conda config", channel, &problem))?;
        if first {
            self.channels.rotate_right(1);
        }
        Ok(())
    }

    /// Removes a channel. Returns false if it is not among the channels.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] for an invalid channel.
    pub fn remove_channel(&mut self, channel: &str) -> Result<bool, Error> {
        let mut other = Self::default();
        other
            .add_channel(channel)
            .map_err(|problem| refused("conda config", channel, &problem))?;
        let before = self.channels.len();
        let gone = |known: &Channel| {
            other
                .channels
                .iter()
                .any(|gone| gone.base_url == known.base_url)
        };
        self.channels.retain(|known| !gone(known));
        Ok(self.channels.len() < before)
    }

    /// Returns the names of the packages that were requested by name.
    fn asked_names(&self) -> HashSet<String> {
        let specs = self.specs.iter().map(|requested| &requested.spec.name);
        let names = specs.filter_map(|name| match name {
            PackageNameMatcher::Exact(name) => Some(name.as_normalized().to_owned()),
            _ => None,
        });
        names.collect()
    }

    /// Removes packages from the requested ones.
    fn forget(&mut self, names: &HashSet<String>) {
        self.specs.retain(|requested| match &requested.spec.name {
            PackageNameMatcher::Exact(name) => !names.contains(name.as_normalized()),
            _ => true,
        });
        self.archives.retain(|archive| {
            let name = archive.written.rsplit('/').next().unwrap_or_default();
            // The text is `name-version-build`, and a name may contain dashes.
            let name = name.rsplitn(3, '-').nth(2).unwrap_or_default();
            !names.contains(&name.to_lowercase())
        });
    }

    /// Replaces each request for a package by its name alone.
    fn forget_versions(&mut self) {
        for requested in &mut self.specs {
            if let PackageNameMatcher::Exact(name) = &requested.spec.name {
                requested.written = name.as_source().to_owned();
                requested.spec = MatchSpec {
                    name: requested.spec.name.clone(),
                    channel: requested.spec.channel.clone(),
                    ..MatchSpec::default()
                };
            }
        }
    }

    /// Requests by name all packages that no request leads to, so that the solver does not leave
    /// them out. Such packages come from an explicit file or a lock.
    fn keep(&mut self, solution: &Solution) {
        if self.kind() == Kind::Explicit {
            return self.become_list(solution);
        }
        let needs = remove::needs(solution);
        let asked = self.asked_names();
        let reached = remove::reached(&needs, asked.iter().map(String::as_str));
        let (mut names, mut channels) = (Vec::new(), Vec::new());
        for record in &solution.records {
            let name = record.package_record.name.as_normalized();
            if !reached.contains(name) {
                names.push(name.to_owned());
                channels.extend(record.channel.clone());
            }
        }
        drop(reached);
        for name in names {
            // Every package name of a channel is valid in a request.
            let _ = self.add_package(&name);
        }
        for channel in channels {
            let _ = self.add_channel(&channel);
        }
    }

    /// Pins the minor version of the environment's Python, since all other packages were compiled
    /// for it. Returns true if the environment has a Python.
    fn pin_python(&mut self, solution: &Solution) -> bool {
        let Some(version) = solution.python() else {
            return false;
        };
        let minor: Vec<&str> = version.split('.').take(2).collect();
        self.add_package(&format!("python={}", minor.join(".")))
            .is_ok()
    }

    /// Adds the packages that earlier scripts requested, which conda's history lists.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the history cannot be read.
    pub fn recall(&mut self, place: &Place) -> Result<(), Error> {
        let Some(text) = place.open_env()?.read_text("conda-meta/history")? else {
            return Ok(());
        };
        let mut lines = text.lines().rev();
        let Some(specs) = lines.find_map(|line| line.strip_prefix("# update specs: [")) else {
            return Ok(());
        };
        for written in specs.trim_end_matches(']').split('\'').skip(1).step_by(2) {
            let mut one = Self::default();
            let Ok(spec) = one.add_package(written) else {
                continue;
            };
            // A request for an archive by its URL does not request the package by name.
            if let PackageNameMatcher::Exact(name) = &spec.name
                && spec.url.is_none()
                && !self.asked_names().contains(name.as_normalized())
            {
                self.specs.append(&mut one.specs);
            }
        }
        Ok(())
    }
}
