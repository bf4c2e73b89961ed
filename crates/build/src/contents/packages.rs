//! Responsible for turning the records of an image, or the entries of a lock, into packages with
//! the space of their files.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Component, Path, PathBuf},
};

use condense_image::Reader;
use condense_prefix::{Lock, normalized_name, without_secrets};

use super::{
    Category, CategoryUse, Contents, ImageFacts, Package, PackageKind, Space,
    dependencies::{Described, Python, connect},
    scan::{Distribution, Record, Scan},
};

/// Host of channels that have a short name.
const ANACONDA: &str = "https://conda.anaconda.org/";

/// Returns the packages of a lock.
pub(super) fn of_lock(lock: &Lock) -> Contents {
    let described = lock.packages().into_iter().map(|locked| {
        let is_conda = locked.build.is_some();
        // Archives are from an index. The others are repositories, such as `git+https:`, and
        // directories.
        let scheme = locked.url.split(':').next().unwrap_or_default();
        let is_direct = locked.url.starts_with('/') || scheme.contains('+');
        let package = Package {
            name: locked.name,
            version: locked.version.unwrap_or_default(),
            build: locked.build,
            channel: locked.channel.as_deref().map(short_channel),
            kind: if is_conda {
                PackageKind::Conda
            } else {
                PackageKind::Pip
            },
            environment: PathBuf::new(),
            requested: Vec::new(),
            direct_url: (!is_conda && is_direct).then_some(locked.url),
            depends: Vec::new(),
            space: None,
            provides: Vec::new(),
        };
        Described {
            package,
            depends: locked.depends,
        }
    });
    let described: Vec<Described> = described.collect();
    let python = described
        .iter()
        .find(|one| one.package.name == "python")
        .map(|found| Python {
            version: found.package.version.clone(),
            machine: std::env::consts::ARCH.to_owned(),
        });
    let pythons = python.map(|python| (PathBuf::new(), python));
    Contents {
        packages: connect(described, &pythons.into_iter().collect()),
        channels: channels(lock),
        ..Contents::default()
    }
}

/// Returns the channels of a lock, with short names.
pub(super) fn channels(lock: &Lock) -> Vec<String> {
    let channels = lock.channels();
    channels
        .iter()
        .map(|channel| short_channel(channel))
        .collect()
}

/// Returns a channel without a platform and without the host of channels that have a short name.
fn short_channel(channel: &str) -> String {
    let channel = without_secrets(channel);
    let mut channel = channel.trim_end_matches('/');
    if let Some((rest, last)) = channel.rsplit_once('/')
        && (last == "noarch" || last.starts_with("linux-"))
    {
        channel = rest;
    }
    channel.strip_prefix(ANACONDA).unwrap_or(channel).to_owned()
}

/// Returns the packages of an image.
///
/// # Errors
/// Returns an error if the image is damaged.
pub(super) fn of_image(reader: &Reader) -> anyhow::Result<Contents> {
    let mut scan = Scan::of(reader)?;
    let mut found = Found::default();
    for (path, record) in std::mem::take(&mut scan.records) {
        found.add_record(&path, record);
    }
    // The copies that a package has of other ones are below the package's own directories.
    let mut distributions: Vec<_> = std::mem::take(&mut scan.distributions)
        .into_iter()
        .collect();
    distributions.sort_by_key(|(dir, _)| dir.iter().count());
    for (dir, distribution) in distributions {
        found.add_distribution(&mut scan, &dir, distribution);
    }
    let mut contents = Contents {
        shared: scan.shared,
        variables: std::mem::take(&mut scan.variables),
        ..Contents::default()
    };
    let mut total = Space::default();
    let mut categories: BTreeMap<Category, Space> = BTreeMap::new();
    for (path, space) in &scan.files {
        total.add(*space);
        let environment = scan.environment_of(path);
        match (found.owner(path), &environment) {
            (Some(owner), _) => found.spaces[owner].add(*space),
            (None, Some(_)) => contents.other.add(*space),
            (None, None) => contents.outside.add(*space),
        }
        if let Some(environment) = environment
            && let Some(category) = path.strip_prefix(&environment).ok().and_then(Category::of)
        {
            categories.entry(category).or_default().add(*space);
        }
    }
    contents.categories = Category::ALL
        .into_iter()
        .filter_map(|category| {
            let space = categories.get(&category).copied()?;
            Some(CategoryUse { category, space })
        })
        .collect();
    let superblock = reader.superblock();
    contents.image = Some(ImageFacts {
        path: reader.path().to_owned(),
        bytes: superblock.bytes_used,
        codec: superblock.codec.name().to_owned(),
        block_bytes: superblock.block_size.bytes(),
        total,
    });
    for (environment, version) in scan.venvs {
        found.pythons.entry(environment).or_insert(Python {
            version,
            machine: std::env::consts::ARCH.to_owned(),
        });
    }
    let spaces = found.spaces;
    let described = found.described.into_iter().zip(spaces);
    let described = described.map(|(mut described, space)| {
        described.package.space = Some(space);
        described
    });
    contents.packages = connect(described.collect(), &found.pythons);
    Ok(contents)
}

/// Packages that were found, and the owners of files.
#[derive(Default)]
struct Found {
    described: Vec<Described>,
    spaces: Vec<Space>,
    owners: HashMap<PathBuf, usize>,
    pythons: BTreeMap<PathBuf, Python>,
}

impl Found {
    fn add_record(&mut self, path: &Path, record: Record) {
        let meta = path.parent().unwrap_or(Path::new(""));
        let environment = meta.parent().unwrap_or(Path::new(""));
        let owner = self.described.len();
        let files = record.files.iter().map(|file| environment.join(file));
        let files: Vec<PathBuf> = files.chain([path.to_owned()]).collect();
        self.owners
            .extend(files.into_iter().map(|file| (file, owner)));
        if record.name == "python" {
            let machine = match record.subdir.as_deref() {
                Some("linux-64") => "x86_64",
                Some(other) => other.strip_prefix("linux-").unwrap_or(other),
                None => std::env::consts::ARCH,
            };
            self.pythons.insert(
                environment.to_owned(),
                Python {
                    version: record.version.clone(),
                    machine: machine.to_owned(),
                },
            );
        }
        let mut requested = record.requested_specs;
        requested.extend(record.requested_spec);
        requested.retain(|spec| !spec.is_empty() && spec != "None");
        requested.dedup();
        self.spaces.push(Space::default());
        self.described.push(Described {
            package: Package {
                name: record.name,
                version: record.version,
                build: Some(record.build),
                channel: record.channel.as_deref().map(short_channel),
                kind: PackageKind::Conda,
                environment: environment.to_owned(),
                requested,
                direct_url: None,
                depends: Vec::new(),
                space: None,
                provides: Vec::new(),
            },
            depends: record.depends,
        });
    }

    /// Adds a package of pip, or a name of the conda package that owns the distribution. A copy of
    /// a distribution inside of another package is neither.
    fn add_distribution(&mut self, scan: &mut Scan, dir: &Path, distribution: Distribution) {
        if distribution.name.is_empty() {
            return;
        }
        let name = normalized_name(&distribution.name);
        if let Some(owner) = self.owners.get(&dir.join("METADATA")) {
            let package = &mut self.described[*owner].package;
            let is_copy = package.kind == PackageKind::Pip
                || !dir
                    .parent()
                    .is_some_and(|dir| dir.ends_with("site-packages"));
            if !is_copy {
                package.provides.push(name);
            }
            return;
        }
        let site_packages = dir.parent().unwrap_or(Path::new(""));
        let environment = scan.environment_of(dir).unwrap_or_else(|| {
            let environment = prefix_of(site_packages);
            scan.environments.insert(environment.clone());
            environment
        });
        if let Some(version) = python_of(site_packages) {
            self.pythons
                .entry(environment.clone())
                .or_insert_with(|| Python {
                    version: scan.venvs.get(&environment).cloned().unwrap_or(version),
                    machine: std::env::consts::ARCH.to_owned(),
                });
        }
        let owner = self.described.len();
        for file in &distribution.files {
            self.owners.insert(flat(&site_packages.join(file)), owner);
        }
        for own in [
            "METADATA",
            "RECORD",
            "REQUESTED",
            "INSTALLER",
            "direct_url.json",
        ] {
            self.owners.insert(dir.join(own), owner);
        }
        let requested = distribution
            .is_requested
            .then(|| match &distribution.direct_url {
                Some(url) => format!("{name} @ {url}"),
                None => name.clone(),
            });
        self.spaces.push(Space::default());
        self.described.push(Described {
            package: Package {
                name,
                version: distribution.version,
                build: None,
                channel: None,
                kind: PackageKind::Pip,
                environment,
                requested: requested.into_iter().collect(),
                direct_url: distribution.direct_url,
                depends: Vec::new(),
                space: None,
                provides: Vec::new(),
            },
            depends: distribution.requires_dist,
        });
    }

    /// Returns the package that a file belongs to. Byte code belongs to the package of its source.
    fn owner(&self, path: &Path) -> Option<usize> {
        if let Some(owner) = self.owners.get(path) {
            return Some(*owner);
        }
        let name = path.file_name()?.to_str()?;
        let stem = name.strip_suffix(".pyc")?.split('.').next()?;
        let dir = path.parent()?;
        let dir = if dir.ends_with("__pycache__") {
            dir.parent()?
        } else {
            dir
        };
        self.owners.get(&dir.join(format!("{stem}.py"))).copied()
    }
}

/// Returns the prefix of a directory `PREFIX/lib/pythonX.Y/site-packages`.
fn prefix_of(site_packages: &Path) -> PathBuf {
    let is_lib = |dir: &&Path| {
        let name = dir.file_name().and_then(|name| name.to_str());
        matches!(name, Some("lib" | "lib64"))
    };
    let lib = site_packages.ancestors().find(is_lib);
    let prefix = lib.and_then(Path::parent).unwrap_or(site_packages);
    prefix.to_owned()
}

/// Returns the version of Python in a path like `lib/python3.12/site-packages`, with a zero for the
/// unknown part.
fn python_of(site_packages: &Path) -> Option<String> {
    let mut names = site_packages.iter().filter_map(|name| name.to_str());
    let version = names.find_map(|name| name.strip_prefix("python3."))?;
    version.parse::<u32>().ok()?;
    Some(format!("3.{version}.0"))
}

/// Removes `..` from a relative path.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                flat.pop();
            }
            Component::Normal(name) => flat.push(name),
            _ => {}
        }
    }
    flat
}
