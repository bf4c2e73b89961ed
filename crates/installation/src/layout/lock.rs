//! Responsible for the lock file of an installation.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use condense_publish::{Lock, Locking, try_lock};

use super::paths::{MODE_PLAIN, MODE_SHARED_FILE, is_shared, set_mode};
use crate::error::{Error, Result};

/// Opens and locks a lock file. Returns [`Error::Busy`] if another build holds the lock.
pub(super) fn lock(dir: &Path, path: &Path) -> Result<Lock> {
    let mode = mode_of_lock(path)?;
    loop {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(Error::Io)?
            .into_parts()
            .0;
        if try_lock(&file) == Locking::Held {
            return Err(Error::Busy {
                path: dir.to_owned(),
                held: path.to_owned(),
            });
        }
        // An interrupted first build removes its lock file; a lock on a removed file would protect
        // nothing.
        let locked = file
            .metadata()
            .map_err(|error| Error::at("look at", path, error))?;
        match std::fs::metadata(path) {
            Ok(there) if there.ino() == locked.ino() && there.dev() == locked.dev() => {
                // A lock file of another user has its mode already.
                if there.uid() == rustix::process::geteuid().as_raw() {
                    set_mode(path, mode)?;
                }
                return Ok(Lock::from_file(file));
            }
            _ => {}
        }
    }
}

/// Returns the mode that a lock file must have.
pub(super) fn mode_of_lock(path: &Path) -> Result<u32> {
    let parent = path.parent().expect("it lies in a directory of ours");
    Ok(if is_shared(parent)? {
        MODE_SHARED_FILE
    } else {
        MODE_PLAIN
    })
}
