//! Responsible for the files of a directory of blocks: writing them, merging small ones, removing
//! old ones, and what ended processes have left.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{File, Metadata, TryLockError},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime},
};

use condense_image::{BlockPack, Codec, PackFault, PackSource, PackedBlock, write_block_pack};
use rustix::fs::OFlags;

use super::{OpenPack, bases, code, packages, place::Trust, starts};
use crate::cache::OTHERS;

/// End of the names of files of blocks.
const SUFFIX: &str = ".blocks";
/// Beginning of the names of files that are not complete.
const INCOMPLETE: &str = ".new-";
/// Number of random letters and digits that follow.
const RANDOM: usize = 6;
/// Maximum number of files that are read in a directory.
const FILES_MAX: usize = 256;
/// Number of files of one format above which the smaller half is merged into one.
pub(super) const FILES_BEFORE_MERGE: usize = 24;
/// Minimum time since the last change of an incomplete file that is left over.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(60);
/// Time after which an incomplete file is left over even where files cannot be locked.
const LEFT_OVER_UNLOCKED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Number of attempts at making a file that no other process removes before it is locked.
const ATTEMPTS: usize = 8;

/// Removes a file of condense, unless another one has its name by now.
pub(super) fn remove_if_same(pack: &OpenPack) -> std::io::Result<()> {
    if has_own_name(&pack.path) && is_at(pack.pack.file(), &pack.path)? {
        std::fs::remove_file(&pack.path)?;
    }
    Ok(())
}

/// Returns whether the open file is the one with this path.
pub(super) fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let (opened, named) = (file.metadata()?, std::fs::symlink_metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

/// Makes an incomplete file and locks it, so that it does not count as left over. Another process
/// may remove the file before it is locked; then another file is made.
pub(super) fn make_locked(dir: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    for _ in 0..ATTEMPTS {
        let new = tempfile::Builder::new()
            .prefix(INCOMPLETE)
            .rand_bytes(RANDOM)
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(dir)?;
        // Without locks, the age of the file decides.
        let _ = new.as_file().try_lock();
        if is_at(new.as_file(), new.path()).unwrap_or(false) {
            return Ok(new);
        }
    }
    Err(std::io::Error::other("another process removes new files"))
}

/// Writes a file of blocks and gives it its name. Its modification time is the time of its last
/// use, which is now unless `used` says otherwise.
pub(super) fn write(
    dir: &Path,
    codec: Codec,
    format: [u8; 32],
    sources: &[PackSource<'_>],
    used: Option<SystemTime>,
    cancel: &AtomicBool,
) -> std::io::Result<PathBuf> {
    let new = make_locked(dir)?;
    let (count, hash) = write_block_pack(new.as_file(), codec, format, sources, cancel)?;
    if let Some(used) = used {
        new.as_file().set_modified(used)?;
    }
    // Two builds with the same new blocks write the same file, and one of them is enough.
    let name = |hash: u64| format!("{}-{count}-{hash:016x}{SUFFIX}", hex::encode(&format[..4]));
    let mut path = dir.join(name(hash));
    // Somebody else's directory of this name stays.
    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        path = dir.join(name(hash.wrapping_add(1)));
    }
    new.persist(&path).map_err(|error| error.error)?;
    Ok(path)
}

/// Removes incomplete files of processes that have ended.
pub(super) fn remove_left_over(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if !is_incomplete(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        // Locks of NFS need a file that is open for writing.
        let Ok(file) = options().write(true).open(&path) else {
            continue;
        };
        let age = age(&file);
        if age < LEFT_OVER_AFTER {
            continue;
        }
        let is_left_over = match file.try_lock() {
            Ok(()) => is_at(&file, &path).unwrap_or(false),
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => age > LEFT_OVER_UNLOCKED_AFTER,
        };
        if is_left_over {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn is_incomplete(name: &std::ffi::OsStr) -> bool {
    let rest = name.as_encoded_bytes().strip_prefix(INCOMPLETE.as_bytes());
    rest.is_some_and(|rest| rest.len() == RANDOM && rest.iter().all(u8::is_ascii_alphanumeric))
}

fn age(file: &File) -> Duration {
    let modified = file.metadata().and_then(|found| found.modified());
    modified
        .ok()
        .and_then(|time| SystemTime::now().duration_since(time).ok())
        .unwrap_or_default()
}

/// Opened file that condense has written, and the time of its last use.
struct Aged {
    path: PathBuf,
    used: SystemTime,
    pack: BlockPack,
    blocks: Vec<PackedBlock>,
}

fn opened(dir: &Path) -> Vec<Aged> {
    let trust = Trust::own();
    let mut found = Vec::new();
    for path in recent(dir).into_iter().filter(|path| has_own_name(path)) {
        let Ok((pack, blocks)) = open_pack(&path, &trust) else {
            continue;
        };
        let used = pack.file().metadata().and_then(|found| found.modified());
        found.push(Aged {
            path,
            used: used.unwrap_or(SystemTime::UNIX_EPOCH),
            pack,
            blocks,
        });
    }
    found
}

/// Merges the smaller half of the files of each format of which there are many. Whatever cannot be
/// merged stays as it is.
///
/// # Errors
/// Returns the first error of writing.
pub(super) fn merge(dir: &Path, size_max: u64, cancel: &AtomicBool) -> std::io::Result<()> {
    let mut formats: HashMap<[u8; 32], Vec<Aged>> = HashMap::new();
    for file in opened(dir) {
        formats.entry(file.pack.format()).or_default().push(file);
    }
    let mut result = Ok(());
    for (format, mut files) in formats {
        if files.len() <= FILES_BEFORE_MERGE {
            continue;
        }
        files.sort_by_key(|file| file.pack.size());
        files.truncate(FILES_BEFORE_MERGE / 2);
        let size: u64 = files.iter().map(|file| file.pack.size()).sum();
        // Files are removed whole, so none may be a large part of the cache. The merged file is
        // there beside those that it is made of.
        if size > size_max / 4 || size_of(dir) + size > size_max {
            continue;
        }
        result = result.and(merge_files(dir, format, &files, cancel));
    }
    result
}

fn merge_files(
    dir: &Path,
    format: [u8; 32],
    files: &[Aged],
    cancel: &AtomicBool,
) -> std::io::Result<()> {
    let mut seen = HashSet::new();
    let sources = files.iter().map(|file| PackSource {
        file: file.pack.file(),
        offset: 0,
        blocks: {
            let blocks = file.blocks.iter().filter(|block| seen.insert(block.key));
            blocks.copied().collect()
        },
    });
    let sources: Vec<PackSource<'_>> = sources.collect();
    let used = files.iter().map(|file| file.used).max();
    let merged = write(dir, files[0].pack.codec(), format, &sources, used, cancel)?;
    for file in files {
        if file.path != merged {
            let _ = std::fs::remove_file(&file.path);
        }
    }
    Ok(())
}

/// Removes the files that were used longest ago until all that is there fits, with the incomplete
/// files of other processes.
pub(super) fn limit(dir: &Path, size_max: u64) {
    let mut size = size_of(dir);
    if size <= size_max {
        return;
    }
    let all = [
        list(dir),
        starts::list(dir),
        bases::list(dir),
        code::list(dir),
        packages::list(dir),
    ]
    .concat();
    for AgedFile { bytes, path, .. } in aged(all) {
        if size <= size_max {
            return;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let is_removed = if name.is_some_and(packages::is_package) {
            packages::remove_unless_open(&path)
        } else {
            std::fs::remove_file(path).is_ok()
        };
        if is_removed {
            size = size.saturating_sub(bytes);
        }
    }
}

/// File that condense has written, with its size and the time of its last use.
pub(super) struct AgedFile {
    used: SystemTime,
    pub(super) bytes: u64,
    pub(super) path: PathBuf,
}

/// Returns the files that condense has written, the one that was used longest ago first.
pub(super) fn aged(files: Vec<PathBuf>) -> VecDeque<AgedFile> {
    let found = files.into_iter().filter_map(|path| {
        let found = std::fs::symlink_metadata(&path).ok()?;
        let is_own = found.is_file() && has_own_name(&path);
        is_own.then_some(AgedFile {
            used: found.modified().ok()?,
            bytes: found.len(),
            path,
        })
    });
    let mut found: Vec<AgedFile> = found.collect();
    found.sort_by(|one, other| (one.used, &one.path).cmp(&(other.used, &other.path)));
    found.into()
}

/// Removes files until so many are left. Those that were used longest ago go first.
pub(super) fn remove_unused(mut found: Vec<PathBuf>, left: usize) {
    if found.len() > left {
        let used = |path: &PathBuf| std::fs::symlink_metadata(path).and_then(|it| it.modified());
        found.sort_by_cached_key(|path| used(path).ok());
        for path in &found[..found.len() - left] {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Returns the size of all files that condense has written into a directory of blocks, with those
/// that are not complete.
pub(super) fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let found = entries.flatten().filter(|entry| is_own(&entry.file_name()));
    let found = found.filter_map(|entry| entry.metadata().ok());
    let sizes = found.filter(Metadata::is_file).map(|found| found.len());
    sizes.sum()
}

/// Returns whether condense gives files of blocks such a name. Other files in the directory are not
/// removed, and do not count.
pub(in crate::cache) fn is_own(name: &std::ffi::OsStr) -> bool {
    if is_incomplete(name) {
        return true;
    }
    let Some(name) = name.to_str() else {
        return false;
    };
    let is_other = [
        starts::is_start,
        bases::is_base,
        code::is_code,
        packages::is_package,
    ];
    if is_other.iter().any(|is_it| is_it(name)) {
        return true;
    }
    let Some(name) = name.strip_suffix(SUFFIX) else {
        return false;
    };
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.split('-').collect::<Vec<_>>()[..] {
        [format, count, hash] => {
            let is_count = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            is_count && format.len() == 8 && hash.len() == 16 && is_hex(format) && is_hex(hash)
        }
        _ => false,
    }
}

/// Returns whether the name of a file is one that condense gives.
pub(super) fn has_own_name(path: &Path) -> bool {
    path.file_name().is_some_and(is_own)
}

/// Returns whether a name is the 64 hexadecimal digits of a key, and then this end.
pub(super) fn is_key_with(name: &str, end: &str) -> bool {
    let key = name.strip_suffix(end).unwrap_or("");
    key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Lists the files in a directory whose names are text for which `is_wanted` returns true.
pub(super) fn files_with(dir: &Path, is_wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let names = names.filter(|name| name.to_str().is_some_and(is_wanted));
    names.map(|name| dir.join(name)).collect()
}

fn is_complete(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(SUFFIX.as_bytes()) && !name.starts_with(b".")
}

/// Lists the files of blocks that were used last, in the order of their names.
pub(super) fn recent(dir: &Path) -> Vec<PathBuf> {
    let mut found = list(dir);
    if found.len() > FILES_MAX {
        let used = |path: &PathBuf| std::fs::symlink_metadata(path).and_then(|it| it.modified());
        found.sort_by_cached_key(|path| std::cmp::Reverse(used(path).ok()));
        found.truncate(FILES_MAX);
        found.sort();
    }
    found
}

/// Lists the files of blocks in a directory, in the order of their names.
pub(super) fn list(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter(|name| is_complete(name)).collect();
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// Options of opening a file for reading. A link is not followed, and a pipe is not waited for.
fn options() -> std::fs::OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    options
}

/// Opens a file of blocks that may be used.
///
/// # Errors
/// Returns the reason for which it is not used.
pub(super) fn open_pack(
    path: &Path,
    trust: &Trust,
) -> Result<(BlockPack, Vec<PackedBlock>), PackFault> {
    BlockPack::open(open_trusted(path, trust)?)
}

/// Opens a file that a trusted user has written.
///
/// # Errors
/// Returns the reason for which it is not used.
pub(super) fn open_trusted(path: &Path, trust: &Trust) -> Result<File, PackFault> {
    let file = options().open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(PackFault::Damaged("it is no file"));
    }
    if !trust.contains(found.uid()) {
        return Err(PackFault::Damaged("it belongs to another user"));
    }
    if found.mode() & OTHERS != 0 {
        return Err(PackFault::Damaged("others can write into it"));
    }
    Ok(file)
}
