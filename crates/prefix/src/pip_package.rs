//! Responsible for the packages that pip installs: their names, versions and exact sources.

use std::path::PathBuf;

use url::Url;

use crate::secrets::{url_without_secrets, without_secrets};

/// Name and version of a Python package that pip or uv has installed or would install.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PipPackage {
    /// Name of the package.
    pub name: String,
    /// Version; empty for a directory in a lock, which has no fixed version.
    pub version: String,
}

impl PipPackage {
    /// Returns the package with this name and version.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
        }
    }
}

impl From<(String, String)> for PipPackage {
    fn from((name, version): (String, String)) -> Self {
        Self { name, version }
    }
}

impl From<PipPackage> for (String, String) {
    fn from(package: PipPackage) -> Self {
        (package.name, package.version)
    }
}

/// A package that pip installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockedPip {
    pub(crate) name: String,
    /// Version of the package; `None` for a directory, because its version
    /// may change with its files.
    pub(crate) version: Option<String>,
    pub(crate) source: PipSource,
    /// Dependencies, kept for readers of the lock; condense does not use them. Lines that are not
    /// valid by PEP 508 are left out.
    pub(crate) requires_dist: Vec<String>,
    pub(crate) requires_python: Option<String>,
    /// False for a package that only other packages need. pip marks those that were asked for.
    pub(crate) requested: bool,
}

/// Exact source of a pip package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PipSource {
    /// A wheel or source distribution with exactly these bytes.
    Archive {
        /// URL of the archive; a `file:` URL for an archive on this machine.
        url: Url,
        /// SHA-256 digest of the archive in hexadecimal digits.
        sha256: String,
    },
    /// URL `git+URL@COMMIT` of a repository, with `#subdirectory=` if the project is in a
    /// subdirectory.
    Git(String),
    /// A directory of this machine, with the files that it has at the time of the installation.
    Dir {
        /// Absolute path of the directory.
        path: PathBuf,
        /// True if pip installs a link to the directory instead of a copy.
        editable: bool,
    },
}

impl LockedPip {
    /// Returns a text that identifies this package: its name with its digest, commit or directory.
    pub(crate) fn identity(&self) -> String {
        match &self.source {
            PipSource::Archive { sha256, .. } => format!("{} {sha256}", self.name),
            PipSource::Git(url) => format!("{} {url}", self.name),
            PipSource::Dir { path, editable } => {
                format!("{} {} {editable}", self.name, path.display())
            }
        }
    }

    /// Returns the URL of the package without credentials, or `None` if the package exists only on
    /// this machine.
    pub(crate) fn elsewhere(&self) -> Option<String> {
        match &self.source {
            PipSource::Archive { url, .. } if url.scheme() != "file" => {
                Some(url_without_secrets(url))
            }
            PipSource::Git(url) if !url.starts_with("git+file:") => {
                Some(without_secrets(url).into_owned())
            }
            _ => None,
        }
    }

    pub(crate) fn is_editable(&self) -> bool {
        matches!(self.source, PipSource::Dir { editable: true, .. })
    }
}

/// Returns the name of a package normalised by PEP 503, the form that package indices compare.
pub fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' => {
                if !out.ends_with('-') {
                    out.push('-');
                }
            }
            other => out.push(other.to_ascii_lowercase()),
        }
    }
    out
}
