//! Responsible for `conda install` among the build steps: more packages into an environment that is there already.

use std::{collections::HashSet, path::Path, time::Instant};

use rattler_conda_types::{Matches, PackageNameMatcher, PrefixRecord};

use crate::{
    error::Error,
    fetch,
    install::{self, Linked},
    link,
    network::Network,
    progress::{Progress, Stage},
    solve::{self, Solution},
    spec::{EnvironmentSpec, Kind},
    target::{Place, Target},
    within::Within,
};

/// What more packages have made of an environment.
#[derive(Debug)]
pub struct Extended {
    /// Everything that is there now.
    pub solution: Solution,
    /// `name-version-build` of what is new, sorted.
    pub added: Vec<String>,
    /// The same of what has gone for it.
    pub removed: Vec<String>,
    /// Lines for the container: script, package, version and build number of post-link scripts, between tabs.
    pub post_link: Vec<String>,
}

/// Where and with what more packages are installed.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// What the environment was solved for.
    pub target: &'a Target,
    /// The way to its channels.
    pub network: &'a Network,
    /// Where it lies.
    pub place: &'a Place,
    /// For what is needed meanwhile, on the same file system.
    pub scratch: &'a Path,
}

/// Adds packages to the environment at `place`, as `conda install` does: what is there stays as far as it can. `spec` is what
/// was asked for before, and remembers what is asked for now.
///
/// # Errors
/// As [`crate::solve()`], [`crate::fetch()`] and [`crate::install()`]; [`Error::Spec`] for a package or channel that is none.
pub async fn extend(
    spec: &mut EnvironmentSpec,
    solution: &Solution,
    packages: &[String],
    channels: &[String],
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
    let asked = wanted.add_packages(packages, channels)?;
    let satisfied = asked
        .iter()
        .all(|asked| solution.records.iter().any(|record| asked.matches(record)));
    if satisfied {
        *spec = wanted;
        return Ok(Extended {
            solution: solution.clone(),
            added: Vec::new(),
            removed: Vec::new(),
            post_link: Vec::new(),
        });
    }
    let mut whole = wanted.clone();
    if whole.kind() == Kind::Explicit || spec.specs.is_empty() {
        // Nobody has asked for these by name, and they must stay.
        whole.become_list(solution);
    }
    let mut new = solve::solve_near(
        &whole,
        &solution.records,
        target,
        network,
        scratch,
        progress,
    )
    .await?;
    refuse_another_python(solution, &new)?;
    new.locked_pip.clone_from(&solution.locked_pip);
    let key = |record: &rattler_conda_types::RepoDataRecord| {
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
    // What stays keeps the digests that were taken when it was linked.
    for record in &mut new.records {
        if let Some(old) = solution.records.iter().find(|old| key(old) == key(record)) {
            *record = old.clone();
        }
    }
    let archives = fetch::fetch(&more, network, progress).await?;
    let started = Instant::now();
    progress.begin(Stage::Link, Some(more.records.len() as u64));
    let env = place.open_env()?;
    let mut removed = Vec::new();
    for record in solution
        .records
        .iter()
        .filter(|record| !after.contains(&key(record)))
    {
        unlink(&env, &record.identifier.to_file_name())?;
        removed.push(name_of(record));
    }
    let place = Place {
        packages: scratch.join("packages-of-scripts"),
        ..place.clone()
    };
    fs_err::create_dir_all(&place.packages).map_err(Error::io("create", &place.packages))?;
    let installed = install::records(&env)?;
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

fn name_of(record: &rattler_conda_types::RepoDataRecord) -> String {
    let package = &record.package_record;
    format!(
        "{}-{}-{}",
        package.name.as_normalized(),
        package.version,
        package.build
    )
}

/// Everything that is compiled for one Python would have to be made again for another.
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

/// Takes a package's files and its record away.
fn unlink(env_dir: &Within, archive: &str) -> Result<(), Error> {
    let stem = archive
        .strip_suffix(".conda")
        .or_else(|| archive.strip_suffix(".tar.bz2"))
        .unwrap_or(archive);
    let record_path = format!("conda-meta/{stem}.json");
    let record = install::record(env_dir, record_path.as_ref())?;
    for entry in &record.paths_data.paths {
        env_dir.remove(&entry.relative_path)?;
    }
    env_dir.remove(&record_path)
}

impl EnvironmentSpec {
    /// Remembers packages and channels; gives the packages back.
    fn add_packages(
        &mut self,
        packages: &[String],
        channels: &[String],
    ) -> Result<Vec<rattler_conda_types::MatchSpec>, Error> {
        let refused = |what: &str, message: String| Error::Spec {
            file: "conda install".into(),
            line: 0,
            column: 0,
            message: format!("`{what}`: {message}"),
        };
        let mut asked = Vec::new();
        for package in packages {
            let parsed = self
                .add_package(package)
                .map_err(|problem| refused(package, problem))?;
            if let PackageNameMatcher::Exact(name) = &parsed.name {
                // The newest wish for a package counts.
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
                .map_err(|problem| refused(channel, problem))?;
        }
        Ok(asked)
    }
}
