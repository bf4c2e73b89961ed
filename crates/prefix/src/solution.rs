//! Responsible for the exact packages of an environment: those that the solver chose, or those of a
//! lock or an explicit file.

use std::collections::BTreeSet;

use rattler::install::PythonInfo;
use rattler_conda_types::{MatchSpec, RepoDataRecord, Subdir};

use crate::{
    error::Error,
    pip_package::{LockedPip, PipPackage},
    secrets::{url_without_secrets, without_secrets},
    target::Target,
};

/// Exact packages to install, in an order in which dependencies come first.
#[derive(Debug, Clone)]
pub struct Solution {
    pub(crate) records: Vec<RepoDataRecord>,
    pub(crate) channels: Vec<String>,
    pub(crate) specs: Vec<MatchSpec>,
    pub(crate) subdir: Subdir,
    pub(crate) virtual_packages: Vec<String>,
    /// Packages that pip installs, if a lock file names them.
    pub(crate) locked_pip: Option<Vec<LockedPip>>,
}

/// A conda package, either an exact one or a request for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedPackage {
    /// Name of the package in lower case.
    pub name: String,
    /// Version, or constraint on the version; empty if any version fits.
    pub version: String,
    /// Build string, or pattern for it; empty if any build fits.
    pub build: String,
    /// URL of the channel without credentials; empty if any channel fits.
    pub channel: String,
}

impl Solution {
    /// Returns the solution of an environment without conda packages.
    pub fn without_packages(target: &Target) -> Self {
        Self {
            records: Vec::new(),
            channels: Vec::new(),
            specs: Vec::new(),
            subdir: target.architecture.subdir(),
            virtual_packages: target.virtual_packages(),
            locked_pip: None,
        }
    }

    /// Lists names, versions, builds and channels of all conda packages.
    pub fn packages(&self) -> Vec<NamedPackage> {
        let of = |record: &RepoDataRecord| NamedPackage {
            name: record.package_record.name.as_normalized().to_owned(),
            version: record.package_record.version.to_string(),
            build: record.package_record.build.to_string(),
            channel: record
                .channel
                .as_deref()
                .map(|channel| without_secrets(channel).into_owned())
                .unwrap_or_default(),
        };
        self.records.iter().map(of).collect()
    }

    /// Returns the solution without the pip packages of its lock file.
    #[must_use]
    pub fn without_locked_pip(&self) -> Self {
        Self {
            locked_pip: None,
            ..self.clone()
        }
    }

    /// Lists names and versions of the pip packages that a lock file names.
    pub fn locked_pip_packages(&self) -> Vec<PipPackage> {
        let locked = self.locked_pip.iter().flatten();
        locked
            .map(|package| {
                let version = package.version.as_deref().unwrap_or_default();
                PipPackage::new(&package.name, version)
            })
            .collect()
    }

    /// Returns true if a lock file lists pip packages but no Python that could install them.
    pub(crate) fn lacks_python_for_locked_pip(&self) -> bool {
        let has_pip = self.locked_pip.iter().any(|locked| !locked.is_empty());
        let mut names = self
            .records
            .iter()
            .map(|record| &record.package_record.name);
        has_pip && !names.any(|name| name.as_normalized() == "python")
    }

    /// Returns the names of the packages, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let records = self.records.iter();
        records.map(|record| record.package_record.name.as_normalized())
    }

    /// Returns the number of conda packages.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns true for an environment without any conda package.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Lists the URLs, without credentials, of the packages that pip installs from a lock file and
    /// that other machines can download. Returns `None` without a lock file.
    pub fn locked_pip_from_elsewhere(&self) -> Option<Vec<String>> {
        let locked = self.locked_pip.as_ref()?.iter();
        Some(locked.filter_map(LockedPip::elsewhere).collect())
    }

    /// Returns the output of `list-packages`: one line `name version build channel` per package,
    /// sorted by name. Packages that pip installed have build `pypi_0` and channel `pypi`, as in
    /// `conda list`.
    pub fn listing(&self, pip_packages: &[PipPackage], replaced_by_pip: &[String]) -> String {
        let mut lines: BTreeSet<String> = BTreeSet::new();
        for PipPackage { name, version } in pip_packages {
            lines.insert(format!("{name:<27} {version:<18} {:<28} pypi", "pypi_0"));
        }
        for record in &self.records {
            let package = &record.package_record;
            if replaced_by_pip
                .iter()
                .any(|name| name == package.name.as_normalized())
            {
                continue;
            }
            let channel = record
                .channel
                .as_deref()
                .map_or("", |text| text.trim_end_matches('/'));
            let channel = channel.rsplit('/').next().unwrap_or(channel);
            lines.insert(format!(
                "{:<27} {:<18} {:<28} {channel}",
                package.name.as_normalized(),
                package.version.to_string(),
                package.build
            ));
        }
        let mut text = format!(
            "{:<27} {:<18} {:<28} Channel\n",
            "# Name", "Version", "Build"
        );
        for line in lines {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Returns true if any archive has to be downloaded from another machine.
    pub fn needs_network(&self) -> bool {
        self.records
            .iter()
            .any(|record| record.url.scheme() != "file")
    }

    /// Returns the size of all archives in bytes. An archive for which the channel gives no size
    /// counts as zero.
    pub fn archive_bytes(&self) -> u64 {
        self.records
            .iter()
            .filter_map(|record| record.package_record.size)
            .sum()
    }

    /// Returns the newest build time of any package, in seconds since 1970. It becomes the
    /// modification time of all files in the image.
    pub fn newest_timestamp(&self) -> Option<u32> {
        let newest = self
            .records
            .iter()
            .filter_map(|record| record.package_record.timestamp.as_ref());
        let seconds = newest.map(|time| time.jiff_timestamp().as_second()).max()?;
        u32::try_from(seconds).ok()
    }

    /// Returns the version of Python, such as `3.11.7`, if the environment has one.
    pub fn python(&self) -> Option<String> {
        let record = self
            .records
            .iter()
            .find(|record| record.package_record.name.as_normalized() == "python")?;
        Some(record.package_record.version.to_string())
    }

    /// Returns the directories of the solution's Python, if it has one.
    pub(crate) fn python_info(&self) -> Result<Option<PythonInfo>, Error> {
        let mut records = self.records.iter().map(|record| &record.package_record);
        records
            .find(|record| record.name.as_normalized() == "python")
            .map(|record| PythonInfo::from_python_record(record, self.subdir))
            .transpose()
            .map_err(|error| Error::Install {
                package: "python".to_owned(),
                source: Box::new(error),
            })
    }
}

/// Refuses a record with a name or build that would lead out of the prefix when used as a file
/// name. Channels are not trusted in this respect.
pub(crate) fn refuse_unsafe_names(record: &RepoDataRecord) -> Result<(), Error> {
    if is_safely_named(record) {
        return Ok(());
    }
    let file = record.identifier.to_file_name();
    Err(Error::Damaged {
        package: file.replace(['/', '\0'], "?"),
        url: url_without_secrets(&record.url),
        problem: "its name would leave the prefix".to_owned(),
    })
}

/// Returns true if every field of the record that becomes a file name is a safe file name.
pub(crate) fn is_safely_named(record: &RepoDataRecord) -> bool {
    let file = record.identifier.to_file_name();
    let package = &record.package_record;
    let words = [
        file.as_str(),
        package.name.as_normalized(),
        package.build.as_str(),
    ];
    words
        .iter()
        .all(|word| !word.contains(['/', '\0']) && !matches!(*word, "." | ".."))
}
