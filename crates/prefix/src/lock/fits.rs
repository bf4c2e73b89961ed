//! Responsible for the question whether a lock still is what an environment file asks for.

use pep508_rs::VersionOrUrl;
use rattler_conda_types::{Matches, PackageNameMatcher};

use super::{Lock, pip::normalized, requirement::understood};
use crate::{error::Error, spec::EnvironmentSpec};

impl Lock {
    /// Takes over what the lock does not know, the file's specs, and refuses a file that asks for
    /// something else.
    ///
    /// # Errors
    /// [`Error::Lock`] that names every line of the file that the lock does not satisfy.
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

    /// Why the lock does not satisfy a line for pip; none where it does, or where only pip could
    /// tell.
    fn unmet_requirement(&self, line: &str) -> Option<String> {
        let requirement = understood(line)?;
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
                // With a marker it may be right that it is not there.
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
