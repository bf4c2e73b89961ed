//! Responsible for locks on files, and for file systems that have none.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};

/// What came of trying to lock a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// It is ours now.
    Free,
    /// Somebody else has it.
    Held,
    /// The file system has no locks: Lustre mounted without them, for example.
    Unknown,
}

/// A locked file. Dropping it unlocks it.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes care of a file that was locked, or that cannot be.
    #[must_use]
    pub fn of(file: File) -> Lock {
        Lock(file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a child process that is just being started holds the same open file until it runs its program.
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
