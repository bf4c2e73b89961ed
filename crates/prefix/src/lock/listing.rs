//! Responsible for listing the packages of a lock.

use std::path::Path;

use super::{Lock, read::open};
use crate::{
    error::Error,
    pip_package::PipSource,
    secrets::{url_without_secrets, without_secrets},
    target::{Architecture, Target},
};

/// Package of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    /// Name as in the lock.
    pub name: String,
    /// Version; `None` for a directory that pip installs.
    pub version: Option<String>,
    /// Build string of a conda package; `None` for a package of pip.
    pub build: Option<String>,
    /// Channel of a conda package, without credentials.
    pub channel: Option<String>,
    /// URL of the archive, without credentials.
    pub url: String,
    /// Dependencies of a conda package, each as a match spec; lines of `Requires-Dist` of a package
    /// of pip.
    pub depends: Vec<String>,
}

impl Lock {
    /// Reads a lock to list its packages, those for this machine if the lock has several platforms.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read, and [`Error::Lock`] if it cannot be
    /// understood.
    pub fn open(file: &Path) -> Result<Self, Error> {
        Self::of_text(&open(file)?, file)
    }

    /// Reads the text of a lock like [`Lock::open`]. `file` is the file's name for errors.
    ///
    /// # Errors
    /// Returns [`Error::Lock`] if the text cannot be understood.
    pub fn of_text(text: &str, file: &Path) -> Result<Self, Error> {
        let here = Architecture::from_machine(std::env::consts::ARCH);
        let here = here.unwrap_or(Architecture::X86_64);
        let folder = file.parent().unwrap_or(Path::new("/"));
        let read = |architecture| {
            let target = Target {
                architecture,
                glibc: None,
                linux: None,
                archspec: None,
                cuda: None,
            };
            Self::parse_installed(text, file, folder, &target)
        };
        read(here).or_else(|error| {
            let others = [
                Architecture::X86_64,
                Architecture::Aarch64,
                Architecture::Ppc64le,
            ];
            let mut others = others.into_iter().filter(|other| *other != here);
            others.find_map(|other| read(other).ok()).ok_or(error)
        })
    }

    /// Returns the packages of conda, then those of pip.
    pub fn packages(&self) -> Vec<LockedPackage> {
        let conda = self.solution.records.iter().map(|record| {
            let package = &record.package_record;
            LockedPackage {
                name: package.name.as_normalized().to_owned(),
                version: Some(package.version.to_string()),
                build: Some(package.build.to_string()),
                channel: record
                    .channel
                    .as_deref()
                    .map(|channel| without_secrets(channel).into_owned()),
                url: url_without_secrets(&record.url),
                depends: package.depends.clone(),
            }
        });
        let pip = self.pip.iter().map(|package| LockedPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            build: None,
            channel: None,
            url: match &package.source {
                PipSource::Archive { url, .. } => url_without_secrets(url),
                PipSource::Git(url) => without_secrets(url).into_owned(),
                PipSource::Dir { path, .. } => path.display().to_string(),
            },
            depends: package.requires_dist.clone(),
        });
        conda.chain(pip).collect()
    }

    /// Returns the channels of the lock in their order, without credentials.
    pub fn channels(&self) -> Vec<String> {
        let channels = self.solution.channels.iter();
        channels
            .map(|channel| without_secrets(channel).into_owned())
            .collect()
    }
}
