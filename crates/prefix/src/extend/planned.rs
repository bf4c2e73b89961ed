//! Responsible for questions about a change of an environment that can be answered before its files
//! are there.

use std::{collections::HashSet, path::Path};

use pep508_rs::VersionOrUrl;
use serde_yaml::{Mapping, Value};

use super::{
    Change, Removal,
    dependencies::{needs, reached},
    differences, is_satisfied, refuse_another_python,
    remove::{names_of, removed_together, without},
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

/// An environment after a change that is only planned.
#[derive(Debug, Clone)]
pub struct Planned {
    /// All packages after the change.
    pub solution: Solution,
    /// Packages that the change adds.
    pub added: Solution,
    /// Sorted `name-version-build` of the packages that it removes.
    pub removed: Vec<String>,
}

/// Finds out which packages [`super::remove()`] and [`super::extend()`] would change, and changes
/// nothing. `scratch` is a directory for temporary files.
///
/// # Errors
/// Returns the errors of a solve, and [`Error::Spec`] for an invalid package or channel.
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
        removed_together(solution, spec, named, removal.alone)
    };
    let mut removed = names_of(solution, &gone);
    let before = without(solution, &gone);
    wanted.remove_requests(&gone);
    let asked = wanted.add_packages(&change.packages, &change.channels)?;
    if is_satisfied(&before, &asked) {
        return Ok(Planned {
            added: Solution {
                records: Vec::new(),
                ..before.clone()
            },
            solution: before,
            removed,
        });
    }
    let means = SolveContext {
        target,
        network,
        scratch,
    };
    let mut new = solve_change(&mut wanted, &before, change, &asked, &means, progress).await?;
    refuse_another_python(&before, &new)?;
    let (added, replaced) = differences(&before, &mut new);
    removed.extend(replaced.into_iter().map(super::name_of));
    removed.sort();
    Ok(Planned {
        added,
        solution: new,
        removed,
    })
}

impl Change {
    /// Returns whether packages that fit all requests are installed already.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] for an invalid package.
    pub fn is_satisfied(&self, spec: &EnvironmentSpec, solution: &Solution) -> Result<bool, Error> {
        let asked = spec.clone().add_packages(&self.packages, &[])?;
        Ok(!self.update && !self.all && is_satisfied(solution, &asked))
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
