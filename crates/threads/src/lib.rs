//! Starts threads, and returns an error if the operating system refuses to start one. The causes
//! are limits that users can raise: `ulimit -u`, `ulimit -v` and the limits of a batch system. In
//! these cases `std::thread::spawn` panics.
//!
//! Work that several threads share ([`all`], [`try_map`], [`several`]) is done by as many as can be
//! started. [`scoped`] and [`spawn`] are for work that needs a thread of its own.
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
//! This crate does not decide how many threads are worthwhile, and it does not print.

#[cfg(feature = "network")]
mod network;
#[cfg(feature = "shared")]
mod shared;

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{Builder, JoinHandle, Scope, ScopedJoinHandle},
};

#[cfg(feature = "network")]
pub use network::network;
#[cfg(feature = "shared")]
pub use shared::shared;

/// The error number EMFILE of Linux.
const TOO_MANY_FILES: i32 = 24;

/// The operating system refuses to start another thread.
#[derive(Debug, thiserror::Error)]
#[error("failed to start a thread: {source}")]
pub struct Error {
    /// The error that the operating system returned.
    source: io::Error,
}

impl condense_diagnostics::Hint for Error {
    fn hint(&self) -> Option<String> {
        if self.source.raw_os_error() == Some(TOO_MANY_FILES) {
            return Some("raise the limit on open files: `ulimit -n 4096`".to_owned());
        }
        Some("raise the limits on processes (`ulimit -u`) and on memory (`ulimit -v`), or those of the job".to_owned())
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self { source }
    }
}

/// Starts a thread that is independent of the calling one.
///
/// # Errors
/// Returns an error if the system refuses to start the thread; `work` does not run then.
pub fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    Ok(Builder::new().spawn(work)?)
}

/// Starts a thread that ends before `scope` does.
///
/// # Errors
/// Returns an error if the system refuses to start the thread; `work` does not run then.
pub fn scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    Ok(Builder::new().spawn_scoped(scope, work)?)
}

/// Starts up to `count` threads that do the same work: as many as the system allows, and at least
/// one.
///
/// # Errors
/// Returns an error if the system refuses to start even one thread.
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

/// Calls `work` in up to `count` threads, including the calling one. The calls must share the work
/// among themselves.
pub fn all(count: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        for _ in 1..count {
            // The threads that could be started do all of the work.
            if scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

/// Calls `work` for all items, in up to `count` threads, including the calling one. Returns the
/// results in the order of the items.
///
/// # Errors
/// Returns the error of the first item, by their order, that has one. No further calls begin then.
pub fn try_map<T: Sync, R: Send, E: Send>(
    count: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    all(count.min(items.len()), || {
        while let Some((number, item)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            items.get(number).map(|item| (number, item))
        } {
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((number, result));
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Returns the number of cores that this process may use, at most `max`.
pub fn cores(max: usize) -> usize {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, std::num::NonZeroUsize::get).min(max)
}

/// Returns the number of threads that can run at once, up to `count`, after starting them as a
/// test.
///
/// # Errors
/// Returns an error if the system refuses to start even one thread.
pub fn available(count: usize) -> Result<usize, Error> {
    match start_waiting(count) {
        (0, Some(refusal)) => Err(refusal),
        (started, _) => Ok(started),
    }
}

/// Checks that `count` threads can be started. This is for libraries that start their own threads
/// and panic otherwise.
///
/// # Errors
/// Returns an error if the system refuses to start `count` threads.
pub fn require(count: usize) -> Result<(), Error> {
    start_waiting(count).1.map_or(Ok(()), Err)
}

/// Starts up to `count` threads, as many as the system allows, and ends them again.
fn start_waiting(count: usize) -> (usize, Option<Error>) {
    std::thread::scope(|scope| {
        // Each thread waits until its sender is dropped.
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
    fn shared_work_is_done_by_all_started_threads() {
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
    fn results_come_in_the_order_of_the_items_up_to_the_first_error() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
        let double = |item: &usize| Ok::<_, usize>(item * 2);
        assert_eq!(try_map(3, &items, double), Ok(doubled));
        assert_eq!(try_map(0, &items[1..2], double), Ok(vec![2]));
        assert_eq!(try_map(3, &items[..0], double), Ok(vec![]));
        let calls = AtomicUsize::new(0);
        let failed = try_map(1, &items, |item| {
            calls.fetch_add(1, Ordering::Relaxed);
            if *item < 10 { Ok(()) } else { Err(*item) }
        });
        assert_eq!((failed, calls.into_inner()), (Err(10), 11));
        let failed = try_map(
            3,
            &items,
            |item| if *item < 500 { Ok(()) } else { Err(*item) },
        );
        assert_eq!(failed, Err(500));
    }

    #[test]
    fn a_refusal_says_what_to_raise() {
        let error = Error::from(io::Error::from(io::ErrorKind::WouldBlock));
        assert!(error.to_string().starts_with("failed to start a thread: "));
        let hint = condense_diagnostics::Hint::hint(&error).unwrap();
        assert!(hint.contains("ulimit -u") && hint.contains("ulimit -v"));
    }
}
