//! Responsible for reading the packages of an environment from the files that record them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Package installed by conda.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct CondaPackage {
    /// Name in lower case, as in conda.
    pub name: String,
    /// Version of the package.
    #[serde(default)]
    pub version: String,
    /// Build string, which distinguishes kinds of builds: `cuda120_py312h…`.
    #[serde(default)]
    pub build: String,
    /// Channel of the package, a URL or a name.
    #[serde(default)]
    pub channel: String,
}

/// Package installed by pip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipPackage {
    /// Name in lower case, with hyphens.
    pub name: String,
    /// Version including the local version after `+`: `2.5.1+cu121`. Empty if it is not fixed.
    pub version: String,
}

/// Virtual environment and its interpreter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Venv {
    /// Directory of the virtual environment.
    pub dir: PathBuf,
    /// Directory that holds the interpreter.
    pub home: PathBuf,
    /// Major and minor version of the interpreter.
    pub version: Option<String>,
    /// Whether packages of the interpreter and of the user are visible.
    pub system_site_packages: bool,
}

impl CondaPackage {
    /// Parses a file of `conda-meta`.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

impl PipPackage {
    /// Creates a package, with its name normalised as pip compares names.
    pub fn new(name: &str, version: &str) -> Self {
        let name = name.to_lowercase();
        let name = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
        Self {
            name: name.collect::<Vec<_>>().join("-"),
            version: version.to_owned(),
        }
    }

    /// Parses the name of a metadata directory: `torch-2.5.1+cu121.dist-info`.
    pub(crate) fn from_metadata_dir(name: &str) -> Option<Self> {
        let (name, version) = name.strip_suffix(".dist-info")?.split_once('-')?;
        Some(Self::new(name, version))
    }

    /// Parses the name of the metadata of older tools: `torch-2.5.1-py3.12.egg-info`.
    pub(crate) fn from_egg_info(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".egg-info")?.split('-');
        Some(Self::new(parts.next()?, parts.next()?))
    }

    /// Parses the name of a wheel, or a URL that ends in one:
    /// `torch-2.5.1%2Bcu121-cp312-cp312-linux_x86_64.whl`.
    pub fn from_wheel(url: &str) -> Option<Self> {
        let url = url.split(['#', '?']).next().unwrap_or(url);
        let name = url.strip_suffix(".whl")?.rsplit('/').next()?;
        let name = name.replace("%2B", "+");
        let mut parts = name.split('-');
        Some(Self::new(parts.next()?, parts.next()?))
    }

    /// Returns the local version after `+`.
    pub(crate) fn local_version(&self) -> Option<&str> {
        self.version.split_once('+').map(|(_, local)| local)
    }
}

impl Venv {
    /// Parses the text of `pyvenv.cfg`.
    pub(crate) fn parse(dir: &Path, text: &str) -> Option<Self> {
        let mut venv = Self {
            dir: dir.to_owned(),
            ..Self::default()
        };
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            match key.trim() {
                "home" => venv.home = value.trim().into(),
                "include-system-site-packages" => {
                    venv.system_site_packages = value.trim().eq_ignore_ascii_case("true");
                }
                "version" | "version_info" => {
                    let numbers: Vec<&str> = value.trim().split('.').take(2).collect();
                    venv.version = Some(numbers.join("."));
                }
                _ => {}
            }
        }
        venv.home.is_absolute().then_some(venv)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn package_records_are_parsed() {
        let torch = PipPackage::from_metadata_dir("torch-2.5.1+cu121.dist-info").unwrap();
        assert_eq!(torch, PipPackage::new("Torch", "2.5.1+cu121"));
        assert_eq!(torch.local_version(), Some("cu121"));
        let nvidia = PipPackage::from_metadata_dir("nvidia_cublas_cu12-12.1.dist-info").unwrap();
        assert_eq!(nvidia.name, "nvidia-cublas-cu12");
        assert_eq!(PipPackage::from_metadata_dir("torch"), None);
        let json = br#"{"name": "mpich", "version": "4.2", "build": "h1", "channel": "https://c/", "files": ["a"]}"#;
        assert_eq!(CondaPackage::parse(json).unwrap().build, "h1");
        assert_eq!(CondaPackage::parse(b"{}"), None);
    }

    #[test]
    fn virtual_environments_name_their_interpreter() {
        let text = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n";
        let venv = Venv::parse("/e".as_ref(), text).unwrap();
        assert_eq!(venv.home, Path::new("/usr/bin"));
        assert_eq!(venv.version.as_deref(), Some("3.11"));
        assert_eq!(Venv::parse("/e".as_ref(), "version = 3.11\n"), None);
    }
}
