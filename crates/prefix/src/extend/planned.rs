//! Responsible for questions about a change of an environment that can be answered before its files
//! are there.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
    path::Path,
};

use pep508_rs::VersionOrUrl;
use rattler_conda_types::RepoDataRecord;
use serde_yaml::{Mapping, Value};

use super::{
    Change, Removal,
    dependencies::{needs, reached},
    differences, is_satisfied, name_of, refuse_another_python,
    remove::{refuse_python, removed_together, without},
    solve_change,
};
use crate::{
    error::Error,
    lock::parse_requirement,
    network::Network,
    pip_package::{PipPackage, normalized},
    progress::Progress,
    solution::Solution,
    solve::SolveContext,
    spec::{EnvironmentSpec, Kind},
    target::Target,
};

/// Installed package that has to stay because of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillNeeded {
    /// Package that was to be removed.
    pub package: String,
    /// Requested package that needs it.
    pub by: String,
}

/// A change of an environment that is solved and not made.
#[derive(Debug, Clone)]
pub struct Planned {
    /// All packages after the change.
    pub solution: Solution,
    /// Packages that the change adds, also in place of other versions.
    pub added: Solution,
    /// Sorted `name-version-build` of the packages that it removes.
    pub removed: Vec<String>,
    /// Everything that is asked for after the change.
    pub asked: EnvironmentSpec,
    /// Installed packages that it removes.
    pub(super) gone: Vec<RepoDataRecord>,
}

/// Change of one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transaction {
    /// A package comes that was not there.
    Install,
    /// A package gets a newer version.
    Upgrade,
    /// A package gets an older version.
    Downgrade,
    /// A package gets another build of its version, or the same from another channel.
    Rebuild,
    /// A package goes.
    Remove,
}

/// Finds out which packages [`apply`](super::apply()) would change, and changes nothing. `scratch`
/// is a directory for temporary files.
///
/// # Errors
/// Returns the errors of a solve, [`Error::Spec`] for an invalid package or channel, and
/// [`Error::CannotRemove`] for the environment's Python.
pub async fn plan_change(
    spec: &EnvironmentSpec,
    solution: &Solution,
    (removal, change): (Removal<'_>, &Change),
    target: &Target,
    network: &Network,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Planned, Error> {
    let mut wanted = spec.clone();
    let named = removal.packages.iter().map(|name| name.to_lowercase());
    let named: HashSet<String> = named.collect();
    let gone = if named.is_empty() {
        HashSet::new()
    } else {
        removed_together(solution, spec, named.clone(), removal)
    };
    refuse_python(&gone, removal)?;
    let before = without(solution, &gone);
    // What only the removed packages have needed stays as it is if a new package needs it.
    let near = without(solution, &named);
    wanted.remove_requests(&gone);
    let asked = wanted.add_packages(&change.packages, &change.channels)?;
    if is_satisfied(&before, &asked) && !change.free {
        return Planned::between(solution, before, wanted);
    }
    let means = SolveContext {
        target,
        network,
        scratch,
    };
    let both = (&before, &near);
    let new = solve_change(&mut wanted, both, change, &asked, &means, progress).await?;
    Planned::between(solution, new, wanted)
}

impl Planned {
    /// Returns the change that leads from the packages `before` to those of `new`.
    ///
    /// # Errors
    /// Returns [`Error::Unsolvable`] if Python's minor version would change.
    pub(super) fn between(
        before: &Solution,
        mut new: Solution,
        asked: EnvironmentSpec,
    ) -> Result<Self, Error> {
        refuse_another_python(before, &new)?;
        new.locked_pip.clone_from(&before.locked_pip);
        let (added, gone) = differences(before, &mut new);
        let gone: Vec<RepoDataRecord> = gone.into_iter().cloned().collect();
        let mut removed: Vec<String> = gone.iter().map(name_of).collect();
        removed.sort();
        Ok(Self {
            solution: new,
            added,
            removed,
            asked,
            gone,
        })
    }

    /// Returns whether all packages stay as they are.
    pub fn is_idle(&self) -> bool {
        self.added.is_empty() && self.gone.is_empty()
    }

    /// Returns the names of the packages that are removed or replaced.
    pub fn gone_names(&self) -> impl Iterator<Item = &str> {
        let records = self.gone.iter();
        records.map(|record| record.package_record.name.as_normalized())
    }

    /// Returns the change of each package by its name, sorted by names.
    pub fn transactions(&self) -> BTreeMap<String, (Transaction, Option<String>)> {
        let mut found = BTreeMap::new();
        let name = |record: &RepoDataRecord| record.package_record.name.as_normalized().to_owned();
        let shown = |record: &RepoDataRecord| {
            let package = &record.package_record;
            format!("{}-{}", package.version, package.build)
        };
        for record in &self.gone {
            found.insert(name(record), (Transaction::Remove, Some(shown(record))));
        }
        for record in &self.added.records {
            let mut before = self.gone.iter();
            let before = before.find(|old| old.package_record.name == record.package_record.name);
            let version = &record.package_record.version;
            let kind = before.map_or(Transaction::Install, |old| {
                match version.cmp(&old.package_record.version) {
                    Ordering::Greater => Transaction::Upgrade,
                    Ordering::Less => Transaction::Downgrade,
                    Ordering::Equal => Transaction::Rebuild,
                }
            });
            found.insert(name(record), (kind, before.map(shown)));
        }
        found
    }
}

impl Change {
    /// Returns whether packages that fit all requests are installed already.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] for an invalid package.
    pub fn is_satisfied(&self, spec: &EnvironmentSpec, solution: &Solution) -> Result<bool, Error> {
        let asked = spec.clone().add_packages(&self.packages, &[])?;
        Ok(!self.update && !self.all && !self.free && is_satisfied(solution, &asked))
    }
}

impl Removal<'_> {
    /// Returns the packages of the removal that are not installed.
    pub fn missing<'a>(&'a self, solution: &'a Solution) -> impl Iterator<Item = &'a str> {
        let installed: HashSet<&str> = solution.names().collect();
        let packages = self.packages.iter().map(String::as_str);
        packages.filter(move |name| !installed.contains(name.to_lowercase().as_str()))
    }

    /// Returns the packages of the removal that a request in `spec` needs, with the request.
    /// Requests that are removed as well do not count.
    pub fn still_needed(&self, spec: &EnvironmentSpec, solution: &Solution) -> Vec<StillNeeded> {
        let needs = needs(solution);
        let removed = self.packages.iter().map(|name| name.to_lowercase());
        let mut removed: Vec<String> = removed.collect();
        removed.sort();
        let mut requests: Vec<String> = spec.asked_names().into_iter().collect();
        requests.retain(|name| !removed.contains(name));
        requests.sort();
        let mut found = Vec::new();
        for package in removed {
            let needs_it = |request: &&String| {
                reached(&needs, std::iter::once(request.as_str())).contains(package.as_str())
            };
            if let Some(by) = requests.iter().find(needs_it).cloned() {
                found.push(StillNeeded { package, by });
            }
        }
        found
    }
}

impl Planned {
    /// Returns the packages of the removal that are there after the change, with the request that
    /// needs them: what the change adds may need a package that it removes.
    pub fn kept_of(&self, removal: &Removal<'_>) -> Vec<StillNeeded> {
        let kept: HashSet<&str> = self.solution.names().collect();
        let mut needed = removal.still_needed(&self.asked, &self.solution);
        needed.retain(|found| kept.contains(found.package.as_str()));
        needed
    }
}

impl EnvironmentSpec {
    /// Returns whether all lines for pip are satisfied by installed packages: those of pip, and
    /// conda packages of the same name. A line that only pip could decide is not.
    pub fn is_pip_satisfied(&self, solution: &Solution, pip: &[PipPackage]) -> bool {
        let version_of = |name: &str| {
            let mut of_pip = pip.iter();
            let of_pip = of_pip.find(|package| normalized(&package.name) == name);
            let of_conda = || {
                let mut packages = solution.packages().into_iter();
                packages.find(|package| normalized(&package.name) == name)
            };
            match of_pip {
                Some(package) => Some(package.version.clone()),
                None => of_conda().map(|package| package.version),
            }
        };
        self.pip().iter().all(|line| {
            let Some(requirement) = parse_requirement(line) else {
                return false;
            };
            if !requirement.extras.is_empty() || line.contains(';') {
                return false;
            }
            let version = version_of(&normalized(requirement.name.as_ref()));
            match (version, &requirement.version_or_url) {
                (Some(_), None) => true,
                (Some(version), Some(VersionOrUrl::VersionSpecifier(wanted))) => version
                    .parse()
                    .is_ok_and(|version| wanted.contains(&version)),
                (Some(_), Some(VersionOrUrl::Url(_))) | (None, _) => false,
            }
        })
    }

    /// Returns the normalised names of the projects that the lines for pip ask for.
    pub fn pip_names(&self) -> HashSet<String> {
        let lines = self.pip().iter();
        let asked = lines.filter_map(|line| parse_requirement(line));
        asked.map(|asked| normalized(asked.name.as_ref())).collect()
    }

    /// Returns an environment file with the same requests, without credentials. An environment of
    /// exact packages is described by their names.
    ///
    /// # Errors
    /// Returns an error if the text cannot be made.
    pub fn to_environment_file(&self, solution: &Solution) -> Result<String, serde_yaml::Error> {
        let mut dependencies: Vec<Value> = if self.kind() == Kind::Explicit {
            solution.names().map(Value::from).collect()
        } else {
            self.conda_specs().map(Value::from).collect()
        };
        let pip = self.pip_as_written();
        if !pip.is_empty() {
            let lines = Value::from(pip.to_vec());
            dependencies.push(Mapping::from_iter([("pip".into(), lines)]).into());
        }
        let mut document = Mapping::new();
        document.insert("channels".into(), Value::from(self.channels()));
        document.insert("dependencies".into(), dependencies.into());
        let variables = self.variables().iter();
        let variables: Mapping = variables
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect();
        if !variables.is_empty() {
            document.insert("variables".into(), variables.into());
        }
        serde_yaml::to_string(&document)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::extend::remove::tests::solution;

    fn spec(text: &str) -> EnvironmentSpec {
        EnvironmentSpec::parse(text, Path::new("env.yml"), Path::new("/")).unwrap()
    }

    #[test]
    fn a_change_is_compared_with_what_is_there() {
        let installed = solution(&["python:", "numpy: blas", "blas:"]);
        let asked = spec("channels: [https://c.org]\ndependencies: [numpy]\n");
        for (package, expected) in [
            ("numpy", true),
            ("numpy=1", true),
            ("numpy>=2", false),
            ("scipy", false),
        ] {
            let change = Change {
                packages: vec![package.to_owned()],
                ..Change::default()
            };
            let found = change.is_satisfied(&asked, &installed).unwrap();
            assert_eq!(found, expected, "{package}");
        }
    }

    #[test]
    fn packages_that_requests_need_stay() {
        let installed = solution(&["numpy: blas", "blas:", "pandas: numpy", "alone:"]);
        let asked = spec("channels: [https://c.org]\ndependencies: [numpy, pandas, alone]\n");
        let check = |names: &[&str], missing: &[&str], needed: &[(&str, &str)]| {
            let packages: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let removal = Removal {
                packages: &packages,
                alone: false,
                needed: &[],
            };
            let found: Vec<&str> = removal.missing(&installed).collect();
            assert_eq!(found, missing, "{names:?}");
            let found = removal.still_needed(&asked, &installed);
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|needed| (needed.package.as_str(), needed.by.as_str()))
                .collect();
            assert_eq!(found, needed, "{names:?}");
        };
        check(&["alone"], &[], &[]);
        check(&["Alone", "none"], &["none"], &[]);
        check(&["numpy"], &[], &[("numpy", "pandas")]);
        check(&["numpy", "pandas"], &[], &[]);
        check(&["blas"], &[], &[("blas", "numpy")]);
    }

    #[test]
    fn pip_s_lines_are_compared_with_names_and_versions() {
        let installed = solution(&["numpy:"]);
        let pip = [PipPackage::new("my-lib", "1.2")];
        for (line, expected) in [
            ("my_lib", true),
            ("my.lib>=1,<2", true),
            ("my-lib==1.3", false),
            ("numpy", true),
            ("numpy>1", false),
            ("rich", false),
            ("my-lib[extra]", false),
            ("my-lib ; python_version > '3'", false),
            ("my-lib @ https://h.org/a-1-py3-none-any.whl", false),
            ("--pre", false),
        ] {
            let wanted = EnvironmentSpec::parse_requirements(
                &format!("{line}\n"),
                Path::new("r.txt"),
                Path::new("/"),
                &crate::SpecContext::default(),
            );
            let found = wanted.unwrap().is_pip_satisfied(&installed, &pip);
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn requests_become_a_file_with_the_same_requests() {
        let text =
            "channels: [https://c.org/x]\ndependencies: [numpy, pip: [rich]]\nvariables: {A: b}\n";
        let mut asked = spec(text);
        let channels = ["https://d.org".to_owned()];
        asked
            .add_packages(&["h5py>=3".to_owned()], &channels)
            .unwrap();
        let written = asked.to_environment_file(&solution(&[])).unwrap();
        let again = spec(&written);
        assert_eq!(
            again.conda_specs().collect::<Vec<_>>(),
            ["numpy", "h5py>=3"]
        );
        assert_eq!(again.pip(), ["rich"]);
        assert_eq!(again.variables(), asked.variables());
        assert_eq!(again.channels(), asked.channels());
        let exact = "@EXPLICIT\nhttps://c.org/noarch/a-1-0.conda\n";
        let exact = EnvironmentSpec::parse(exact, Path::new("x.txt"), Path::new("/")).unwrap();
        let written = exact
            .to_environment_file(&solution(&["a: b", "b:"]))
            .unwrap();
        assert!(written.contains("- a\n- b\n"), "{written}");
    }
}
