//! Responsible for the packages of an installation, one of its generations, a SIF, an image or a
//! lock: names, versions, dependencies, and sizes in the image.
//!
//! Packages are read from the image itself, so that an image without a lock can be read as well:
//! conda's records in `conda-meta`, and the metadata directories of wheels.

mod categories;
mod changes;
mod dependencies;
mod packages;
mod scan;
mod subject;

use std::path::PathBuf;

use condense_image::Reader;

pub use categories::{Category, CategoryUse};
pub(crate) use changes::signed;
pub use changes::{Change, ChangeCounts, ChangeKind, size_difference};
pub use subject::{Subject, SubjectKind};

/// Everything that is known of the packages of a subject.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Packages, sorted by environment, name and kind.
    pub packages: Vec<Package>,
    /// Channels in the order of their priority, without credentials. Empty if no lock names them.
    pub channels: Vec<String>,
    /// Environment variables that are set on activation, as conda's `state` file has them.
    pub variables: Vec<(String, String)>,
    /// Space of files in environments that belong to no package.
    pub other: Space,
    /// Space of files outside of all environments, such as a base image's own.
    pub outside: Space,
    /// Space by kind of file. Each file is counted once, and files of no kind are left out.
    pub categories: Vec<CategoryUse>,
    /// Content of more than one file that the image stores once.
    pub shared: Space,
    /// Properties of the image; `None` for a lock.
    pub image: Option<ImageFacts>,
}

/// Properties of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Path of the file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Name of the codec, such as `zstd`.
    pub codec: String,
    /// Size of a block in bytes before compression.
    pub block_bytes: u32,
    /// Space of all files.
    pub total: Space,
}

/// Space of files in an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Number of regular files and links.
    pub files: u64,
    /// Size before compression in bytes. A file with several names is counted once.
    pub bytes: u64,
    /// Size in the image in bytes, after compression.
    pub stored: u64,
}

impl Space {
    fn add(&mut self, other: Space) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.stored += other.stored;
    }
}

/// Installer of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageKind {
    /// Package of a conda channel.
    Conda,
    /// Wheel that pip or uv has installed.
    Pip,
}

impl PackageKind {
    /// Returns `conda` or `pip`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conda => "conda",
            Self::Pip => "pip",
        }
    }
}

/// Package of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Name: conda's, or normalised as pip compares names.
    pub name: String,
    /// Version; empty if it is not known.
    pub version: String,
    /// Build string of a conda package.
    pub build: Option<String>,
    /// Channel of a conda package, without credentials.
    pub channel: Option<String>,
    /// Installer of the package.
    pub kind: PackageKind,
    /// Path of the environment in the image; empty for a lock.
    pub environment: PathBuf,
    /// Specs by which the user asked for the package. Empty if it came as a dependency.
    pub requested: Vec<String>,
    /// URL from which pip installed the package, if not from an index, without credentials.
    pub direct_url: Option<String>,
    /// Dependencies in the order of the record, without virtual packages.
    pub depends: Vec<Dependency>,
    /// Space in the image; `None` for a lock.
    pub space: Option<Space>,
    /// Names of Python distributions that a conda package contains, normalised.
    pub provides: Vec<String>,
}

impl Package {
    /// Returns whether the user asked for the package.
    pub fn is_requested(&self) -> bool {
        !self.requested.is_empty()
    }
}

/// Dependency of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Name as the dependency has it.
    pub name: String,
    /// Versions and build that fit; empty if all fit.
    pub versions: String,
    /// Index in [`Contents::packages`] of the package that fulfils the dependency; `None` if the
    /// environment has none.
    pub package: Option<usize>,
}

impl Contents {
    /// Reads the packages of a subject.
    ///
    /// # Errors
    /// Returns an error if the image, a record or the lock cannot be read.
    pub fn load(subject: &Subject) -> anyhow::Result<Self> {
        let mut contents = match subject.image() {
            Some(image) => Self::of_image(&Reader::open(image)?)?,
            None if subject.kind() == SubjectKind::Lock => {
                packages::of_lock(&condense_prefix::Lock::open(subject.path())?)
            }
            None => Self::default(),
        };
        if let Some(lock) = subject.lock_file()? {
            contents.channels = packages::channels(&lock);
        }
        Ok(contents)
    }

    /// Reads the packages of an image.
    pub(crate) fn of_image(reader: &Reader) -> anyhow::Result<Self> {
        let bytes = std::fs::metadata(reader.path()).map_or(0, |found| found.len());
        let mut contents = packages::of_image(reader)?;
        if let Some(facts) = &mut contents.image {
            facts.bytes = bytes;
        }
        Ok(contents)
    }

    /// Returns the indices of the packages with this name. A Python distribution in a conda package
    /// counts as a name of the package, such as `torch` for `pytorch`.
    pub fn find(&self, name: &str) -> Vec<usize> {
        let normalized = condense_prefix::normalized_name(name);
        let by_name = self.positions(|package| {
            package.name == name || condense_prefix::normalized_name(&package.name) == normalized
        });
        if !by_name.is_empty() {
            return by_name;
        }
        self.positions(|package| package.provides.contains(&normalized))
    }

    fn positions(&self, fits: impl Fn(&Package) -> bool) -> Vec<usize> {
        let packages = self.packages.iter().enumerate();
        packages
            .filter(|(_, package)| fits(package))
            .map(|(index, _)| index)
            .collect()
    }

    /// Returns the indices of the packages from which trees start: those that the user asked for,
    /// or else those that no other package needs. A package that only a cycle of packages needs is
    /// among the latter, too.
    pub fn roots(&self) -> Vec<usize> {
        let requested = self.positions(Package::is_requested);
        let mut roots = requested.clone();
        let mut reached = self.reached_from(&roots);
        let needed: std::collections::BTreeSet<usize> = self
            .packages
            .iter()
            .enumerate()
            .flat_map(|(index, package)| {
                let others = package.depends.iter().filter_map(|needed| needed.package);
                others.filter(move |other| *other != index)
            })
            .collect();
        let not_needed = (0..self.packages.len()).filter(|index| !needed.contains(index));
        for index in not_needed.chain(0..self.packages.len()) {
            if !reached.contains(&index) {
                roots.push(index);
                reached.extend(self.reached_from(&[index]));
            }
        }
        roots.sort_unstable();
        roots
    }

    fn reached_from(&self, roots: &[usize]) -> std::collections::BTreeSet<usize> {
        let mut reached = std::collections::BTreeSet::new();
        let mut ahead = roots.to_vec();
        while let Some(index) = ahead.pop() {
            if reached.insert(index) {
                let depends = self.packages[index].depends.iter();
                ahead.extend(depends.filter_map(|needed| needed.package));
            }
        }
        reached
    }

    /// Returns the indices of the packages that need the package, with the dependency.
    pub fn dependents(&self, of: usize) -> Vec<(usize, &Dependency)> {
        let mut found = Vec::new();
        for (index, package) in self.packages.iter().enumerate() {
            let needed = package
                .depends
                .iter()
                .find(|dependency| dependency.package == Some(of));
            if let Some(needed) = needed.filter(|_| index != of) {
                found.push((index, needed));
            }
        }
        found
    }

    /// Returns the shortest chain of packages from each root to the package, shortest first. Each
    /// chain begins with the root and ends with the package itself.
    pub fn chains_to(&self, target: usize) -> Vec<Vec<usize>> {
        let mut chains = Vec::new();
        for root in self.roots() {
            let mut before = std::collections::BTreeMap::from([(root, root)]);
            let mut ahead = std::collections::VecDeque::from([root]);
            while let Some(index) = ahead.pop_front() {
                if index == target {
                    break;
                }
                for needed in &self.packages[index].depends {
                    if let Some(next) = needed.package
                        && !before.contains_key(&next)
                    {
                        before.insert(next, index);
                        ahead.push_back(next);
                    }
                }
            }
            if before.contains_key(&target) {
                let mut chain = vec![target];
                while let Some(last) = chain.last().filter(|last| **last != root) {
                    chain.push(before[last]);
                }
                chain.reverse();
                chains.push(chain);
            }
        }
        chains.sort_by_key(Vec::len);
        chains
    }

    /// Returns the name of a package that a user probably meant, if any is similar.
    pub fn closest_name(&self, word: &str) -> Option<&str> {
        let names = self.packages.iter().flat_map(|package| {
            std::iter::once(package.name.as_str())
                .chain(package.provides.iter().map(String::as_str))
        });
        condense_diagnostics::closest(word, names)
    }
}

#[cfg(test)]
mod tests;
