//! Responsible for how many threads work, and for starting and awaiting them.

use std::num::NonZeroUsize;
use std::thread::ScopedJoinHandle;

/// As many as were asked for; one for each core without that.
pub(crate) fn count(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

/// Does the same in so many threads, which share the work among themselves.
pub(crate) fn all(asked: Option<NonZeroUsize>, work: impl Fn() + Sync) {
    condense_threads::all(count(asked).get(), work);
}

/// What a thread returned; its panic goes on here.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
