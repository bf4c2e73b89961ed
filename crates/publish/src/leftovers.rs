//! Responsible for what killed programs left: how it is told from what somebody is still making, and its removal.

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
use crate::staging::{LOCK, STATE_DIR, is_at};
use crate::sync::sync_directory;

/// In front of the random letters of a staging directory.
pub(crate) const STAGING: &str = ".condense-";
/// Random letters in such names.
pub(crate) const LETTERS: usize = 6;
/// In front of the random letters of what is not wanted any more by anybody.
const REMOVED: &str = ".condense-removed-";
/// Between the name of a destination and the random letters of what will become it.
const OF_DESTINATION: &[u8] = b".condense-";
/// In front of the random letters of a scratch directory.
const SCRATCH: &[u8] = b"cw-";
/// Subtrees that are enough to keep all cores busy.
const REMOVED_SIDE_BY_SIDE: usize = 64;
/// Threads that remove; more are no faster.
const REMOVERS_MAX: usize = 8;
/// Names tried before giving up.
const NAMES_TRIED: u32 = 100;

/// What a name says of a directory.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// It is being removed.
    Removed,
    /// Something is made in it, and nobody else gives directories such a name.
    Staging,
    /// Something is made in it, if it has a lock.
    Locked,
}

fn kind(name: &[u8]) -> Option<Kind> {
    let is_letters =
        |rest: &[u8]| rest.len() == LETTERS && rest.iter().all(u8::is_ascii_alphanumeric);
    let behind = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(is_letters);
    if behind(REMOVED.as_bytes()) {
        return Some(Kind::Removed);
    }
    if behind(STAGING.as_bytes()) {
        return Some(Kind::Staging);
    }
    let (front, letters) = name.split_at_checked(name.len().checked_sub(LETTERS)?)?;
    let is_named = front.starts_with(b".") && front.ends_with(OF_DESTINATION) || front == SCRATCH;
    (is_named && is_letters(letters)).then_some(Kind::Locked)
}

/// Removes what killed programs have left in a directory. What somebody is still making stays, and so does what this user
/// cannot remove, or what nobody can tell: on file systems without locks, and, for a day, what another machine has made.
pub fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let Some(kind) = kind(entry.file_name().as_bytes()) else {
            continue;
        };
        if !entry.file_type().is_ok_and(|found| found.is_dir()) {
            continue;
        }
        let path = entry.path();
        match kind {
            Kind::Removed => remove_anybody_s(&path),
            Kind::Staging | Kind::Locked => match clear(&path) {
                // Killed before there was a lock; whoever is just making it tries again under another name.
                Maker::Nobody if kind == Kind::Staging => {
                    let _ = std::fs::remove_dir(path.join(STATE_DIR));
                    let _ = std::fs::remove_dir(&path);
                }
                _ => {}
            },
        }
    }
}

/// Who makes something in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// There is no lock in it.
    Nobody,
    /// Somebody who holds its lock.
    Alive,
    /// Somebody who was killed.
    Dead,
    /// Nobody can tell.
    Unknown,
}

/// Looks who makes something in a directory, and removes what somebody has left who was killed.
pub fn clear(dir: &Path) -> Maker {
    match lock_of_dead(dir) {
        Ok(lock) => {
            discard_quietly(dir, Some(lock));
            Maker::Dead
        }
        Err(maker) => maker,
    }
}

/// Takes the lock of somebody who has ended; nobody else does while it is held.
fn lock_of_dead(dir: &Path) -> Result<Lock, Maker> {
    let path = dir.join(STATE_DIR).join(LOCK);
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let open = |write: bool| {
        File::options()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(&path)
    };
    // Over NFS only what can be written can be locked.
    let file = match open(true).or_else(|_| open(false)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Maker::Nobody),
        Err(_) => return Err(Maker::Unknown),
    };
    let locking = try_lock(&file);
    if locking == Locking::Held {
        return Err(Maker::Alive);
    }
    let has_ended = has_ended(&file, locking);
    // It may have been published, and be alive under another name.
    let is_there = is_at(&file, &path);
    let lock = Lock::of(file);
    if has_ended && is_there {
        Ok(lock)
    } else {
        Err(Maker::Unknown)
    }
}

/// Takes a directory out of sight with one rename, then removes it. Half of it is never seen under its own name. A lock in it
/// ends in between: over NFS a file that is open is never gone.
///
/// # Errors
/// [`Error::Io`]. What is left then lies hidden beside it, and the next [`sweep`] removes it.
pub fn discard(path: &Path, lock: Option<Lock>) -> Result<(), Error> {
    let going = put_aside(path)?;
    // Were the name not gone from the disk, too, half of it could be seen after a power failure.
    if let Err(error) = sync_directory(crate::staging::parent_of(path)) {
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

/// As [`discard`], for what is of no use to anybody: what cannot be removed stays.
pub fn discard_quietly(path: &Path, lock: Option<Lock>) {
    let going = put_aside(path);
    drop(lock);
    remove_anybody_s(going.as_deref().unwrap_or(path));
}

/// Gives it a name that says that it may go.
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

/// Letters that another process, thread or attempt is unlikely to have at the same time.
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

/// Removes a tree. In one of another user's, directories could become links while they are looked at.
fn remove_anybody_s(path: &Path) {
    let own = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw());
    if own {
        remove_tree(path);
    } else {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Removes a tree whatever modes its directories were given; what cannot be removed stays.
pub fn remove_tree(dir: &Path) {
    remove_parts(dir);
    if std::fs::remove_dir_all(dir).is_ok() || !dir.exists() {
        return;
    }
    make_enterable(dir);
    let _ = std::fs::remove_dir_all(dir);
}

/// Removes subtrees side by side; what is left is little, and is removed by the caller.
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
            // Without another thread the caller removes it all.
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
            (".condense-abcDE1", Some(Kind::Staging)),
            (".condense-removed-abcdef", Some(Kind::Removed)),
            (".e.condense-abcdef", Some(Kind::Locked)),
            ("cw-ABC123", Some(Kind::Locked)),
            (".condense", None),
            (".condense-abc", None),
            (".condense-abcdefg", None),
            (".condense-abc.ef", None),
            ("e.condense-abcdef", None),
            ("cw-ABCDEFG", None),
            ("my-cw-ABC123", None),
            ("", None),
        ] {
            assert_eq!(kind(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_make_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        // Alive: locked by this process.
        let alive = Staging::create(scratch.path()).unwrap();
        let mut claimed = Staging::create(scratch.path()).unwrap();
        assert!(claimed.rename(".a.condense-livING").unwrap());
        let mut build = Staging::create(scratch.path()).unwrap();
        assert!(build.rename("cw-LIVING").unwrap());
        // Dead, at each moment at which somebody may be killed.
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
        // Not known to be ours, or of another machine.
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

    /// Whoever is about to lock a directory and whoever takes it for a leftover must not harm each other.
    #[test]
    fn many_at_once_each_keep_their_own() {
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
