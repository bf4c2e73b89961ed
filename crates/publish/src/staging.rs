//! Responsible for the locked directory beside a destination in which a result is made.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::leftovers::{discard_quietly, sweep};
use crate::lock::{Lock, Locking, try_lock};
use crate::naming::{Existing, give_name};
use crate::owner::own_text;
use crate::paths::{LETTERS, LOCK, STAGING, STATE_DIR, is_at, parent_of};
use crate::{Error, sync_directory};

/// The mode of directories that only the owner can enter, so that no other user can place a link
/// there.
const PRIVATE: u32 = 0o700;

/// The number of names that are tried before giving up. The first one works unless another process
/// removes the new directory before it is locked.
const NAMES_TRIED: u32 = 100;

/// A directory for an unfinished result. Dropping it removes it.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    lock: Option<Lock>,
    kept: bool,
}

impl Staging {
    /// Makes a directory in `parent` that only this user can enter, and removes what killed
    /// programs left there.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the parent cannot be written to.
    pub fn create(parent: &Path) -> Result<Staging, Error> {
        sweep(parent);
        for _ in 0..NAMES_TRIED {
            match Self::try_create(parent) {
                // Another process took the directory for a leftover before it was locked.
                Err(error) if error.source_kind() == ErrorKind::NotFound && parent.is_dir() => {}
                Err(error) => return Err(error),
                Ok(Some(staging)) => return Ok(staging),
                Ok(None) => {}
            }
        }
        let refused = std::io::Error::from(ErrorKind::AlreadyExists);
        Err(Error::io("create a directory in", parent)(refused))
    }

    /// Makes a directory beside `target`.
    ///
    /// # Errors
    /// Returns any error of [`Staging::create`].
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
            // The process that holds the lock removes the directory.
            let _ = dir.keep();
            return Ok(None);
        }
        file.write_all(own_text().as_bytes()).map_err(failed())?;
        Ok(Some(Staging {
            dir: dir.keep(),
            lock: Some(Lock::from_file(file)),
            kept: false,
        }))
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Gives the directory another name in the same parent. Returns `false` if that name is taken.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the rename fails for any other reason.
    pub fn rename(&mut self, name: impl AsRef<Path>) -> Result<bool, Error> {
        let to = self.dir.with_file_name(name.as_ref());
        let renamed = match renameat_with(CWD, &self.dir, CWD, &to, RenameFlags::NOREPLACE) {
            // Some file systems cannot check for an existing name and rename in one step.
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

    /// Hands the directory and its lock to the caller, who must remove the directory.
    #[must_use]
    pub fn into_parts(mut self) -> (PathBuf, Option<Lock>) {
        self.kept = true;
        (self.dir.clone(), self.lock.take())
    }

    /// Renames `made`, which must be on disk already, to `target`, and removes the rest of the
    /// directory.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the rename fails or cannot be stored. With [`Existing::Refuse`],
    /// `target` is then as it was before. With [`Existing::Replace`], it is either the old file or
    /// the whole new one.
    pub fn publish(self, made: &Path, target: &Path, existing: Existing) -> Result<(), Error> {
        give_name(made, target, existing)?;
        let stored = sync_directory(parent_of(target));
        if stored.is_err() && existing == Existing::Refuse {
            // The name might be lost in a power failure, so the result is not reported as
            // published.
            let _ = std::fs::rename(target, made);
        }
        stored
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            condense_diagnostics::note_usage(&self.dir);
            discard_quietly(&self.dir, self.lock.take());
        }
    }
}
