//! Responsible for connecting packages with the packages that they need.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use condense_prefix::wheel_dependencies;

use super::{Dependency, Package, PackageKind};

/// Python and machine of an environment, for the markers of wheels.
#[derive(Debug, Clone)]
pub(super) struct Python {
    /// Version, such as `3.12.4`.
    pub(super) version: String,
    /// Name of the machine, such as `x86_64`.
    pub(super) machine: String,
}

/// Package and the texts of its dependencies.
pub(super) struct Described {
    pub(super) package: Package,
    /// Match specs of a conda package, or lines of `Requires-Dist`.
    pub(super) depends: Vec<String>,
}

/// Sorts the packages, and connects each with the packages of its environment that it needs.
pub(super) fn connect(
    mut described: Vec<Described>,
    pythons: &BTreeMap<PathBuf, Python>,
) -> Vec<Package> {
    described.sort_by(|one, other| key(&one.package).cmp(&key(&other.package)));
    let extras = extras(&described, pythons);
    let names = Names::of(&described);
    let mut packages = Vec::new();
    for (index, described) in described.into_iter().enumerate() {
        let Described {
            mut package,
            depends,
        } = described;
        package.depends = match package.kind {
            PackageKind::Conda => depends
                .iter()
                .filter_map(|spec| of_spec(spec))
                .map(|(name, versions)| Dependency {
                    package: names.conda(&package.environment, &name),
                    name,
                    versions,
                })
                .collect(),
            PackageKind::Pip => {
                let extras = extras.get(&index).cloned().unwrap_or_default();
                wheel(&package, &depends, pythons, &extras)
                    .into_iter()
                    .map(|needed| Dependency {
                        package: names.python(&package.environment, &needed.name),
                        versions: needed.versions,
                        name: needed.name,
                    })
                    .collect()
            }
        };
        packages.push(package);
    }
    packages
}

fn key(package: &Package) -> (&Path, &str, PackageKind) {
    (&package.environment, &package.name, package.kind)
}

fn wheel(
    package: &Package,
    depends: &[String],
    pythons: &BTreeMap<PathBuf, Python>,
    extras: &BTreeSet<String>,
) -> Vec<condense_prefix::WheelDependency> {
    let (version, machine) = pythons.get(&package.environment).map_or_else(
        || ("", std::env::consts::ARCH),
        |python| (python.version.as_str(), python.machine.as_str()),
    );
    let extras: Vec<String> = extras.iter().cloned().collect();
    wheel_dependencies(depends, version, machine, &extras)
}

/// Returns the extras of wheels that other wheels require. An extra may require further extras, so
/// this goes on until nothing is added.
fn extras(
    described: &[Described],
    pythons: &BTreeMap<PathBuf, Python>,
) -> BTreeMap<usize, BTreeSet<String>> {
    let names = Names::of(described);
    let mut extras: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let is_wheel = |index: &usize| described[*index].package.kind == PackageKind::Pip;
    let mut ahead: Vec<usize> = (0..described.len()).filter(is_wheel).collect();
    while let Some(index) = ahead.pop() {
        let Described { package, depends } = &described[index];
        let own = extras.get(&index).cloned().unwrap_or_default();
        for needed in wheel(package, depends, pythons, &own) {
            let Some(other) = names.python(&package.environment, &needed.name) else {
                continue;
            };
            let known = extras.entry(other).or_default();
            let before = known.len();
            known.extend(needed.extras);
            if known.len() > before && is_wheel(&other) {
                ahead.push(other);
            }
        }
    }
    extras
}

/// Indices of packages by environment and name.
struct Names {
    conda: BTreeMap<(PathBuf, String), usize>,
    python: BTreeMap<(PathBuf, String), usize>,
}

impl Names {
    fn of(described: &[Described]) -> Self {
        let mut names = Self {
            conda: BTreeMap::new(),
            python: BTreeMap::new(),
        };
        for (index, described) in described.iter().enumerate() {
            let package = &described.package;
            let key = |name: &str| (package.environment.clone(), name.to_owned());
            if package.kind == PackageKind::Conda {
                names.conda.insert(key(&package.name), index);
                for name in &package.provides {
                    names.python.entry(key(name)).or_insert(index);
                }
            } else {
                names.python.insert(key(&package.name), index);
            }
        }
        names
    }

    fn conda(&self, environment: &Path, name: &str) -> Option<usize> {
        let key = (environment.to_owned(), name.to_owned());
        self.conda.get(&key).copied()
    }

    /// Finds a Python distribution. In a lock, conda's packages do not say which distributions they
    /// contain, so a conda package of the same name counts.
    fn python(&self, environment: &Path, name: &str) -> Option<usize> {
        let key = (environment.to_owned(), name.to_owned());
        let found = self.python.get(&key).or_else(|| self.conda.get(&key));
        found.copied()
    }
}

/// Returns the name and the rest of a match spec, such as `numpy` and `>=1.19,<3`, or `None` for a
/// virtual package.
pub(super) fn of_spec(spec: &str) -> Option<(String, String)> {
    let spec = spec.split_once("::").map_or(spec, |(_, rest)| rest).trim();
    let is_end = |c: char| c.is_whitespace() || "=<>!~[".contains(c);
    let (name, rest) = spec.split_at(spec.find(is_end).unwrap_or(spec.len()));
    if name.is_empty() || name.starts_with("__") {
        return None;
    }
    Some((name.to_lowercase(), rest.trim().to_owned()))
}
