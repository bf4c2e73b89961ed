//! Responsible for finding and removing the files that killed programs left behind. Files that a
//! running program still writes are kept.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use crate::Error;
use crate::lock::{Lock, Locking, try_lock};
use crate::owner::has_ended;
use crate::paths::{LETTERS, LOCK, STAGING, STATE_DIR, is_at, parent_of};
use crate::sync::sync_directory;

/// The part of the name before the random letters, for directories that are about to be removed.
const REMOVED: &str = ".condense-removed-";
/// The text between the name of a destination and the random letters, in the name of the directory
/// that will become the destination.
const OF_DESTINATION: &[u8] = b".condense-";
/// The part of the name of a scratch directory that comes before its random letters.
const SCRATCH: &[u8] = b"cw-";
/// The number of subtrees that keeps all cores busy.
const REMOVED_SIDE_BY_SIDE: usize = 64;
/// The maximum number of threads that remove files. More threads are no faster.
const REMOVERS_MAX: usize = 8;
/// The number of names that are tried before giving up.
const NAMES_TRIED: u32 = 100;

/// The state of a directory, as far as its name reveals it.
#[derive(Debug, PartialEq, Eq)]
enum LeftoverKind {
    /// The directory is being removed.
    Removed,
    /// The directory is a staging directory: no other program gives directories such a name.
    Staging,
    /// The directory is a staging directory only if it contains a lock, since other programs use
    /// such names, too.
    Locked,
}

fn leftover_kind(name: &[u8]) -> Option<LeftoverKind> {
    let is_letters =
        |rest: &[u8]| rest.len() == LETTERS && rest.iter().all(u8::is_ascii_alphanumeric);
    let behind = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(is_letters);
    if behind(REMOVED.as_bytes()) {
        return Some(LeftoverKind::Removed);
    }
    if behind(STAGING.as_bytes()) {
        return Some(LeftoverKind::Staging);
    }
    let (front, letters) = name.split_at_checked(name.len().checked_sub(LETTERS)?)?;
    let is_named = front.starts_with(b".") && front.ends_with(OF_DESTINATION) || front == SCRATCH;
    (is_named && is_letters(letters)).then_some(LeftoverKind::Locked)
}

/// Removes the directories that killed programs left in `dir`. A directory that a running program
/// still uses stays, and so does one that this user may not remove. A directory also stays if its
/// state cannot be determined: on file systems without locks and, for one day, if another machine
/// made it.
pub fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let Some(kind) = leftover_kind(entry.file_name().as_bytes()) else {
            continue;
        };
        if !entry.file_type().is_ok_and(|found| found.is_dir()) {
            continue;
        }
        let path = entry.path();
        match kind {
            LeftoverKind::Removed => remove_tree_of_any_user(&path),
            LeftoverKind::Staging | LeftoverKind::Locked => match remove_if_ended(&path) {
                // A program was killed here before it made its lock. If the program is still
                // running and about to make the lock, it tries again under another name.
                OwnerState::NoLock if kind == LeftoverKind::Staging => {
                    let _ = std::fs::remove_dir(path.join(STATE_DIR));
                    let _ = std::fs::remove_dir(&path);
                }
                _ => {}
            },
        }
    }
}

/// The state of the program that makes something in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// The directory has no lock.
    NoLock,
    /// The program is running and holds the lock.
    Running,
    /// The program was killed.
    Ended,
    /// The state cannot be determined.
    Unknown,
}

/// Looks for the program that makes something in `dir`, and removes the directory if that program
/// was killed.
pub fn remove_if_ended(dir: &Path) -> OwnerState {
    match lock_of_ended(dir) {
        Ok(lock) => {
            discard_quietly(dir, Some(lock));
            OwnerState::Ended
        }
        Err(state) => state,
    }
}

/// Takes the lock of a program that has ended. While the lock is held, no other process can take
/// it.
fn lock_of_ended(dir: &Path) -> Result<Lock, OwnerState> {
    let path = dir.join(STATE_DIR).join(LOCK);
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let open = |write: bool| {
        File::options()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(&path)
    };
    // A lock over NFS needs a file that is open for writing.
    let file = match open(true).or_else(|_| open(false)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OwnerState::NoLock);
        }
        Err(_) => return Err(OwnerState::Unknown),
    };
    let locking = try_lock(&file);
    if locking == Locking::Held {
        return Err(OwnerState::Running);
    }
    let has_ended = has_ended(&file, locking);
    // The directory may have been published meanwhile, and its program may still run under the new
    // name.
    let is_there = is_at(&file, &path);
    let lock = Lock::from_file(file);
    if has_ended && is_there {
        Ok(lock)
    } else {
        Err(OwnerState::Unknown)
    }
}

/// Renames a directory to a hidden name, then removes it. A partly removed directory never appears
/// under the original name. The lock inside is released after the rename, because a file that is
/// still open cannot really be deleted over NFS.
///
/// # Errors
/// Returns [`Error::Io`] if the directory cannot be renamed or removed. The remains then stay
/// beside `path` under a hidden name, and the next [`sweep`] removes them.
pub fn discard(path: &Path, lock: Option<Lock>) -> Result<(), Error> {
    let going = put_aside(path)?;
    // The rename must be on disk before the removal begins. Otherwise the old name could return
    // after a power failure, with only a part of the directory.
    if let Err(error) = sync_directory(parent_of(path)) {
        let _ = std::fs::rename(&going, path);
        return Err(error);
    }
    drop(lock);
    remove_tree(&going);
    match going.symlink_metadata() {
        Ok(_) => std::fs::remove_dir_all(&going).map_err(Error::io("remove", path)),
        Err(_) => Ok(()),
    }
}

/// Does the same as [`discard`], but ignores all errors: files that cannot be removed stay.
pub fn discard_quietly(path: &Path, lock: Option<Lock>) {
    let going = put_aside(path);
    drop(lock);
    remove_tree_of_any_user(going.as_deref().unwrap_or(path));
}

/// Renames the directory to a name that marks it for removal.
fn put_aside(path: &Path) -> Result<PathBuf, Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        let name = format!("{REMOVED}{}", letters(tried));
        let going = path.with_file_name(name);
        let renamed = match renameat_with(CWD, path, CWD, &going, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS)
                if going.symlink_metadata().is_err() =>
            {
                rustix::fs::rename(path, &going)
            }
            other => other,
        };
        match renamed {
            Ok(()) => return Ok(going),
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) if tried < NAMES_TRIED => {}
            Err(error) => return Err(Error::io("remove", path)(error)),
        }
    }
}

/// Returns random letters that another process, thread or attempt is unlikely to use at the same
/// time.
fn letters(attempt: u32) -> String {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(attempt);
    let mut number = hasher.finish();
    let mut text = String::new();
    for _ in 0..LETTERS {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    text
}

/// Removes a tree that may belong to another user. There, a directory could be replaced by a link
/// during the removal, so only `remove_dir_all` is used, which is safe against that.
fn remove_tree_of_any_user(path: &Path) {
    let own = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw());
    if own {
        remove_tree(path);
    } else {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Removes a tree, whatever the permissions of its directories are. Files that cannot be removed
/// stay.
pub fn remove_tree(dir: &Path) {
    remove_parts(dir);
    if std::fs::remove_dir_all(dir).is_ok() || !dir.exists() {
        return;
    }
    make_enterable(dir);
    let _ = std::fs::remove_dir_all(dir);
}

/// Removes subtrees in parallel. The caller removes the small rest.
fn remove_parts(dir: &Path) {
    let mut parts = vec![dir.to_owned()];
    while parts.len() < REMOVED_SIDE_BY_SIDE {
        let below: Vec<PathBuf> = parts
            .iter()
            .filter_map(|part| std::fs::read_dir(part).ok())
            .flat_map(Iterator::flatten)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        if below.is_empty() {
            break;
        }
        parts = below;
    }
    if parts.len() < 2 {
        return;
    }
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(REMOVERS_MAX) {
            let remove = || {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _ = std::fs::remove_dir_all(part);
                }
            };
            // The caller removes everything if no thread can be started.
            let _ = std::thread::Builder::new().spawn_scoped(scope, remove);
        }
    });
}

fn make_enterable(dir: &Path) {
    let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_enterable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Staging;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn with_lock(dir: &Path, text: &str) {
        fs_err::create_dir_all(dir.join(STATE_DIR)).unwrap();
        fs_err::write(dir.join(STATE_DIR).join(LOCK), text).unwrap();
    }

    #[test]
    fn names_say_what_a_directory_is() {
        for (name, expected) in [
            (".condense-abcDE1", Some(LeftoverKind::Staging)),
            (".condense-removed-abcdef", Some(LeftoverKind::Removed)),
            (".e.condense-abcdef", Some(LeftoverKind::Locked)),
            ("cw-ABC123", Some(LeftoverKind::Locked)),
            (".condense", None),
            (".condense-abc", None),
            (".condense-abcdefg", None),
            (".condense-abc.ef", None),
            ("e.condense-abcdef", None),
            ("cw-ABCDEFG", None),
            ("my-cw-ABC123", None),
            ("", None),
        ] {
            assert_eq!(leftover_kind(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn leftovers_of_killed_programs_go_and_directories_in_use_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        // These directories are in use: this process holds their locks.
        let alive = Staging::create(scratch.path()).unwrap();
        let mut claimed = Staging::create(scratch.path()).unwrap();
        assert!(claimed.rename(".a.condense-livING").unwrap());
        let mut build = Staging::create(scratch.path()).unwrap();
        assert!(build.rename("cw-LIVING").unwrap());
        // These directories are left over from programs that were killed at different moments.
        for name in [".condense-dead01", ".b.condense-dead02", "cw-DEAD03"] {
            with_lock(&at(name), "");
            fs_err::create_dir(at(name).join("closed")).unwrap();
            fs_err::write(at(name).join("closed/file"), "half").unwrap();
            let closed = std::fs::Permissions::from_mode(0o500);
            fs_err::set_permissions(at(name).join("closed"), closed).unwrap();
        }
        fs_err::create_dir(at(".condense-dead04")).unwrap();
        fs_err::create_dir_all(at(".condense-dead05").join(STATE_DIR)).unwrap();
        fs_err::create_dir_all(at(".condense-removed-dead06").join("bin")).unwrap();
        // These directories may belong to other programs, or another machine made them.
        for name in ["cw-TYKKYS", ".c.condense-abcdef", ".condense-others/dir"] {
            fs_err::create_dir_all(at(name)).unwrap();
        }
        with_lock(&at(".condense-remote"), "another\nx\n1\n1\n");
        fs_err::write(at(".condense-a_file"), "").unwrap();
        sweep(scratch.path());
        let mut left = names(scratch.path());
        let own = alive.path().file_name().unwrap().to_str().unwrap();
        left.retain(|name| name != own);
        assert_eq!(
            left,
            [
                ".a.condense-livING",
                ".c.condense-abcdef",
                ".condense-a_file",
                ".condense-others",
                ".condense-remote",
                "cw-LIVING",
                "cw-TYKKYS",
            ]
        );
        assert!(alive.path().is_dir());
        drop((alive, claimed, build));
        assert_eq!(names(scratch.path()).len(), 5);
        sweep(&at("none"));
    }

    /// A process that is about to lock a directory and one that takes it for a leftover must not
    /// harm each other.
    #[test]
    fn concurrent_stagings_keep_their_directories() {
        let scratch = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let staging = Staging::create(scratch.path()).unwrap();
                        fs_err::write(staging.path().join("file"), "mine").unwrap();
                        sweep(scratch.path());
                        let text = fs_err::read_to_string(staging.path().join("file"));
                        assert_eq!(text.unwrap(), "mine");
                    }
                });
            }
        });
        assert_eq!(names(scratch.path()), [""; 0]);
    }

    #[test]
    fn what_is_discarded_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("dir");
        for part in 0..100 {
            fs_err::create_dir_all(dir.join(format!("{part}/below"))).unwrap();
            fs_err::write(dir.join(format!("{part}/below/file")), "").unwrap();
        }
        discard(&dir, None).unwrap();
        assert_eq!(names(scratch.path()), [""; 0]);
        assert!(discard(&dir, None).is_err());
    }
}
