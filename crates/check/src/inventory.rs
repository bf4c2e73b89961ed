//! Responsible for scanning a directory or an image once for files that checks need: ELF files,
//! links, packages.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Component, Path, PathBuf},
};

use condense_image::{Entry, Kind, Reader, Tree};

use crate::{
    checks::shadows::site_of,
    elf::Elf,
    error::Error,
    packages::{CondaPackage, PipPackage, Venv},
};

/// Maximum size in bytes of an ELF file whose contents are read from an image. The largest
/// libraries, cuDNN's and PyTorch's, have 1 to 2 GB. A larger file counts as a library of its name,
/// but its own needs are not judged.
pub(crate) const FILE_LEN_MAX: u64 = 512 << 20;
/// Maximum size of a text file that is read, in bytes.
const TEXT_LEN_MAX: u64 = 16 << 20;
/// Maximum number of threads that read files.
const THREADS_MAX: usize = 8;
/// Maximum number of links that are followed for one name.
const LINKS_MAX: usize = 40;

/// Result of a scan, by the paths that programs see.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Path of the scanned tree for running programs.
    pub(crate) root: PathBuf,
    pub(crate) elves: BTreeMap<PathBuf, Elf>,
    /// ELF files of the image below an update that need an MPI; filled only if the update has such
    /// files too. They were judged when they were added.
    pub(crate) mpi_users_below: BTreeMap<PathBuf, Elf>,
    pub(crate) links: BTreeMap<PathBuf, PathBuf>,
    /// Packages installed by conda.
    pub conda: Vec<CondaPackage>,
    /// Packages installed by pip.
    pub pip: Vec<PipPackage>,
    /// Virtual environments in the tree.
    pub venvs: Vec<Venv>,
    /// Packages of each directory in which a Python of the tree looks for them.
    pub(crate) sites: BTreeMap<PathBuf, Vec<PipPackage>>,
}

/// Use of a file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Elf,
    Conda,
    Venv,
}

/// Contents of a file that checks need.
enum Contents {
    Elf(Elf),
    Conda(CondaPackage),
    Venv(Venv),
    /// A file that is not what its name promises.
    Other,
}

impl Contents {
    /// Reads a file of a tree, which programs see at `inside`.
    fn load(what: Use, inside: &Path, path: &Path, entry: &Entry) -> Result<Self, Error> {
        let Some(file) = entry.open()? else {
            return Ok(Self::Other);
        };
        if what == Use::Elf {
            let elf = Elf::load_from(file).map_err(Error::io("read", path))?;
            return Ok(elf.map_or(Self::Other, Self::Elf));
        }
        let mut bytes = Vec::new();
        let read = file
            .take(condense_input::RECORD_MOST)
            .read_to_end(&mut bytes);
        read.map_err(Error::io("read", path))?;
        Ok(Self::parse(what, inside, &bytes))
    }

    /// Parses a text file, which programs see at `inside`.
    fn parse(what: Use, inside: &Path, bytes: &[u8]) -> Self {
        match what {
            Use::Conda => CondaPackage::parse(bytes).map_or(Self::Other, Self::Conda),
            Use::Venv => {
                let dir = inside.parent().unwrap_or(Path::new("/"));
                let venv = Venv::parse(dir, &String::from_utf8_lossy(bytes));
                venv.map_or(Self::Other, Self::Venv)
            }
            Use::Elf => Self::Other,
        }
    }
}

impl Inventory {
    /// Scans a directory on disk whose mount point is `at`, without its subdirectory `excluded`.
    ///
    /// # Errors
    /// Returns an error if a directory or a file cannot be read.
    pub fn from_dir(dir: &Path, at: &Path, excluded: Option<&str>) -> Result<Self, Error> {
        let mut found = Self {
            root: at.to_owned(),
            ..Self::default()
        };
        let excluded = excluded.map(|name| dir.join(name));
        let mut ahead = vec![dir.to_owned()];
        while let Some(next) = ahead.pop() {
            let entries = fs_err::read_dir(&next).map_err(Error::io("read", &next))?;
            for entry in entries {
                let path = entry.map_err(Error::io("read", &next))?.path();
                let metadata = fs_err::symlink_metadata(&path).map_err(Error::io("read", &path))?;
                let inside = at.join(path.strip_prefix(dir).unwrap_or(&path));
                if metadata.is_symlink() {
                    let target = fs_err::read_link(&path).map_err(Error::io("read", &path))?;
                    found.links.insert(inside, target);
                } else if metadata.is_dir() && excluded.as_deref() == Some(&*path) {
                    // This directory holds files of the build, which are not part of the
                    // environment.
                } else if metadata.is_dir() {
                    found.add_package(&inside);
                    ahead.push(path);
                } else if metadata.is_file() {
                    match use_of(&inside, metadata.permissions().mode()) {
                        Some(Use::Elf) => {
                            let elf = Elf::load(&path).map_err(Error::io("read", &path))?;
                            found.elves.extend(elf.map(|elf| (inside, elf)));
                        }
                        Some(text) => {
                            let bytes = condense_input::read(&path, condense_input::RECORD_MOST)
                                .map_err(Error::io("read", &path))?;
                            found.add_text(text, &inside, &bytes);
                        }
                        None => {}
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Scans a tree that is not packed yet, whose mount point will be `at`.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub fn from_tree(tree: &Tree, at: &Path) -> Result<Self, Error> {
        let mut found = Self {
            root: at.to_owned(),
            ..Self::default()
        };
        let mut candidates = Vec::new();
        for (path, entry) in tree.walk() {
            let inside = at.join(&path);
            match &entry.kind {
                Kind::Symlink(target) => {
                    let target = Path::new(OsStr::from_bytes(target));
                    found.links.insert(inside, target.to_owned());
                }
                Kind::Directory(_) if !path.as_os_str().is_empty() => found.add_package(&inside),
                _ => {
                    let what = use_of(&inside, entry.mode.into());
                    candidates.extend(what.map(|what| (what, path, entry)));
                }
            }
        }
        let load = |(what, path, entry): &(Use, PathBuf, &Entry)| {
            Contents::load(*what, &at.join(path), path, entry)
        };
        let threads = condense_threads::cores(THREADS_MAX);
        let loaded = condense_threads::try_map(threads, &candidates, load)?;
        for ((_, path, _), contents) in candidates.into_iter().zip(loaded) {
            found.add(at.join(path), contents);
        }
        found.sort();
        Ok(found)
    }

    /// Scans an image that is mounted at `at`. With `environments_only`, files outside of conda
    /// environments and virtual environments are left out, because a base's own files are not
    /// judged.
    ///
    /// # Errors
    /// Returns an error if the image is damaged.
    pub fn from_image(reader: &Reader, at: &Path, environments_only: bool) -> Result<Self, Error> {
        let mut found = Self {
            root: at.to_owned(),
            ..Self::default()
        };
        let mut candidates = Vec::new();
        let mut environments = Vec::new();
        for entry in reader.walk()? {
            let (path, node) = entry?;
            let inside = at.join(&path);
            if node.is_symlink() {
                found.links.insert(inside, reader.read_link(&node)?);
                continue;
            }
            if node.is_directory() {
                found.add_package(&inside);
            } else if node.is_file()
                && let Some(what) = use_of(&inside, u32::from(node.mode))
            {
                candidates.push((what, inside.clone(), node));
            }
            let name = inside.file_name();
            if name == Some(OsStr::new("conda-meta")) || name == Some(OsStr::new("pyvenv.cfg")) {
                environments.extend(inside.parent().map(Path::to_owned));
            }
        }
        for (what, path, node) in candidates {
            if environments_only && !environments.iter().any(|dir| path.starts_with(dir)) {
                continue;
            }
            if what != Use::Elf {
                if node.size <= TEXT_LEN_MAX {
                    let bytes = reader.read(&node, TEXT_LEN_MAX)?;
                    found.add_text(what, &path, &bytes);
                }
            } else if let Some(elf) = elf_of(reader, &node)? {
                found.elves.insert(path, elf);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reads only the packages of an image and none of its programs.
    ///
    /// # Errors
    /// Returns an error if the image is damaged.
    pub fn from_packages(reader: &Reader) -> Result<Self, Error> {
        let mut found = Self::default();
        for entry in reader.walk()? {
            let (path, node) = entry?;
            let what = use_of(&path, u32::from(node.mode));
            if node.is_directory() {
                found.add_package(&path);
            } else if node.is_file() && what == Some(Use::Conda) && node.size <= TEXT_LEN_MAX {
                found.add_text(Use::Conda, &path, &reader.read(&node, TEXT_LEN_MAX)?);
            }
        }
        found.sort();
        Ok(found)
    }

    fn add_package(&mut self, metadata_dir: &Path) {
        let Some(package) = package_of(metadata_dir) else {
            return;
        };
        if let Some(site) = site_of(metadata_dir) {
            let packages = self.sites.entry(site.to_owned()).or_default();
            packages.push(package.clone());
        }
        self.pip.push(package);
    }

    fn add_text(&mut self, what: Use, path: &Path, bytes: &[u8]) {
        self.add(path.to_owned(), Contents::parse(what, path, bytes));
    }

    fn add(&mut self, path: PathBuf, contents: Contents) {
        match contents {
            Contents::Elf(elf) => drop(self.elves.insert(path, elf)),
            Contents::Conda(package) => self.conda.push(package),
            Contents::Venv(venv) => self.venvs.push(venv),
            Contents::Other => {}
        }
    }

    fn sort(&mut self) {
        self.conda.sort_by(|one, other| one.name.cmp(&other.name));
        self.pip.sort_by(|one, other| one.name.cmp(&other.name));
        self.venvs.sort_by(|one, other| one.dir.cmp(&other.dir));
    }

    /// Returns the number of ELF files.
    pub fn elf_count(&self) -> usize {
        self.elves.len()
    }

    /// Resolves the links in a path as far as the inventory holds them.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        let mut path = tidy(path);
        for _ in 0..LINKS_MAX {
            let link = path
                .ancestors()
                .find_map(|part| Some((part, self.links.get(part)?)));
            let Some((link, target)) = link else { break };
            let rest = path.strip_prefix(link).unwrap_or(Path::new(""));
            let parent = link.parent().unwrap_or(Path::new("/"));
            path = tidy(&parent.join(target).join(rest));
        }
        path
    }

    /// Returns the path relative to the root, to show to the user.
    pub(crate) fn display_path(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        below.display().to_string()
    }
}

/// Returns the use of a file. A file that is executable or named like a library may be an ELF file;
/// other files that matter are recognised by name.
pub(crate) fn use_of(path: &Path, mode: u32) -> Option<Use> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().and_then(Path::file_name);
    if name == "pyvenv.cfg" {
        Some(Use::Venv)
    } else if parent == Some(OsStr::new("conda-meta")) && name.strip_suffix(".json").is_some() {
        Some(Use::Conda)
    } else if mode & 0o111 != 0 || name.contains(".so") {
        Some(Use::Elf)
    } else {
        None
    }
}

fn package_of(dir: &Path) -> Option<PipPackage> {
    PipPackage::from_metadata_dir(dir.file_name()?.to_str()?)
}

/// Reads an ELF file. Most executable files are scripts, which the first bytes show. A file that is
/// too large to be read is returned as [`Elf::default`].
pub(crate) fn elf_of(
    reader: &Reader,
    node: &condense_image::reader::Node,
) -> Result<Option<Elf>, Error> {
    if node.size < 64 {
        return Ok(None);
    }
    let mut contents = reader.contents(node)?;
    let mut bytes = Vec::new();
    while let Some(block) = contents.next_block()? {
        if bytes.is_empty() {
            if !block.starts_with(b"\x7fELF") {
                return Ok(None);
            }
            if node.size > FILE_LEN_MAX {
                return Ok(Some(Elf::default()));
            }
        }
        bytes.extend_from_slice(block);
    }
    Ok(Elf::parse(&bytes))
}

/// Removes `.` and `..` from an absolute path.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                tidy.pop();
            }
            Component::Normal(name) => tidy.push(name),
            _ => {}
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::packed;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "conda-meta",
            "bin",
            "lib/python3.12/site-packages/torch-2.5.1+cu121.dist-info",
            "venv",
        ] {
            fs_err::create_dir_all(at(name)).unwrap();
        }
        fs_err::write(
            at("conda-meta/mpich-4.2-h1.json"),
            r#"{"name":"mpich","version":"4.2","build":"h1","channel":"https://repo.anaconda.com/pkgs/main"}"#,
        )
        .unwrap();
        fs_err::write(at("venv/pyvenv.cfg"), "home = /usr/bin\n").unwrap();
        fs_err::copy("/proc/self/exe", at("bin/program")).unwrap();
        fs_err::write(at("bin/script"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("lib", at("lib64")).unwrap();
        std::os::unix::fs::symlink("../bin/program", at("lib/libp.so")).unwrap();
        dir
    }

    #[test]
    fn a_directory_and_its_image_have_the_same_inventory() {
        let dir = tree();
        let at = Path::new("/mnt/env");
        fs_err::create_dir(dir.path().join("excluded")).unwrap();
        fs_err::copy("/proc/self/exe", dir.path().join("excluded/p")).unwrap();
        let on_disk = Inventory::from_dir(dir.path(), at, Some("excluded")).unwrap();
        assert_eq!(
            on_disk.elves.keys().collect::<Vec<_>>(),
            [Path::new("/mnt/env/bin/program")]
        );
        assert!(on_disk.elves.values().next().unwrap().is_program);
        assert_eq!(on_disk.conda[0].name, "mpich");
        assert_eq!(on_disk.pip[0].version, "2.5.1+cu121");
        assert_eq!(on_disk.venvs[0].dir, at.join("venv"));
        assert_eq!(
            on_disk.resolve("/mnt/env/lib64/x/../libp.so".as_ref()),
            at.join("bin/program")
        );
        fs_err::remove_dir_all(dir.path().join("excluded")).unwrap();
        let tree = Tree::scan(dir.path(), &condense_image::ScanOptions::default()).unwrap();
        let scanned = Inventory::from_tree(&tree, at).unwrap();
        assert_eq!(format!("{scanned:?}"), format!("{on_disk:?}"));
        let (_out, reader) = packed(dir.path());
        let packages = Inventory::from_packages(&reader).unwrap();
        assert_eq!(
            (packages.conda, packages.pip, packages.elves.len()),
            (on_disk.conda.clone(), on_disk.pip.clone(), 0)
        );
        for only in [false, true] {
            let packed = Inventory::from_image(&reader, at, only).unwrap();
            assert_eq!(packed.elves, on_disk.elves);
            assert_eq!(packed.links, on_disk.links);
            assert_eq!(
                (packed.conda, packed.pip),
                (on_disk.conda.clone(), on_disk.pip.clone())
            );
        }
    }

    #[test]
    fn only_the_environments_of_a_base_are_scanned() {
        let dir = tree();
        fs_err::rename(dir.path().join("conda-meta"), dir.path().join("other")).unwrap();
        let (_out, reader) = packed(dir.path());
        let all = Inventory::from_image(&reader, "/".as_ref(), false).unwrap();
        assert_eq!((all.elf_count(), all.venvs.len()), (1, 1));
        let only = Inventory::from_image(&reader, "/".as_ref(), true).unwrap();
        assert_eq!((only.elf_count(), only.venvs.len()), (0, 1));
    }
}
