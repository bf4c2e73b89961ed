//! Responsible for Python packages: those of an image, and those that lie in a directory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{error::Result, file::Named};

/// Maximum size of a package's metadata in bytes. Long descriptions are a part of it.
const METADATA_MOST: u64 = 4 << 20;

/// Packages for which people look for a module, the most wanted one first.
const WANTED: [&str; 24] = [
    "torch",
    "jax",
    "tensorflow",
    "vllm",
    "numpy",
    "transformers",
    "deepspeed",
    "mpi4py",
    "torchvision",
    "flash-attn",
    "xformers",
    "accelerate",
    "triton",
    "bitsandbytes",
    "horovod",
    "torchaudio",
    "flax",
    "keras",
    "scipy",
    "pandas",
    "scikit-learn",
    "xarray",
    "dask",
    "matplotlib",
];
/// Number of packages in a help text.
const SHOWN_MOST: usize = 10;

/// Python package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// Name of the package.
    pub name: String,
    /// Version of the package.
    pub version: String,
}

impl Distribution {
    /// Returns the name in the form in which pip compares names.
    fn key(&self) -> String {
        let mut key = String::new();
        for c in self.name.chars() {
            match c {
                '-' | '_' | '.' if key.ends_with('-') => {}
                '-' | '_' | '.' => key.push('-'),
                c => key.extend(c.to_lowercase()),
            }
        }
        key
    }
}

/// Returns the packages that a help text shows: the most wanted ones, in the order of their fame.
pub fn wanted(packages: &[Distribution]) -> Vec<Named> {
    let found = WANTED.iter().filter_map(|name| {
        let package = packages.iter().find(|package| package.key() == *name)?;
        Some(Named::new(*name, package.version.clone()))
    });
    found.take(SHOWN_MOST).collect()
}

/// Returns the packages of both, sorted as pip does. A package of the user hides the image's.
pub fn merge(image: &[Distribution], user: &[Distribution]) -> Vec<Distribution> {
    let all = image.iter().chain(user);
    let all: BTreeMap<String, &Distribution> = all.map(|it| (it.key(), it)).collect();
    all.into_values().cloned().collect()
}

/// Returns the table that `pip list` prints.
pub fn render_table(packages: &[Distribution]) -> String {
    let width = |head: &str, of: fn(&Distribution) -> &str| {
        let lengths = packages.iter().map(|package| of(package).chars().count());
        lengths.max().unwrap_or(0).max(head.len())
    };
    let names = width("Package", |package| &package.name);
    let versions = width("Version", |package| &package.version);
    let mut lines = vec![
        format!("{:names$} Version", "Package"),
        format!("{} {}", "-".repeat(names), "-".repeat(versions)),
    ];
    let rows = packages.iter();
    lines.extend(rows.map(|package| format!("{:names$} {}", package.name, package.version)));
    lines.join("\n")
}

/// Finds the packages of the virtual environments below a directory, by their metadata.
///
/// # Errors
/// Returns an error if a directory cannot be read.
pub fn distributions_below(user_software: &Path) -> Result<Vec<Distribution>> {
    let mut found = Vec::new();
    for environment in children(&user_software.join("venv"))? {
        for python in children(&environment.join("lib"))? {
            for metadata in children(&python.join("site-packages"))? {
                let file = match metadata.extension().and_then(|end| end.to_str()) {
                    Some("dist-info") => metadata.join("METADATA"),
                    Some("egg-info") => metadata.join("PKG-INFO"),
                    _ => continue,
                };
                if let Ok(text) = condense_input::read(&file, METADATA_MOST) {
                    found.extend(parse(&String::from_utf8_lossy(&text)));
                }
            }
        }
    }
    Ok(merge(&found, &[]))
}

fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Reads the name and the version in the header of a package's metadata.
fn parse(text: &str) -> Option<Distribution> {
    let header = text.lines().take_while(|line| !line.is_empty());
    let (mut name, mut version) = (None, None);
    for line in header {
        if let Some(value) = line.strip_prefix("Name:") {
            name.get_or_insert_with(|| value.trim().to_owned());
        } else if let Some(value) = line.strip_prefix("Version:") {
            version.get_or_insert_with(|| value.trim().to_owned());
        }
    }
    Some(Distribution {
        name: name?,
        version: version?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Vec<Distribution> {
        let pairs = pairs.iter().map(|(name, version)| Distribution {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
        });
        pairs.collect()
    }

    /// B6: the columns of `pip list`; a package of the user hides the image's.
    #[test]
    fn packages_are_listed_as_pip_does() {
        let image = of(&[
            ("numpy", "2.1"),
            ("Typing_Extensions", "4.12.2"),
            ("a", "1"),
        ]);
        let user = of(&[("typing-extensions", "4.13"), ("zarr", "3")]);
        let all = merge(&image, &user);
        assert_eq!(
            render_table(&all),
            "Package           Version\n\
             ----------------- -------\n\
             a                 1\n\
             numpy             2.1\n\
             typing-extensions 4.13\n\
             zarr              3"
        );
        assert_eq!(wanted(&all), [Named::new("numpy", "2.1")]);
    }

    #[test]
    fn packages_of_a_virtual_environment_are_found_by_their_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let packages = dir.path().join("venv/x/lib/python3.12/site-packages");
        let write = |path: &str, text: &str| {
            let path = packages.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write(
            "six-1.dist-info/METADATA",
            "Name: six\nVersion: 1\n\nName: no\n",
        );
        write(
            "old.egg-info/PKG-INFO",
            "Metadata-Version: 1\nName: old\nVersion: 2\n",
        );
        write("broken.dist-info/RECORD", "");
        write("six.py", "");
        assert_eq!(
            distributions_below(dir.path()).unwrap(),
            of(&[("old", "2"), ("six", "1")])
        );
        assert_eq!(distributions_below(&dir.path().join("none")).unwrap(), []);
    }
}
