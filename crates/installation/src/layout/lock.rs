//! Responsible for locks on files, and for file systems that have none.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::destination::{is_shared, set_mode};
use super::{MODE_PLAIN, MODE_SHARED_FILE};
use crate::error::{Error, Result};

/// What came of trying to lock a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    /// It is ours now.
    Free,
    /// Somebody else has it.
    Held,
    /// The file system has no locks: Lustre mounted without them, for example. Builds go on without.
    Unknown,
}

/// A locked file. Dropping it unlocks it.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a child process that is just being started holds the same open file until it runs its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

pub(super) fn try_lock(file: &File) -> Locking {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Locking::Free,
        Err(rustix::io::Errno::WOULDBLOCK) => Locking::Held,
        Err(_) => Locking::Unknown,
    }
}

/// Opens and locks a lock file, or says who is in the way.
pub(super) fn lock(dir: &Path, path: &Path) -> Result<Lock> {
    let parent = path.parent().expect("it lies in a directory of ours");
    let mode = if is_shared(parent)? {
        MODE_SHARED_FILE
    } else {
        MODE_PLAIN
    };
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
        // An interrupted first build removes its lock file; a lock on a removed file would protect nothing.
        let locked = file
            .metadata()
            .map_err(|error| Error::at("look at", path, error))?;
        match std::fs::metadata(path) {
            Ok(there) if there.ino() == locked.ino() && there.dev() == locked.dev() => {
                // Somebody else's lock file has its mode already.
                if there.uid() == rustix::process::geteuid().as_raw() {
                    set_mode(path, mode)?;
                }
                return Ok(Lock(file));
            }
            _ => {}
        }
    }
}
