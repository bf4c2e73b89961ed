//! Responsible for locks on files, also on file systems without locks.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};

/// The result of an attempt to lock a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// The lock was free and now belongs to this process.
    Free,
    /// Another process holds the lock.
    Held,
    /// The file system has no locks. An example is Lustre mounted without them.
    Unknown,
}

/// A locked file. Dropping it unlocks it.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Wraps a file that is locked, or that is on a file system without locks.
    #[must_use]
    pub fn from_file(file: File) -> Lock {
        Lock(file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just starting shares the open
        // file until it executes its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Locks a file without waiting.
pub fn try_lock(file: &File) -> Locking {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Locking::Free,
        Err(rustix::io::Errno::WOULDBLOCK) => Locking::Held,
        Err(_) => Locking::Unknown,
    }
}
