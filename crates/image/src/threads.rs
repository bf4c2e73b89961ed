//! Responsible for the number of threads, and for starting and joining threads.

use std::num::NonZeroUsize;
use std::thread::ScopedJoinHandle;

/// Returns the requested number of threads, or one for each core.
pub(crate) fn count(requested: Option<NonZeroUsize>) -> NonZeroUsize {
    requested
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

/// Runs `work` in `requested` threads at the same time, or in one for each core. The threads divide
/// the work among themselves.
pub(crate) fn all(requested: Option<NonZeroUsize>, work: impl Fn() + Sync) {
    condense_threads::all(count(requested).get(), work);
}

/// Joins a thread and returns its result. A panic of the thread continues in this thread.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
