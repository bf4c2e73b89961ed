//! Responsible for finding the Python packages that pip has added, and the conda packages that it
//! has replaced.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    pip_package::{PipPackage, normalized},
    progress::Warning,
    python::{Python, all_site_packages},
    records::forget_files,
};
use condense_within::Within;

/// Contents of site-packages at one moment: maps normalised names to version and metadata
/// directory.
#[derive(Debug, Default)]
pub(super) struct Distributions {
    site_packages: PathBuf,
    found: BTreeMap<String, Distribution>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Distribution {
    version: String,
    metadata: String,
}

/// Changes that pip has made.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Name and version of every new package, sorted.
    pub(super) installed: Vec<PipPackage>,
    /// Names of conda packages whose Python package pip has replaced.
    pub(super) replaced: Vec<String>,
}

impl Distributions {
    pub(super) fn read(env_dir: &Within, python: Option<&Python>) -> Result<Self, Error> {
        python.map_or_else(
            || Ok(Self::default()),
            |python| Self::read_dir(env_dir, python.site_packages()),
        )
    }

    fn read_dir(env_dir: &Within, site_packages: &Path) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        for entry in env_dir.names(site_packages)? {
            if let Some((name, distribution)) = parse(&entry.to_string_lossy())
                && is_complete(env_dir, &site_packages.join(entry))
            {
                found.insert(name, distribution);
            }
        }
        Ok(Self {
            site_packages: site_packages.to_owned(),
            found,
        })
    }

    /// Returns names and versions, sorted.
    pub(super) fn packages(&self) -> Vec<PipPackage> {
        let found = self.found.iter();
        found
            .map(|(name, found)| PipPackage::new(name, &found.version))
            .collect()
    }

    /// Compares with the state before, updates conda's records, and reports replaced packages.
    pub(super) fn changes_since(
        &self,
        before: &Self,
        env_dir: &Within,
        warn: &dyn Fn(Warning),
    ) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        for (name, now) in &self.found {
            let earlier = before.found.get(name);
            if earlier == Some(now) {
                continue;
            }
            changes.installed.push(PipPackage::new(name, &now.version));
            let Some(earlier) = earlier else {
                continue;
            };
            let gone = self.site_packages.join(&earlier.metadata);
            let Some((package, record)) = owner(env_dir, &gone)? else {
                continue;
            };
            let of_pip = self.files_of(env_dir, now)?;
            forget_files(env_dir, &record, &|file| {
                of_pip.contains(file) || !env_dir.has(file)
            })?;
            warn(Warning::PipReplaced {
                name: name.clone(),
                package: package.clone(),
                before: earlier.version.clone(),
                after: now.version.clone(),
            });
            changes.replaced.push(package);
        }
        Ok(changes)
    }

    /// Returns all files that a distribution's own RECORD names, relative to the environment.
    fn files_of(&self, env_dir: &Within, of: &Distribution) -> Result<HashSet<String>, Error> {
        let path = self.site_packages.join(&of.metadata).join("RECORD");
        let Some(text) = env_dir.read_text(path)? else {
            return Ok(HashSet::new());
        };
        let lines = text.lines().filter_map(|line| {
            // A line is `name,digest,size`; a name with a comma is quoted.
            let name = match line.strip_prefix('"') {
                Some(rest) => rest.split_once('"')?.0,
                None => line.split(',').next()?,
            };
            Some(without_parent_dirs(&self.site_packages.join(name)))
        });
        Ok(lines.collect())
    }
}

impl Changes {
    /// Removes packages that pip did not install.
    pub(super) fn exclude(&mut self, names: &HashSet<String>) {
        self.installed
            .retain(|package| !names.contains(&package.name));
    }
}

/// Returns the paths of conda's package records, relative to the environment.
pub(super) fn conda_records(env_dir: &Within) -> Result<HashSet<PathBuf>, Error> {
    let names = env_dir.names("conda-meta")?.into_iter();
    let paths = names.map(|name| Path::new("conda-meta").join(name));
    Ok(paths
        .filter(|path| path.extension().is_some_and(|found| found == "json"))
        .collect())
}

/// Returns names and versions of the Python packages of an environment that do not belong to a
/// conda package.
pub(super) fn beside_conda(env_dir: &Within) -> Result<Vec<PipPackage>, Error> {
    let of_conda = of_new_records(env_dir, &HashSet::new())?;
    let mut found = Vec::new();
    // Only directories of the environment's own Python are searched, because it uses no other
    // Python.
    for site_packages in all_site_packages(env_dir)? {
        let there = Distributions::read_dir(env_dir, &site_packages)?.found;
        let beside = there.into_iter();
        let beside = beside.filter(|(name, _)| !of_conda.contains(name));
        found.extend(beside.map(|(name, found)| PipPackage::new(name, found.version)));
    }
    Ok(found)
}

/// Returns names of the Python packages in conda packages whose records are new.
pub(super) fn of_new_records(
    env_dir: &Within,
    before: &HashSet<PathBuf>,
) -> Result<HashSet<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Record {
        #[serde(default)]
        files: Vec<String>,
    }
    let mut names = HashSet::new();
    for path in conda_records(env_dir)?.difference(before) {
        let record: Record = serde_json::from_slice(&env_dir.read_required(path)?)
            .map_err(|error| Error::io("read", env_dir.path(path))(error.into()))?;
        let parts = record.files.iter().flat_map(|file| file.split('/'));
        names.extend(parts.filter_map(parse).map(|(name, _)| name));
    }
    Ok(names)
}

/// Parses the name of a metadata entry: `name-1.0.dist-info` or `name-1.0-py3.11.egg-info`.
fn parse(entry: &str) -> Option<(String, Distribution)> {
    let stem = entry
        .strip_suffix(".dist-info")
        .or_else(|| entry.strip_suffix(".egg-info"))?;
    let mut parts = stem.split('-');
    let (name, version) = (parts.next()?, parts.next()?);
    // pip renames a package that it is removing to a name that begins with a tilde.
    if name.is_empty() || name.starts_with('~') {
        return None;
    }
    let distribution = Distribution {
        version: version.to_owned(),
        metadata: entry.to_owned(),
    };
    Some((normalized(name), distribution))
}

/// Returns whether a metadata directory is complete. Files that the package's own RECORD does not
/// name remain when pip removes the package.
fn is_complete(env_dir: &Within, metadata: &Path) -> bool {
    env_dir.is_file(metadata)
        || ["METADATA", "PKG-INFO"]
            .iter()
            .any(|name| env_dir.is_file(metadata.join(name)))
}

/// Resolves `..` in a path, as conda's records name files.
fn without_parent_dirs(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::Normal(name) => parts.extend(name.to_str()),
            _ => {}
        }
    }
    parts.join("/")
}

/// Returns the conda package that contains a file or directory, and the path of its record.
fn owner(env_dir: &Within, path: &Path) -> Result<Option<(String, PathBuf)>, Error> {
    #[derive(serde::Deserialize)]
    struct Record {
        name: String,
        #[serde(default)]
        files: Vec<String>,
    }
    let prefix = path.to_string_lossy();
    // A virtual environment has no records of conda, so this loop finds nothing there.
    for record in conda_records(env_dir)? {
        let parsed: Record = serde_json::from_slice(&env_dir.read_required(&record)?)
            .map_err(|error| Error::io("read", env_dir.path(&record))(error.into()))?;
        let is_its = |file: &String| {
            file.strip_prefix(&*prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if parsed.files.iter().any(is_its) {
            return Ok(Some((parsed.name, record)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::RefCell;

    fn write(path: &Path, text: &str) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    #[test]
    fn a_package_of_conda_that_pip_replaces_is_named_and_its_record_stays_true() {
        let dir = tempfile::tempdir().unwrap();
        let env = dir.path();
        let site = env.join("lib/python3.11/site-packages");
        let python = Python::new(3, 11);
        let python = Some(&python);
        for file in [
            "Rich_Text-1.0.dist-info/METADATA",
            "Rich_Text-1.0.dist-info/licenses/LICENSE",
            "rich/a.py",
            "rich/old.py",
        ] {
            write(&site.join(file), "");
        }
        write(&site.join("other-2.0-py3.11.egg-info"), "");
        write(&env.join("bin/rich"), "");
        let record = env.join("conda-meta/rich-text-1.0-0.json");
        let files = [
            "lib/python3.11/site-packages/Rich_Text-1.0.dist-info/METADATA",
            "lib/python3.11/site-packages/rich/a.py",
            "lib/python3.11/site-packages/rich/old.py",
            "bin/rich",
            "share/licence",
        ];
        write(&env.join("share/licence"), "");
        let json = serde_json::json!({"name": "rich-text", "files": files,
            "paths_data": {"paths": files.map(|file| serde_json::json!({"_path": file}))}});
        write(&record, &json.to_string());
        let within = Within::open(env).unwrap();
        let before = Distributions::read(&within, python).unwrap();

        // pip does not remove files that the package's RECORD does not name.
        fs_err::remove_file(site.join("Rich_Text-1.0.dist-info/METADATA")).unwrap();
        fs_err::remove_file(site.join("rich/old.py")).unwrap();
        write(
            &site.join("rich_text-1.1.dist-info/RECORD"),
            "rich/a.py,sha256=x,1\n../../../bin/rich,sha256=x,1\n",
        );
        write(&site.join("rich_text-1.1.dist-info/METADATA"), "");
        write(&site.join("new-3.0.dist-info/METADATA"), "");
        let warnings = RefCell::new(Vec::new());
        let changes = Distributions::read(&within, python)
            .unwrap()
            .changes_since(&before, &within, &|warning| {
                warnings.borrow_mut().push(warning.to_string());
            })
            .unwrap();
        assert_eq!(
            changes.installed,
            [
                PipPackage::new("new", "3.0"),
                PipPackage::new("rich-text", "1.1")
            ]
        );
        assert_eq!(changes.replaced, ["rich-text"]);
        assert_eq!(
            *warnings.borrow(),
            [
                "pip has replaced `rich-text` 1.0, which came with the conda package `rich-text`, by 1.1"
            ]
        );
        let after: serde_json::Value =
            serde_json::from_slice(&fs_err::read(&record).unwrap()).unwrap();
        assert_eq!(after["files"], serde_json::json!(["share/licence"]));
        assert_eq!(
            after["paths_data"]["paths"],
            serde_json::json!([{"_path": "share/licence"}])
        );
    }
}
