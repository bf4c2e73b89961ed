//! Responsible for `conda remove` in the build steps.

use std::{collections::HashSet, time::Instant};

use rattler_conda_types::{Matches, PackageNameMatcher, RepoDataRecord};

use super::{
    Extended,
    dependencies::{needs, reached},
    name_of,
    requests::refused,
    unlink,
};
use crate::{
    error::Error,
    install,
    progress::{Phase, Progress},
    solution::Solution,
    spec::EnvironmentSpec,
    target::Place,
};

/// Packages that are removed only when they are named. Packages that pip has installed need them,
/// but no record says so.
const NEVER_ALONE: [&str; 2] = ["python", "pip"];

/// Packages to remove from an environment, by name.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// Packages in the notation of conda's command line.
    pub packages: &'a [String],
    /// Keeps the packages that depend on these, although they no longer work (`--force`).
    pub alone: bool,
    /// Packages that stay unless they are named or depend on these, although only packages that go
    /// need them: what pip has installed needs them.
    pub needed: &'a [String],
}

/// Removes packages from the environment at `place`, as `conda remove` does. The packages that
/// depend on them are also removed, and so are packages that only the removed ones needed. All of
/// them are removed from the requests in `spec`.
///
/// # Errors
/// Returns [`Error::NotInstalled`] for a package that is not installed, [`Error::Spec`] for an
/// invalid package, [`Error::CannotRemove`] for the environment's Python, [`Error::LeadsOut`] for a
/// record that names files outside of the environment, and [`Error::Io`] if a file cannot be read
/// or removed.
pub fn remove(
    spec: &mut EnvironmentSpec,
    solution: &Solution,
    removal: Removal<'_>,
    place: &Place,
    progress: &dyn Progress,
) -> Result<Extended, Error> {
    let named = named(solution, removal.packages, place)?;
    let gone = removed_together(solution, spec, named, removal);
    refuse_python(&gone, removal)?;
    let started = Instant::now();
    progress.begin(Phase::Link, None);
    let removed = names_of(solution, &gone);
    let new = without(solution, &gone);
    let goes = |record: &&RepoDataRecord| gone.contains(record.package_record.name.as_normalized());
    let archives = solution.records.iter().filter(goes);
    let archives = archives
        .map(|record| record.identifier.to_file_name())
        .collect();
    let env = place.open_env()?;
    let (unlinked, kept_dirs) = unlink::remove_packages(&env, &archives)?;
    spec.remove_requests(&gone);
    install::write_history(&new, spec, &env)?;
    progress.end(Phase::Link, started.elapsed());
    Ok(Extended {
        solution: new,
        added: Vec::new(),
        removed,
        linked: Vec::new(),
        records: Vec::new(),
        unlinked,
        kept_dirs,
        relinked: Vec::new(),
        post_link: Vec::new(),
        patched: HashSet::new(),
    })
}

/// Refuses to remove the environment's Python.
///
/// # Errors
/// Returns [`Error::CannotRemove`] if it would go.
pub(super) fn refuse_python(gone: &HashSet<String>, removal: Removal<'_>) -> Result<(), Error> {
    if !gone.contains("python") {
        return Ok(());
    }
    let is_named =
        |package: &String| EnvironmentSpec::package_name(package).as_deref() == Some("python");
    let named = removal.packages;
    Err(Error::CannotRemove {
        package: "python".to_owned(),
        reason: if named.iter().any(is_named) {
            "an environment keeps its Python".to_owned()
        } else {
            let named = named.join(" ");
            format!("it would go with `{named}`, and an environment keeps its Python")
        },
    })
}

/// Returns the sorted `name-version-build` of these packages.
pub(super) fn names_of(solution: &Solution, gone: &HashSet<String>) -> Vec<String> {
    let records = solution.records.iter();
    let mut names: Vec<String> = records
        .filter(|record| gone.contains(record.package_record.name.as_normalized()))
        .map(name_of)
        .collect();
    names.sort();
    names
}

/// Returns the solution without these packages.
pub(super) fn without(solution: &Solution, gone: &HashSet<String>) -> Solution {
    let mut new = solution.clone();
    new.records
        .retain(|record| !gone.contains(record.package_record.name.as_normalized()));
    new.specs.retain(|spec| match &spec.name {
        PackageNameMatcher::Exact(name) => !gone.contains(name.as_normalized()),
        _ => true,
    });
    new
}

/// Finds the installed packages that the command line names.
fn named(
    solution: &Solution,
    packages: &[String],
    place: &Place,
) -> Result<HashSet<String>, Error> {
    let mut found = HashSet::new();
    let mut missing = Vec::new();
    for package in packages {
        let meant = EnvironmentSpec::default()
            .add_package(package)
            .map_err(|problem| refused("conda remove", package, &problem))?;
        let before = found.len();
        let records = solution.records.iter();
        let matching = records.filter(|record| meant.matches(&record.package_record));
        let names = matching.map(|record| record.package_record.name.as_normalized().to_owned());
        let names: Vec<String> = names.collect();
        let again = names.iter().any(|name| found.contains(name));
        found.extend(names);
        if found.len() == before && !again {
            missing.push(package.clone());
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let of_pip = crate::steps::pip_packages(place)?;
    let is_pip_s = |name: &String| {
        let normal = crate::pip_package::normalized(name);
        of_pip.iter().any(|package| package.name == normal)
    };
    Err(Error::NotInstalled {
        by_pip: missing.iter().any(is_pip_s),
        names: missing,
    })
}

/// Finds every package that is removed together with the named ones.
pub(super) fn removed_together(
    solution: &Solution,
    spec: &EnvironmentSpec,
    named: HashSet<String>,
    removal: Removal<'_>,
) -> HashSet<String> {
    let mut gone = named;
    if removal.alone {
        return gone;
    }
    let needs = needs(solution);
    loop {
        let before = gone.len();
        for (name, needed) in &needs {
            if needed.iter().any(|needed| gone.contains(*needed)) {
                gone.insert((*name).to_owned());
            }
        }
        if gone.len() == before {
            break;
        }
    }
    // Requested packages stay, and so do packages that no request led to before the removal.
    let asked = spec.asked_names();
    let wanted = reached(&needs, asked.iter().map(String::as_str));
    let unasked = needs.keys().filter(|name| !wanted.contains(**name));
    let roots = asked.iter().map(String::as_str).chain(unasked.copied());
    let roots = roots
        .chain(NEVER_ALONE)
        .chain(removal.needed.iter().map(String::as_str))
        .filter(|name| !gone.contains(*name));
    let stays = reached(&needs, roots);
    let orphans = reached(&needs, gone.iter().map(String::as_str));
    let orphans = orphans.difference(&stays).map(|name| (*name).to_owned());
    let orphans: Vec<String> = orphans.collect();
    gone.extend(orphans);
    gone
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    /// Each line is `name: needs needs`.
    pub(in crate::extend) fn solution(packages: &[&str]) -> Solution {
        let records = packages.iter().map(|line| {
            let (name, needed) = line.split_once(':').unwrap();
            let depends: Vec<&str> = needed.split_whitespace().collect();
            let json = serde_json::json!({"name": name, "version": "1", "build": "0", "build_number": 0, "depends": depends,
                "subdir": "linux-64", "fn": format!("{name}-1-0.conda"), "url": format!("https://c.org/linux-64/{name}-1-0.conda"),
                "channel": "https://c.org/"});
            serde_json::from_value(json).unwrap()
        });
        Solution {
            records: records.collect(),
            channels: Vec::new(),
            specs: Vec::new(),
            subdir: rattler_conda_types::Subdir::Linux64,
            virtual_packages: Vec::new(),
            locked_pip: None,
        }
    }

    #[test]
    fn dependents_and_orphaned_dependencies_are_removed_with_a_package() {
        let solution = solution(&[
            "python: pip",
            "pip: python",
            "numpy: python>=3.11 blas c::lib",
            "pandas: numpy[version='>=1']",
            "app: pandas",
            "blas: lib",
            "lib:",
            "alone:",
        ]);
        for (asked, named, alone, expected) in [
            // Requested packages stay. Python and pip stay in any case.
            ("numpy, blas", "numpy", false, "app numpy pandas"),
            ("pandas", "numpy", false, "app blas lib numpy pandas"),
            ("numpy, app", "app", false, "app pandas"),
            // No request for the package is known, so it may be needed and stays.
            ("app", "app", false, "app blas lib numpy pandas"),
            ("app", "lib", true, "lib"),
            ("lib", "blas", false, "app blas numpy pandas"),
        ] {
            let text = format!("channels: [https://c.org]\ndependencies: [{asked}]\n");
            let spec = EnvironmentSpec::parse(&text, Path::new("env.yml"), Path::new("/")).unwrap();
            let named = HashSet::from([named.to_owned()]);
            let removal = Removal {
                packages: &[],
                alone,
                needed: &[],
            };
            let gone = removed_together(&solution, &spec, named, removal);
            let mut gone: Vec<_> = gone.into_iter().collect();
            gone.sort();
            assert_eq!(gone.join(" "), expected, "{asked}");
        }
        let text = "channels: [https://c.org]\ndependencies: [pandas]\n";
        let spec = EnvironmentSpec::parse(text, Path::new("env.yml"), Path::new("/")).unwrap();
        let removal = Removal {
            packages: &[],
            alone: false,
            needed: &["blas".to_owned()],
        };
        let named = HashSet::from(["pandas".to_owned()]);
        let gone = removed_together(&solution, &spec, named, removal);
        assert!(gone.contains("numpy") && !gone.contains("blas") && !gone.contains("lib"));
    }

    /// The reason names no packages of pip: there may be none.
    #[test]
    fn the_refusal_to_remove_python_is_true_without_pip() {
        let gone = HashSet::from(["python".to_owned(), "rich".to_owned()]);
        for (packages, expected) in [
            (&["python", "rich"][..], "an environment keeps its Python"),
            (&["Python=3"], "an environment keeps its Python"),
            (
                &["libzlib", "rich"],
                "it would go with `libzlib rich`, and an environment keeps its Python",
            ),
        ] {
            let packages: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
            let removal = Removal {
                packages: &packages,
                alone: false,
                needed: &[],
            };
            let said = refuse_python(&gone, removal).unwrap_err().to_string();
            assert_eq!(said, format!("`python` cannot be removed: {expected}"));
        }
    }
}
