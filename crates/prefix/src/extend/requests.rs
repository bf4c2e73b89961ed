//! Responsible for changing the requests of an environment: packages and channels.

use std::collections::HashSet;

use rattler_conda_types::{Channel, MatchSpec, PackageNameMatcher};

use super::dependencies::{needs, reached};
use crate::{
    error::Error,
    solution::Solution,
    spec::{EnvironmentSpec, Kind},
    target::Place,
};

impl EnvironmentSpec {
    /// Adds packages and channels to the requested ones, and returns the parsed packages.
    pub(super) fn add_packages(
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
            // As for conda, the channel of a request is asked after all others.
            if let Some(channel) = parsed.channel.as_deref()
                && self
                    .channels
                    .iter()
                    .all(|known| known.base_url != channel.base_url)
            {
                self.channels.push(channel.clone());
            }
            asked.push(parsed);
        }
        for channel in channels {
            self.add_channel(channel)
                .map_err(|problem| refused("conda install", channel, &problem))?;
        }
        Ok(asked)
    }

    /// Checks a package that is written as on conda's command line.
    ///
    /// # Errors
    /// Returns the mistake in words.
    pub fn check_package(text: &str) -> Result<(), String> {
        Self::default().add_package(text).map(drop)
    }

    /// Returns the normalised name of a package in the notation of conda's command line, or `None`
    /// for a text that is not valid or names no single package.
    pub fn package_name(text: &str) -> Option<String> {
        match Self::default().add_package(text).ok()?.name {
            PackageNameMatcher::Exact(name) => Some(name.as_normalized().to_owned()),
            _ => None,
        }
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
    pub(super) fn asked_names(&self) -> HashSet<String> {
        let specs = self.specs.iter().map(|requested| &requested.spec.name);
        let names = specs.filter_map(|name| match name {
            PackageNameMatcher::Exact(name) => Some(name.as_normalized().to_owned()),
            _ => None,
        });
        names.collect()
    }

    /// Removes packages from the requested ones.
    pub(super) fn remove_requests(&mut self, names: &HashSet<String>) {
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
    pub(super) fn remove_versions(&mut self) {
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
    pub(super) fn request_unrequested(&mut self, solution: &Solution) {
        if self.kind() == Kind::Explicit {
            request_all(self, solution);
            return;
        }
        let needs = needs(solution);
        let asked = self.asked_names();
        let reached = reached(&needs, asked.iter().map(String::as_str));
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
    pub(super) fn pin_python(&mut self, solution: &Solution) -> bool {
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
    pub fn add_requests_of_history(&mut self, place: &Place) -> Result<(), Error> {
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

/// Turns the spec into one that requests every package of `solution` by its name, and no archive.
fn request_all(spec: &mut EnvironmentSpec, solution: &Solution) {
    spec.kind = Kind::List;
    spec.archives.clear();
    let names: Vec<String> = solution
        .records
        .iter()
        .map(|record| record.package_record.name.as_normalized().to_owned())
        .collect();
    for name in names {
        // The name comes from a channel's record, so parsing it as a match spec succeeds.
        let _ = spec.add_package(&name);
    }
    for record in &solution.records {
        if let Some(channel) = &record.channel {
            let _ = spec.add_channel(channel);
        }
    }
}

/// Returns the error for a package or channel on the command line of `verb`.
pub(super) fn refused(verb: &str, what: &str, problem: &str) -> Error {
    Error::Spec {
        file: verb.into(),
        line: 0,
        column: 0,
        message: format!("`{what}`: {problem}"),
    }
}
