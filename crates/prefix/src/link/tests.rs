//! Tests with malformed and hostile packages. Each is refused by name or installed as conda would
//! install it, and no file outside of its environment is touched. All files that the packages aim
//! at are in the test's own directory.
#![allow(clippy::unwrap_used)]

mod archive;
mod installed;

mod refused;
mod together;

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rattler_conda_types::{PackageRecord, RepoDataRecord, Subdir, package::DistArchiveIdentifier};

use super::*;
use crate::package::KeptPackages;
use crate::{
    held::{Held, HeldContents},
    progress::{Phase, Warning},
};
use archive::Archive;
use sha2::Digest as _;

/// Entry at a path of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FileOrLink {
    Directory,
    Link(PathBuf),
    File {
        bytes: Vec<u8>,
        is_executable: bool,
        /// Number that the names of one file (hard links) share.
        number: u64,
    },
}

/// Files that are held back, with their paths in the environment.
type HeldFiles = Vec<(PathBuf, FileOrLink)>;

#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Progress for Listener {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn output(&self, _: &str) {}
    fn end(&self, _: Phase, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn warn(&self, warning: Warning) {
        self.0.lock().unwrap().push(warning.to_string());
    }
}

/// Unpacked packages that are kept in memory.
#[derive(Default)]
struct Shelf {
    files: Mutex<BTreeMap<[u8; 32], fs_err::File>>,
    /// Number of packages that were found.
    opened: Mutex<usize>,
}

impl Shelf {
    fn keep(&self, package: &NewPackage) {
        let file = tempfile::tempfile().unwrap();
        package.write(&file, &|| false).unwrap();
        assert_eq!(file.metadata().unwrap().len(), package.bytes());
        let file = fs_err::File::from_parts(file, "package");
        self.files.lock().unwrap().insert(*package.sha256(), file);
    }

    fn count(&self) -> usize {
        self.files.lock().unwrap().len()
    }
}

impl KeptPackages for Shelf {
    fn open(&self, sha256: &[u8; 32]) -> Option<fs_err::File> {
        let files = self.files.lock().unwrap();
        let found = files.get(sha256)?.file().try_clone().unwrap();
        *self.opened.lock().unwrap() += 1;
        Some(fs_err::File::from_parts(found, "package"))
    }

    fn remove(&self, sha256: &[u8; 32]) {
        self.files.lock().unwrap().remove(sha256);
    }
}

/// Directory with files that packages aim at, and an environment to install into.
struct Range {
    dir: tempfile::TempDir,
}

impl Range {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("outside/deep")).unwrap();
        fs_err::create_dir_all(dir.path().join("scratch/packages")).unwrap();
        fs_err::create_dir_all(dir.path().join("scratch/root/env")).unwrap();
        fs_err::write(dir.path().join("victim"), "precious").unwrap();
        fs_err::write(dir.path().join("outside/secret"), "secret").unwrap();
        Self { dir }
    }

    /// Returns the absolute path of a target.
    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Returns a relative path to the target that works from any directory.
    fn up(&self, name: &str) -> String {
        format!("{}{}", "../".repeat(12), &self.at(name)[1..])
    }

    fn env(&self, path: &str) -> PathBuf {
        self.dir.path().join("scratch/root/env").join(path)
    }

    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.env(path)).unwrap()
    }

    /// Links all packages. Returns the warnings, or the text of the error.
    ///
    /// The packages are linked in three ways: with files held back in a spool, the same with the
    /// packages that this has kept instead of their archives, and as files. All results must be the
    /// same.
    fn link(&self, archives: &[Archive]) -> Result<Vec<String>, String> {
        let before = self.snapshot(&[]);
        let cache = Shelf::default();
        let (held, spooled) = self.link_with_spool(archives, &cache);
        let with_spool = self.snapshot(&held);
        if spooled.is_ok() {
            // Each way starts with the same environment.
            self.restore(&before);
            let count = cache.count();
            assert_eq!(count, archives.len());
            let (held, kept) = self.link_with_spool(archives, &cache);
            assert_eq!(kept, spooled, "with kept packages and without");
            assert_eq!(self.snapshot(&held), with_spool, "with kept packages");
            assert_eq!(*cache.opened.lock().unwrap(), count, "all are found");
            self.restore(&before);
        }
        let linked = self.link_with(archives, None);
        let linked = linked.map(|(_, warnings)| warnings);
        assert_eq!(spooled, linked, "with a spool and without");
        if linked.is_ok() {
            assert_eq!(with_spool, self.snapshot(&[]), "with a spool and without");
        }
        linked
    }

    fn link_with_spool(
        &self,
        archives: &[Archive],
        cache: &Shelf,
    ) -> (HeldFiles, Result<Vec<String>, String>) {
        let dir = self.dir.path().join("scratch");
        let spool = Arc::new(Spool::create(&dir).unwrap());
        fs_err::remove_file(dir.join("spool")).unwrap();
        match self.link_with(archives, Some((&spool, cache))) {
            Err(error) => (Vec::new(), Err(error)),
            Ok((mut linked, warnings)) => {
                let mut held = Held::of(Arc::clone(&spool), &mut linked);
                let new = held.take_new_packages();
                if *cache.opened.lock().unwrap() > 0 {
                    assert!(new.is_empty(), "what was kept is not unpacked again");
                }
                for package in &new {
                    cache.keep(package);
                }
                let found = held.entries().map(|(path, contents)| {
                    let what = match contents {
                        HeldContents::Link(target) => FileOrLink::Link(target.to_owned()),
                        HeldContents::File {
                            is_executable,
                            number,
                            ..
                        } => FileOrLink::File {
                            bytes: held.read(held.part(path).unwrap()).unwrap(),
                            is_executable,
                            number: number as u64,
                        },
                    };
                    (path.to_owned(), what)
                });
                (found.collect(), Ok(warnings))
            }
        }
    }

    fn link_with(
        &self,
        archives: &[Archive],
        spool: Option<(&Arc<Spool>, &Shelf)>,
    ) -> Result<(Vec<Linked>, Vec<String>), String> {
        let place = Place {
            root: self.dir.path().join("scratch/root"),
            mount_point: "/MOUNT_abc1234".into(),
            environment: "env".into(),
            packages: self.dir.path().join("scratch/packages"),
        };
        // The unpacked packages of an earlier call are removed.
        let _ = fs_err::remove_dir_all(&place.packages);
        fs_err::create_dir(&place.packages).unwrap();
        let mut records = Vec::new();
        let mut paths = Vec::new();
        for archive in archives {
            let path = archive.write(self.dir.path());
            let mut record = record(archive, &path);
            if spool.is_some() {
                // Only archives whose digest is known beforehand are found.
                let bytes = fs_err::read(&path).unwrap();
                record.package_record.sha256 = Some(sha2::Sha256::digest(bytes));
            }
            records.push(record);
            paths.push(path);
        }
        let solution = Solution {
            records,
            channels: Vec::new(),
            specs: Vec::new(),
            subdir: Subdir::Linux64,
            virtual_packages: Vec::new(),
            locked_pip: None,
        };
        let listener = Listener::default();
        let linked = open_prefix(&place.scratch_env()).and_then(|target| {
            let (_, options) = link_options(&solution, &place)?;
            let archives = Archives { paths };
            let kept = match spool {
                Some((_, cache)) => Kept::open(&solution, Some(cache), &listener)?,
                None => Kept::none(),
            };
            let job = LinkJob {
                solution: &solution,
                archives: &archives,
                place: &place,
                target: &target,
                options: &options,
                installed: &[],
                spool: spool.map(|(spool, _)| spool),
                kept: &kept,
            };
            link_all(&job, &listener)
        });
        // Every message with text from a package has one line for each error.
        linked
            .map(|linked| (linked, listener.0.into_inner().unwrap()))
            .map_err(|error| {
                let mut words = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    words += &format!(": {error}");
                    source = error.source();
                }
                words
            })
    }

    /// Returns the files and links of the environment, together with those that are held back.
    fn snapshot(&self, held: &[(PathBuf, FileOrLink)]) -> BTreeMap<PathBuf, FileOrLink> {
        let mut found: BTreeMap<PathBuf, FileOrLink> = BTreeMap::new();
        let root = self.env("");
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs_err::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs_err::symlink_metadata(&path).unwrap();
                let inside = path.strip_prefix(&root).unwrap().to_owned();
                if metadata.is_dir() {
                    found.insert(inside, FileOrLink::Directory);
                    dirs.push(path);
                } else if metadata.is_symlink() {
                    found.insert(inside, FileOrLink::Link(fs_err::read_link(path).unwrap()));
                } else {
                    let is_executable = metadata.permissions().mode() & 0o111 != 0;
                    let bytes = fs_err::read(path).unwrap();
                    let file = FileOrLink::File {
                        bytes,
                        is_executable,
                        number: metadata.ino(),
                    };
                    found.insert(inside, file);
                }
            }
        }
        for (path, what) in held {
            for above in path
                .ancestors()
                .skip(1)
                .filter(|above| !above.as_os_str().is_empty())
            {
                found.insert(above.to_owned(), FileOrLink::Directory);
            }
            let other = found.insert(path.clone(), what.clone());
            assert!(other.is_none(), "{} is there twice", path.display());
        }
        // Inodes have other numbers than files that are held back.
        let mut numbers = HashMap::new();
        for what in found.values_mut() {
            if let FileOrLink::File { number, .. } = what {
                let next = numbers.len() as u64;
                *number = *numbers.entry(*number).or_insert(next);
            }
        }
        found
    }

    /// Makes the environment what it was.
    fn restore(&self, before: &BTreeMap<PathBuf, FileOrLink>) {
        fs_err::remove_dir_all(self.env("")).unwrap();
        fs_err::create_dir(self.env("")).unwrap();
        for (path, what) in before {
            let full = self.env("").join(path);
            match what {
                FileOrLink::Directory => fs_err::create_dir(full).unwrap(),
                FileOrLink::Link(target) => symlink(target, full).unwrap(),
                FileOrLink::File {
                    bytes,
                    is_executable,
                    ..
                } => {
                    fs_err::write(&full, bytes).unwrap();
                    let mode = if *is_executable { 0o755 } else { 0o644 };
                    let mode = std::fs::Permissions::from_mode(mode);
                    fs_err::set_permissions(full, mode).unwrap();
                }
            }
        }
    }

    /// Asserts that nothing was added, removed or changed outside of scratch.
    #[track_caller]
    fn is_untouched(&self, case: &str) {
        let names = |path: &Path| {
            let mut names: Vec<_> = fs_err::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| {
                    let extension = Path::new(name).extension();
                    extension.is_none_or(|found| found != "conda" && found != "bz2")
                })
                .collect();
            names.sort();
            names
        };
        let dir = self.dir.path();
        assert_eq!(names(dir), ["outside", "scratch", "victim"], "{case}");
        assert_eq!(names(&dir.join("outside")), ["deep", "secret"], "{case}");
        assert!(names(&dir.join("outside/deep")).is_empty(), "{case}");
        assert_eq!(names(&dir.join("scratch")), ["packages", "root"], "{case}");
        let root = names(&dir.join("scratch/root"));
        assert!(root == ["env"], "{case}: {root:?}");
        assert_eq!(self.text("../../../victim"), "precious", "{case}");
        assert_eq!(self.text("../../../outside/secret"), "secret", "{case}");
    }
}

fn record(archive: &Archive, path: &Path) -> RepoDataRecord {
    let file = path.file_name().unwrap().to_str().unwrap();
    let mut package = PackageRecord::new(
        archive.name.parse().unwrap(),
        archive
            .version
            .parse::<rattler_conda_types::VersionWithSource>()
            .unwrap(),
        "0".parse().unwrap(),
    );
    package.depends.clone_from(&archive.depends);
    package
        .python_site_packages_path
        .clone_from(&archive.site_packages);
    RepoDataRecord {
        package_record: package,
        identifier: DistArchiveIdentifier::try_from_filename(file).unwrap(),
        url: url::Url::from_file_path(path).unwrap(),
        channel: None,
    }
}
