//! Starts threads where the system may refuse them: `ulimit -u`, `ulimit -v` and a batch system's
//! limits are errors of the user's to mend, and `std::thread::spawn` panics at them.
//!
//! Work that several threads share ([`all`], [`several`]) is done by as many as there can be;
//! [`scoped`] and [`spawn`] are for what cannot be done without a thread of its own.
//!
//! ```
//! use std::sync::atomic::{AtomicUsize, Ordering};
//! let done = AtomicUsize::new(0);
//! condense_threads::all(4, || {
//!     done.fetch_add(1, Ordering::Relaxed);
//! });
//! assert!((1..=4).contains(&done.into_inner()));
//! ```
//!
//! What this crate does not do: decide how many threads are worth their while, print.

#[cfg(feature = "network")]
mod network;
#[cfg(feature = "shared")]
mod shared;

use std::{
    io,
    sync::mpsc,
    thread::{Builder, JoinHandle, Scope, ScopedJoinHandle},
};

#[cfg(feature = "network")]
pub use network::network;
#[cfg(feature = "shared")]
pub use shared::shared;

/// EMFILE of Linux.
const TOO_MANY_FILES: i32 = 24;

/// The system gives no further thread.
#[derive(Debug, thiserror::Error)]
#[error("failed to start a thread: {source}")]
pub struct Error {
    /// What the system said.
    source: io::Error,
}

impl Error {
    /// The way out, in one sentence.
    pub fn hint(&self) -> String {
        if self.source.raw_os_error() == Some(TOO_MANY_FILES) {
            return "raise the limit on open files: `ulimit -n 4096`".to_owned();
        }
        "raise the limits on processes (`ulimit -u`) and on memory (`ulimit -v`), or those of the job".to_owned()
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self { source }
    }
}

/// Starts a thread of its own.
///
/// # Errors
/// When the system refuses it; `work` is not done then.
pub fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    Ok(Builder::new().spawn(work)?)
}

/// Starts a thread that ends before `scope` does.
///
/// # Errors
/// When the system refuses it; `work` is not done then.
pub fn scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    Ok(Builder::new().spawn_scoped(scope, work)?)
}

/// Starts as many threads of the same work as there can be, up to `count`, and at least one.
///
/// # Errors
/// When there is not even one.
pub fn several<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    count: usize,
    work: impl Fn() -> T + Clone + Send + 'scope,
) -> Result<Vec<ScopedJoinHandle<'scope, T>>, Error> {
    let mut started = Vec::new();
    while started.len() < count.max(1) {
        match scoped(scope, work.clone()) {
            Ok(thread) => started.push(thread),
            Err(error) if started.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(started)
}

/// Does the same in up to `count` threads, this one among them, which share the work among
/// themselves.
pub fn all(count: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        for _ in 1..count {
            // Those that are there do it.
            if scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

/// How many threads there can be at once, up to `count`: found out by starting them.
///
/// # Errors
/// When there is not even one.
pub fn available(count: usize) -> Result<usize, Error> {
    match start_waiting(count) {
        (0, Some(refusal)) => Err(refusal),
        (started, _) => Ok(started),
    }
}

/// Refuses where fewer than `count` threads can be started, for libraries that start their own and
/// break down otherwise.
///
/// # Errors
/// When there are fewer.
pub fn require(count: usize) -> Result<(), Error> {
    start_waiting(count).1.map_or(Ok(()), Err)
}

/// Starts so many threads, as far as the system lets it, and ends them again.
fn start_waiting(count: usize) -> (usize, Option<Error>) {
    std::thread::scope(|scope| {
        // Each waits until its sender is gone.
        let mut waiting = Vec::new();
        while waiting.len() < count {
            let (sender, receiver) = mpsc::channel::<()>();
            match scoped(scope, move || receiver.recv().is_ok()) {
                Ok(_) => waiting.push(sender),
                Err(refusal) => return (waiting.len(), Some(refusal)),
            }
        }
        (count, None)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn shared_work_is_done_by_all_that_are_there() {
        let done = AtomicUsize::new(0);
        let count = || done.fetch_add(1, Ordering::Relaxed);
        all(3, || {
            count();
        });
        all(0, || {
            count();
        });
        let started = std::thread::scope(|scope| several(scope, 2, count).map(|all| all.len()));
        assert_eq!(started.unwrap(), 2);
        assert_eq!(done.into_inner(), 6);
        assert_eq!(available(3).unwrap(), 3);
        assert_eq!(scope_of_one(), 5);
    }

    fn scope_of_one() -> i32 {
        std::thread::scope(|scope| scoped(scope, || 5).unwrap().join().unwrap())
    }

    #[test]
    fn a_refusal_says_what_to_raise() {
        let error = Error::from(io::Error::from(io::ErrorKind::WouldBlock));
        assert!(error.to_string().starts_with("failed to start a thread: "));
        assert!(error.hint().contains("ulimit -u") && error.hint().contains("ulimit -v"));
    }
}
