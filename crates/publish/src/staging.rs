//! Responsible for the directory beside a destination in which something is made, and for its lock.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::leftovers::{LETTERS, STAGING, discard_quietly, sweep};
use crate::lock::{Lock, Locking, try_lock};
use crate::owner::own_text;
use crate::place::{Existing, give_name};
use crate::{Error, sync_directory};

/// In a staging directory: what is not part of what is made there.
pub const STATE_DIR: &str = ".condense";

/// In [`STATE_DIR`]: locked for as long as the maker lives.
pub const LOCK: &str = "lock";

/// For the owner alone: nobody can put a link in the way.
const PRIVATE: u32 = 0o700;

/// Names tried before giving up; one is enough unless somebody clears away what is just being made.
const NAMES_TRIED: u32 = 100;

/// A directory for something that is not finished. Dropping it removes it.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    lock: Option<Lock>,
    kept: bool,
}

impl Staging {
    /// Makes one in `parent` that only this user can enter, and clears away what others have left there.
    ///
    /// # Errors
    /// [`Error::Io`] when the parent cannot be written.
    pub fn create(parent: &Path) -> Result<Staging, Error> {
        sweep(parent);
        for _ in 0..NAMES_TRIED {
            match Self::try_create(parent) {
                // Somebody else took it for a leftover before it was locked.
                Err(error) if error.source_kind() == ErrorKind::NotFound && parent.is_dir() => {}
                Err(error) => return Err(error),
                Ok(Some(staging)) => return Ok(staging),
                Ok(None) => {}
            }
        }
        let refused = std::io::Error::from(ErrorKind::AlreadyExists);
        Err(Error::io("create a directory in", parent)(refused))
    }

    /// Makes one beside `target`.
    ///
    /// # Errors
    /// Those of [`Staging::create`].
    pub fn beside(target: &Path) -> Result<Staging, Error> {
        Self::create(parent_of(target))
    }

    fn try_create(parent: &Path) -> Result<Option<Staging>, Error> {
        let failed = || Error::io::<std::io::Error>("create a directory in", parent);
        let dir = tempfile::Builder::new()
            .prefix(STAGING)
            .rand_bytes(LETTERS)
            .permissions(Permissions::from_mode(PRIVATE))
            .tempdir_in(parent)
            .map_err(failed())?;
        let state_dir = dir.path().join(STATE_DIR);
        DirBuilder::new()
            .mode(PRIVATE)
            .create(&state_dir)
            .map_err(failed())?;
        let path = state_dir.join(LOCK);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed())?;
        if try_lock(&file) == Locking::Held || !is_at(&file, &path) {
            // Whoever has it removes it.
            let _ = dir.keep();
            return Ok(None);
        }
        file.write_all(own_text().as_bytes()).map_err(failed())?;
        Ok(Some(Staging {
            dir: dir.keep(),
            lock: Some(Lock::of(file)),
            kept: false,
        }))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Gives it another name in the same directory; `false` when that is taken.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rename(&mut self, name: impl AsRef<Path>) -> Result<bool, Error> {
        let to = self.dir.with_file_name(name.as_ref());
        let renamed = match renameat_with(CWD, &self.dir, CWD, &to, RenameFlags::NOREPLACE) {
            // Not every file system can do both at once.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if to.symlink_metadata().is_ok() {
                    return Ok(false);
                }
                rustix::fs::rename(&self.dir, &to)
            }
            other => other,
        };
        match renamed {
            Ok(()) => {
                self.dir = to;
                Ok(true)
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(error) => Err(Error::io("create", &to)(error)),
        }
    }

    /// Leaves the directory and its lock to the caller, who removes it.
    #[must_use]
    pub fn into_parts(mut self) -> (PathBuf, Option<Lock>) {
        self.kept = true;
        (self.dir.clone(), self.lock.take())
    }

    /// Gives what lies at `made`, and is on disk, its name; the rest goes.
    ///
    /// # Errors
    /// [`Error::Io`]. With [`Existing::Refuse`] nothing is there then that was not before; with [`Existing::Replace`] either
    /// the old one is there or the new one, whole.
    pub fn publish(self, made: &Path, target: &Path, existing: Existing) -> Result<(), Error> {
        give_name(made, target, existing)?;
        let stored = sync_directory(parent_of(target));
        if stored.is_err() && existing == Existing::Refuse {
            // Nobody knows whether it would still be there after a power failure, so that it is not said to be.
            let _ = std::fs::rename(target, made);
        }
        stored
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            discard_quietly(&self.dir, self.lock.take());
        }
    }
}

/// The directory that has the name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

/// Whether an open file is still the one of this name.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let there = std::fs::symlink_metadata(path);
    file.metadata()
        .is_ok_and(|here| there.is_ok_and(|there| same(&here, &there)))
}

fn same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
