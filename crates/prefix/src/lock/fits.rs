//! Responsible for checking that a lock still satisfies an environment file.

use pep508_rs::VersionOrUrl;
use rattler_conda_types::{Matches, PackageNameMatcher};

use super::{Lock, requirement::parse_requirement};
use crate::{error::Error, pip_package::normalized, spec::EnvironmentSpec};

impl Lock {
    /// Checks that the lock has all packages that the environment file requests, and copies the
    /// file's specs into the lock's solution, because a lock does not contain them.
    ///
    /// # Errors
    /// Returns [`Error::Lock`] that names every line of the file that the lock does not satisfy.
    pub fn check_fits(&mut self, spec: &EnvironmentSpec) -> Result<(), Error> {
        let mut unmet: Vec<String> = Vec::new();
        let records = &self.solution.records;
        for requested in &spec.specs {
            let PackageNameMatcher::Exact(name) = &requested.spec.name else {
                continue;
            };
            if name.as_normalized().starts_with("__")
                || records.iter().any(|record| requested.spec.matches(record))
            {
                continue;
            }
            let found = records
                .iter()
                .find(|record| record.package_record.name == *name)
                .map_or_else(
                    || "it has no such package".to_owned(),
                    |record| format!("it has {}", record.package_record.version),
                );
            unmet.push(format!("`{}` ({found})", requested.written));
        }
        let open = &self.extra.unlocked;
        for line in spec.pip().iter().filter(|line| !open.contains(line)) {
            if let Some(found) = self.unmet_requirement(line) {
                unmet.push(format!("`{line}` ({found})"));
            }
        }
        if !unmet.is_empty() {
            return Err(Error::Lock {
                file: self.file.clone(),
                message: format!(
                    "it does not have what the environment file asks for: {}",
                    unmet.join(", ")
                ),
            });
        }
        self.solution.specs = spec
            .specs
            .iter()
            .map(|requested| requested.spec.clone())
            .collect();
        Ok(())
    }

    /// Returns the reason why the lock does not satisfy a line for pip. Returns `None` if it does,
    /// or if only pip could decide.
    fn unmet_requirement(&self, line: &str) -> Option<String> {
        let requirement = parse_requirement(line)?;
        let name = normalized(requirement.name.as_ref());
        let locked = self
            .solution
            .locked_pip
            .iter()
            .flatten()
            .find(|package| package.name == name);
        let of_conda = || {
            self.solution
                .records
                .iter()
                .find(|record| normalized(record.package_record.name.as_normalized()) == name)
                .map(|record| record.package_record.version.to_string())
        };
        let version = match locked {
            Some(package) => package.version.clone(),
            None => match of_conda() {
                Some(version) => Some(version),
                // A requirement with a marker may be for other machines, so
                // the package may be missing.
                None if line.contains(';') => return None,
                None => return Some("it has no such package".to_owned()),
            },
        };
        let Some(VersionOrUrl::VersionSpecifier(specifiers)) = &requirement.version_or_url else {
            return None;
        };
        let version = version?;
        let fits = version
            .parse()
            .is_ok_and(|version| specifiers.contains(&version));
        (!fits).then(|| format!("it has {version}"))
    }
}
