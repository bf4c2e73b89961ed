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

use super::{
    Myself, Standing,
    blocks::{dir_of_user, find_part, is_own},
};

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
    /// Compressed blocks and unpacked packages of earlier builds.
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
    /// Files and directories that stay because condense has not written them.
    pub left: Vec<PathBuf>,
    /// Reason for which nothing is removed, if there is one.
    pub problem: Option<String>,
}

/// File in a cache.
struct Found {
    /// Path below the directory of the part.
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

    /// Returns the size of each part. The note of a part says why it is not used or cannot be read.
    pub fn info(&self) -> Vec<CacheUse> {
        let mut uses = Vec::new();
        for part in CachePart::ALL {
            for (number, (dir, name)) in self.of(part).into_iter().enumerate() {
                let below = dir.join(&name);
                // Other directories than the usual one are shown only if they are used.
                if number > 0 && below.symlink_metadata().is_err() {
                    continue;
                }
                let note = match dir.is_dir().then(|| Myself::look().standing(dir)) {
                    Some(Ok(Standing::Shared)) if name == dir_of_user() => None,
                    Some(Ok(Standing::Shared)) => Some("shared with a group".to_owned()),
                    Some(Ok(Standing::Foreign(why))) => Some(format!("not used: {why}")),
                    Some(Err(error)) => Some(format!("not used: {error}")),
                    None | Some(Ok(Standing::Own)) => None,
                };
                let (files, note) = match list(part, &below) {
                    Ok(listed) => (listed.map_or_else(Vec::new, |it| it.files), note),
                    Err(why) => (Vec::new(), note.or(Some(format!("not used: {why}")))),
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
        uses
    }

    /// Removes files. Files that another process has locked stay. In a cache that a group shares,
    /// the files of other users stay as well. The user's link to a directory of blocks is followed,
    /// since condense knows its files by their names. No other link leads out of the cache.
    ///
    /// # Errors
    /// Returns an error if another user can change the cache, or if a file cannot be removed. Files
    /// that were removed before the error stay removed.
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
    let dir = dir.join(name);
    let mut cleaned = CacheCleaned {
        part,
        dir: dir.clone(),
        files: 0,
        bytes: 0,
        in_use: 0,
        foreign: 0,
        left: Vec::new(),
        problem: None,
    };
    if part != CachePart::Blocks && dir.is_symlink() {
        let why = "it is a link, and what it leads to may be somebody's files";
        cleaned.problem = Some(format!("`{}` is not cleaned: {why}", dir.display()));
        return Ok(cleaned);
    }
    let Listed {
        within,
        files,
        left,
    } = match list(part, &dir) {
        Ok(Some(listed)) => listed,
        Ok(None) => return Ok(cleaned),
        Err(why) => {
            cleaned.problem = Some(format!("{why}: nothing is removed"));
            return Ok(cleaned);
        }
    };
    cleaned.left = left;
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

/// Files of a part, and its open directory.
struct Listed {
    within: Within,
    files: Vec<Found>,
    /// Paths of what condense has not written.
    left: Vec<PathBuf>,
}

/// Lists the files and links of a part of the cache. Returns `None` if it has no directory.
///
/// # Errors
/// Returns the reason for which the directory is not used or cannot be read.
fn list(part: CachePart, dir: &Path) -> Result<Option<Listed>, String> {
    let Some(dir) = find_part(dir)? else {
        return Ok(None);
    };
    let within = Within::open(dir).map_err(|error| error.to_string())?;
    let mut listed = Listed {
        within,
        files: Vec::new(),
        left: Vec::new(),
    };
    let read = |error: &dyn std::error::Error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let mut ahead = vec![PathBuf::new()];
    while let Some(dir) = ahead.pop() {
        let entries = listed.within.entries(&dir).map_err(|error| read(&error))?;
        for (name, kind) in entries {
            let path = dir.join(&name);
            if part == CachePart::Blocks && !(kind == FileType::RegularFile && is_own(&name)) {
                listed.left.push(listed.within.path(path));
                continue;
            }
            if kind == FileType::Directory {
                let is_staging = name.as_bytes().starts_with(STAGING.as_bytes());
                if !is_staging && path.components().count() + 1 < DEPTH_MOST {
                    ahead.push(path);
                }
                continue;
            }
            let Some(stat) = listed.within.stat_of_link(&path) else {
                continue;
            };
            let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
            listed.files.push(Found {
                path,
                bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * SECTOR_BYTES,
                used: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                owner: stat.st_uid,
            });
        }
    }
    Ok(Some(listed))
}

#[cfg(test)]
mod tests;
