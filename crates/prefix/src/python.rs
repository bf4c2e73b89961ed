//! Responsible for the directories in which an environment's Python keeps its library and its
//! packages.

use std::path::{Path, PathBuf};

use rattler::install::PythonInfo;
use rustix::fs::FileType;

use condense_within::Within;

use crate::error::Error;

/// Directories for libraries. Some systems for several architectures use the second.
const LIBRARY_DIRS: [&str; 2] = ["lib", "lib64"];
const SITE_PACKAGES: &str = "site-packages";

/// Interpreter of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Python {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    site_packages: PathBuf,
}

impl Python {
    /// Returns an interpreter whose packages are in the usual directory.
    pub(crate) fn new(major: u64, minor: u64) -> Self {
        Self {
            major,
            minor,
            site_packages: format!("lib/python{major}.{minor}/{SITE_PACKAGES}").into(),
        }
    }

    /// Returns the interpreter of a conda package, whose record names the directory of its
    /// packages.
    pub(crate) fn from_info(info: &PythonInfo) -> Self {
        let (major, minor) = info.short_version;
        Self {
            major,
            minor,
            site_packages: info.site_packages_path.clone(),
        }
    }

    /// Finds the interpreter of an existing virtual environment. The library of a free-threaded
    /// interpreter (without a GIL) has another name.
    pub(crate) fn found_in(env_dir: &Within, major: u64, minor: u64) -> Self {
        let usual = Self::new(major, minor);
        let free_threaded = Self {
            site_packages: format!("lib/python{major}.{minor}t/{SITE_PACKAGES}").into(),
            ..usual.clone()
        };
        let is_there = |python: &Self| env_dir.is_dir(&python.site_packages);
        if !is_there(&usual) && is_there(&free_threaded) {
            return free_threaded;
        }
        usual
    }

    /// Returns the directory of its packages, relative to the prefix:
    /// `lib/python3.11/site-packages`.
    pub(crate) fn site_packages(&self) -> &Path {
        &self.site_packages
    }

    /// Returns the directory of its library, relative to the prefix: `lib/python3.11`.
    pub(crate) fn library(&self) -> &Path {
        self.site_packages.parent().unwrap_or(Path::new("lib"))
    }

    /// Returns the name of its library's directory: `python3.11`, or `python3.13t` without a GIL.
    pub(crate) fn library_name(&self) -> String {
        let name = self.library().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Returns whether byte code can hold a hash of its source. In older versions it holds only a
    /// time.
    pub(crate) fn hashes_sources(&self) -> bool {
        (self.major, self.minor) >= (3, 7)
    }
}

/// Lists every directory of Python packages in an environment, whatever its Python is. The paths
/// are sorted and relative to the environment.
pub(crate) fn all_site_packages(env_dir: &Within) -> Result<Vec<PathBuf>, Error> {
    let is_link = |path: &Path| {
        let found = env_dir.stat_of_link(path);
        found.is_some_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    };
    let mut found = Vec::new();
    for lib in LIBRARY_DIRS.map(Path::new) {
        if is_link(lib) {
            continue;
        }
        for (name, kind) in env_dir.entries(lib)? {
            let below = lib.join(&name).join(SITE_PACKAGES);
            let of_python = name.to_string_lossy().starts_with("py");
            // The directory of PyPy has a second name, which is a link.
            if of_python && kind == FileType::Directory && env_dir.is_dir(&below) {
                found.push(below);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_says_where_packages_are() {
        let info = |site_packages: Option<&str>| {
            PythonInfo::from_version(
                &"3.13.0".parse().unwrap(),
                site_packages,
                rattler_conda_types::Subdir::Linux64,
            )
            .unwrap()
        };
        let usual = Python::from_info(&info(None));
        assert_eq!(usual, Python::new(3, 13));
        assert_eq!(usual.library(), Path::new("lib/python3.13"));
        let free_threaded = Python::from_info(&info(Some("lib/python3.13t/site-packages")));
        assert_eq!(free_threaded.library(), Path::new("lib/python3.13t"));
        assert_eq!(free_threaded.library_name(), "python3.13t");
        assert_eq!(
            free_threaded.site_packages(),
            Path::new("lib/python3.13t/site-packages")
        );
    }

    #[test]
    fn a_virtual_environment_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let within = Within::open(dir.path()).unwrap();
        let found = || Python::found_in(&within, 3, 13).library_name();
        assert_eq!(found(), "python3.13");
        fs_err::create_dir_all(dir.path().join("lib/python3.13t/site-packages")).unwrap();
        assert_eq!(found(), "python3.13t");
        fs_err::create_dir_all(dir.path().join("lib/python3.13/site-packages")).unwrap();
        assert_eq!(found(), "python3.13");
        fs_err::create_dir_all(dir.path().join("lib/python2.7/site-packages")).unwrap();
        fs_err::create_dir_all(dir.path().join("lib/tcl8.6/site-packages")).unwrap();
        fs_err::os::unix::fs::symlink("lib", dir.path().join("lib64")).unwrap();
        assert_eq!(
            all_site_packages(&within).unwrap(),
            ["2.7", "3.13", "3.13t"].map(|v| PathBuf::from(format!("lib/python{v}/site-packages")))
        );
    }
}
