//! Responsible for showing what a cache holds and for removing files from it.

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_within::{Access, Within};
use rustix::{fs::FileType, io::Errno, process::geteuid};

use super::{Myself, Standing, blocks::dir_of_user};

/// Unit of `st_blocks` in bytes.
const SECTOR_BYTES: u64 = 512;
/// Maximum depth of directories in a cache. The cache's own directories have at most three levels.
const DEPTH_MOST: usize = 32;
/// Beginning of the names of directories that a running build may be using. The next build removes
/// those that are left over.
const STAGING: &str = ".condense-";

/// Part of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CachePart {
    /// Archives of conda packages.
    Packages,
    /// Layers and finished images of registries.
    Images,
    /// Indices of conda channels.
    Index,
    /// Compressed blocks of earlier builds.
    Blocks,
}

impl CachePart {
    /// All parts of the cache.
    pub const ALL: [Self; 4] = [Self::Packages, Self::Images, Self::Index, Self::Blocks];

    /// Returns the name of the part, which is also its option.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Images => "images",
            Self::Index => "index",
            Self::Blocks => "blocks",
        }
    }

    /// Returns the names of the directories of the part, the usual one first.
    fn dirs(self) -> Vec<String> {
        let name = match self {
            Self::Packages => super::CHECKED,
            Self::Images => super::UNCHECKED[1],
            Self::Index => super::UNCHECKED[0],
            Self::Blocks => return vec![super::blocks::DIR.to_owned(), dir_of_user()],
        };
        vec![name.to_owned()]
    }
}

/// Directories that builds use as caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheDirs {
    /// Cache of packages and indices.
    pub packages: PathBuf,
    /// Parent of the cache of images.
    pub images: PathBuf,
    /// The user's own cache, which builds use if another one is shared with other users.
    pub own: PathBuf,
    /// Maximum size of the cache of images in bytes.
    pub images_max: u64,
}

/// Part of a cache directory, and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUse {
    /// Part of the cache.
    pub part: CachePart,
    /// Directory of the part. It need not exist.
    pub dir: PathBuf,
    /// Number of files in the part.
    pub files: u64,
    /// Size on the disk in bytes.
    pub bytes: u64,
    /// Time of the last use of the file that was used longest ago. The file system's time of the
    /// last change stands for it.
    pub oldest: Option<SystemTime>,
    /// Reason for which builds do not use the directory or share it with others; `None` if the
    /// cache belongs to this user alone.
    pub note: Option<String>,
}

/// Files that are to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheCleaning {
    /// Parts from which files are removed.
    pub parts: Vec<CachePart>,
    /// Minimum time since the last use of a file.
    pub older_than: Option<Duration>,
    /// Whether files are only counted.
    pub dry_run: bool,
}

/// Number and size of files that were removed from a part, or that a dry run would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheCleaned {
    /// Part of the cache.
    pub part: CachePart,
    /// Directory of the part.
    pub dir: PathBuf,
    /// Number of files in the part.
    pub files: u64,
    /// Size on the disk in bytes.
    pub bytes: u64,
    /// Number of files that stay because another process uses them.
    pub in_use: u64,
    /// Number of files that stay because they belong to other users.
    pub foreign: u64,
}

/// File in a cache.
struct Found {
    /// Path below the cache.
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
    owner: u32,
}

impl CacheDirs {
    /// Returns the caches with a part, and the names of its directories in them: the one that is
    /// set, and the user's own.
    fn of(&self, part: CachePart) -> Vec<(&Path, String)> {
        let set = match part {
            CachePart::Images => &self.images,
            CachePart::Packages | CachePart::Index | CachePart::Blocks => &self.packages,
        };
        let mut dirs = vec![set.as_path()];
        if *set != self.own {
            dirs.push(&self.own);
        }
        let names = part.dirs();
        let in_each = |dir| names.iter().map(move |name| (dir, name.clone()));
        dirs.into_iter().flat_map(in_each).collect()
    }

    /// Returns the size of each part.
    ///
    /// # Errors
    /// Returns an error if a directory cannot be read, or if a link leads out of the cache.
    pub fn info(&self) -> anyhow::Result<Vec<CacheUse>> {
        let mut uses = Vec::new();
        for part in CachePart::ALL {
            for (number, (dir, name)) in self.of(part).into_iter().enumerate() {
                let below = dir.join(&name);
                // Other directories than the usual one are shown only if they are used.
                if number > 0 && !below.exists() {
                    continue;
                }
                let files = if dir.is_dir() {
                    files(&Within::open(dir)?, &name)?
                } else {
                    Vec::new()
                };
                let note = match dir.is_dir().then(|| Myself::look().standing(dir)) {
                    Some(Ok(Standing::Shared)) if name == dir_of_user() => None,
                    Some(Ok(Standing::Shared)) => Some("shared with a group".to_owned()),
                    Some(Ok(Standing::Foreign(why))) => Some(format!("not used: {why}")),
                    Some(Err(error)) => Some(format!("not used: {error}")),
                    None | Some(Ok(Standing::Own)) => None,
                };
                uses.push(CacheUse {
                    part,
                    dir: below,
                    files: files.len() as u64,
                    bytes: files.iter().map(|file| file.bytes).sum(),
                    oldest: files.iter().map(|file| file.used).min(),
                    note,
                });
            }
        }
        Ok(uses)
    }

    /// Removes files. Files that another process has locked stay. In a cache that a group shares,
    /// the files of other users stay as well. No link is followed out of the cache.
    ///
    /// # Errors
    /// Returns an error if another user can change the cache, if a link leads out of it, or if a
    /// file cannot be removed. Files that were removed before the error stay removed.
    pub fn clean(&self, cleaning: &CacheCleaning) -> anyhow::Result<Vec<CacheCleaned>> {
        let mut cleaned = Vec::new();
        for part in &cleaning.parts {
            for (dir, name) in self.of(*part) {
                if dir.join(&name).symlink_metadata().is_err() {
                    continue;
                }
                let only_own = match Myself::look().standing(dir)? {
                    Standing::Own => false,
                    Standing::Shared => true,
                    Standing::Foreign(why) => bail!(UserError::new(
                        format!("`{}` is not cleaned, since {why}", dir.display()),
                        "remove it by hand if you know that it is yours, or name another one with CONDENSE_CACHE_DIR",
                    )),
                };
                cleaned.push(clean(dir, (*part, &name), cleaning, only_own)?);
            }
        }
        Ok(cleaned)
    }
}

fn clean(
    dir: &Path,
    (part, name): (CachePart, &str),
    cleaning: &CacheCleaning,
    only_own: bool,
) -> anyhow::Result<CacheCleaned> {
    let within = Within::open(dir)?;
    let files = files(&within, name)?;
    let mut cleaned = CacheCleaned {
        part,
        dir: dir.join(name),
        files: 0,
        bytes: 0,
        in_use: 0,
        foreign: 0,
    };
    let now = SystemTime::now();
    // A lock may be a file of its own beside the file that it protects.
    let locked: BTreeSet<PathBuf> = files
        .iter()
        .filter(|file| matches!(lock(&within, &file.path), Locked::ByAnother))
        .map(|file| stem(&file.path))
        .collect();
    for file in files {
        let age = now.duration_since(file.used).unwrap_or_default();
        if cleaning.older_than.is_some_and(|least| age < least) {
            continue;
        }
        if only_own && file.owner != geteuid().as_raw() {
            cleaned.foreign += 1;
            continue;
        }
        // The lock is held until the file is removed, so that no process begins to use it.
        let lock = lock(&within, &file.path);
        if locked.contains(&stem(&file.path)) || matches!(lock, Locked::ByAnother) {
            cleaned.in_use += 1;
            continue;
        }
        if !cleaning.dry_run {
            within.remove(&file.path)?;
        }
        cleaned.files += 1;
        cleaned.bytes += file.bytes;
    }
    Ok(cleaned)
}

/// Result of locking a file.
enum Locked {
    /// Another process holds a lock of the file.
    ByAnother,
    /// This process holds the lock, or the file has none: it is a link, or its file system has no
    /// locks.
    Held(#[allow(dead_code, reason = "the lock ends when the file is closed")] Option<File>),
}

fn lock(within: &Within, path: &Path) -> Locked {
    let is_file = within
        .stat_of_link(path)
        .is_some_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile);
    if !is_file {
        return Locked::Held(None);
    }
    // Locks of NFS need a file that is open for writing.
    let opened = match within.open_file(path, Access::Change) {
        Ok(Some(file)) => Some(file),
        _ => within.open_file(path, Access::Read).ok().flatten(),
    };
    match opened.map(|file| (file.try_lock(), file)) {
        Some((Err(error), _)) if !has_no_locks(&error) => Locked::ByAnother,
        Some((_, file)) => Locked::Held(Some(file)),
        None => Locked::Held(None),
    }
}

/// Returns whether the file system has no locks at all. After any other error, a lock that another
/// process holds cannot be ruled out.
fn has_no_locks(error: &TryLockError) -> bool {
    match error {
        TryLockError::WouldBlock => false,
        TryLockError::Error(error) => {
            error.kind() == ErrorKind::Unsupported
                || error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error())
        }
    }
}

/// Returns the path up to the first dot of its name, which a file and its lock have in common.
fn stem(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let end = name.iter().skip(1).position(|byte| *byte == b'.');
    let name = &name[..end.map_or(name.len(), |end| end + 1)];
    path.with_file_name(std::ffi::OsStr::from_bytes(name))
}

/// Lists the files and links of a directory of the cache.
fn files(within: &Within, name: &str) -> anyhow::Result<Vec<Found>> {
    let root = PathBuf::from(name);
    let mut found = Vec::new();
    if within.stat_of_link(&root).is_none() {
        return Ok(found);
    }
    // A link to a directory outside of the cache is refused here.
    within.dir(&root)?;
    let mut ahead = vec![root];
    while let Some(dir) = ahead.pop() {
        for (name, kind) in within.entries(&dir)? {
            let path = dir.join(&name);
            if kind == FileType::Directory {
                let is_staging = name.as_bytes().starts_with(STAGING.as_bytes());
                if !is_staging && path.components().count() < DEPTH_MOST {
                    ahead.push(path);
                }
                continue;
            }
            let Some(stat) = within.stat_of_link(&path) else {
                continue;
            };
            let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
            found.push(Found {
                path,
                bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * SECTOR_BYTES,
                used: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                owner: stat.st_uid,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    struct TestDir {
        dir: tempfile::TempDir,
        dirs: CacheDirs,
    }

    impl TestDir {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let cache = dir.path().join("cache");
            let dirs = CacheDirs {
                packages: cache.clone(),
                images: cache.clone(),
                own: cache,
                images_max: 1 << 30,
            };
            Self { dir, dirs }
        }

        fn write(&self, name: &str, days: u64) -> PathBuf {
            let path = self.dir.path().join("cache").join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, [1; 5000]).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            let age = Duration::from_secs(days * 86_400);
            file.set_modified(SystemTime::now() - age).unwrap();
            path
        }

        fn clean(&self, days: Option<u64>, dry_run: bool) -> Vec<CacheCleaned> {
            let cleaning = CacheCleaning {
                parts: CachePart::ALL.to_vec(),
                older_than: days.map(|days| Duration::from_secs(days * 86_400)),
                dry_run,
            };
            self.dirs.clean(&cleaning).unwrap()
        }
    }

    #[test]
    fn old_files_of_the_parts_are_removed() {
        let test_dir = TestDir::new();
        let old = test_dir.write("archives/old.conda", 40);
        let new = test_dir.write("archives/new.conda", 1);
        let image = test_dir.write("oci/sif/x.sif", 40);
        let blocks = test_dir.write("blocks/x.blocks", 40);
        let other = test_dir.write("notes", 40);
        let uses = test_dir.dirs.info().unwrap();
        let shown: Vec<(&str, u64)> = uses
            .iter()
            .map(|one| (one.part.as_str(), one.files))
            .collect();
        assert_eq!(
            shown,
            [("packages", 2), ("images", 1), ("index", 0), ("blocks", 1)]
        );
        assert!(uses[0].bytes >= 10_000, "{uses:?}");
        let cleaned = test_dir.clean(Some(30), true);
        assert_eq!((cleaned[0].files, cleaned[1].files), (1, 1));
        assert_eq!(cleaned.last().unwrap().files, 1);
        assert!(old.exists());
        test_dir.clean(Some(30), false);
        assert!(!old.exists() && !image.exists() && !blocks.exists());
        assert!(new.exists() && other.exists());
        test_dir.clean(None, false);
        assert!(!new.exists() && other.exists());
    }

    #[test]
    fn files_in_use_stay_with_those_that_their_locks_protect() {
        let test_dir = TestDir::new();
        let part = test_dir.write("oci/partial/sha256-ab", 1);
        let index = test_dir.write("index/ab.json", 1);
        let lock_file = test_dir.write("index/ab.lock", 1);
        let free = test_dir.write("index/cd.json", 1);
        let held = [&part, &lock_file].map(|path| {
            let file = File::open(path).unwrap();
            file.try_lock().unwrap();
            file
        });
        let staging = test_dir.write("oci/sif/.condense-abcdef/half", 1);
        let cleaned = test_dir.clean(None, false);
        assert_eq!((cleaned[0].in_use, cleaned[1].in_use), (1, 2));
        assert!(part.exists() && index.exists() && staging.exists() && !free.exists());
        drop(held);
    }

    #[test]
    fn errors_of_locks_count_as_use_unless_there_are_no_locks() {
        let of = |errno: Errno| TryLockError::Error(errno.into());
        for (error, expected) in [
            (TryLockError::WouldBlock, false),
            (of(Errno::NOLCK), false),
            (of(Errno::BADF), false),
            (of(Errno::NOTSUP), true),
            (of(Errno::NOSYS), true),
        ] {
            assert_eq!(has_no_locks(&error), expected, "{error}");
        }
    }

    #[test]
    fn no_link_leads_out_of_the_cache() {
        let test_dir = TestDir::new();
        let mine = test_dir.dir.path().join("thesis");
        fs_err::create_dir(&mine).unwrap();
        fs_err::write(mine.join("thesis.tex"), "years").unwrap();
        test_dir.write("archives/a.conda", 1);
        symlink(&mine, test_dir.dir.path().join("cache/archives/link")).unwrap();
        test_dir.clean(None, false);
        assert!(!test_dir.dir.path().join("cache/archives/link").exists());
        symlink(&mine, test_dir.dir.path().join("cache/index")).unwrap();
        let cleaning = CacheCleaning {
            parts: vec![CachePart::Index],
            older_than: None,
            dry_run: false,
        };
        assert!(test_dir.dirs.clean(&cleaning).is_err());
        assert!(mine.join("thesis.tex").exists());
    }

    #[test]
    fn a_cache_that_everybody_can_change_is_not_cleaned() {
        use std::os::unix::fs::PermissionsExt;
        let test_dir = TestDir::new();
        let file = test_dir.write("archives/a.conda", 1);
        let cache = test_dir.dir.path().join("cache");
        fs_err::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
        let cleaning = CacheCleaning {
            parts: CachePart::ALL.to_vec(),
            older_than: None,
            dry_run: false,
        };
        let error = test_dir.dirs.clean(&cleaning).unwrap_err();
        assert!(error.to_string().contains("everybody can write"), "{error}");
        assert!(file.exists());
        let note = test_dir.dirs.info().unwrap()[0].note.clone();
        assert!(note.unwrap().contains("not used"));
    }
}
