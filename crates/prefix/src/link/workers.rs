//! Responsible for handling several packages at the same time.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{error::Error, progress::Progress};

/// Runs `work` for all indices of `order`, one worker for each core. The first error stops all
/// workers. A panic in a worker becomes an error.
pub(crate) fn for_each<T: Send>(
    order: &[usize],
    progress: &dyn Progress,
    work: &(dyn Fn(usize) -> Result<T, Error> + Sync),
) -> Result<Vec<(usize, T)>, Error> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(order.len()));
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let result = if progress.cancelled() {
                Err(Error::Interrupted)
            } else {
                // Packages that are known to cause a panic are refused earlier. Any other panic
                // must not end the program.
                catch_unwind(AssertUnwindSafe(|| work(index))).unwrap_or_else(|panic| {
                    Err(Error::Install {
                        package: "a package".to_owned(),
                        source: panic_message(&*panic).into(),
                    })
                })
            };
            match result {
                Ok(result) => done
                    .lock()
                    .expect("no worker panics while it holds the list")
                    .push((index, result)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure
                        .lock()
                        .expect("no worker panics while it holds the error")
                        .get_or_insert(error);
                }
            }
        }
    };
    let workers = std::thread::available_parallelism()
        .map_or(1, NonZeroUsize::get)
        .min(16);
    // rattler links with threads that the whole program shares.
    condense_threads::shared()?;
    condense_threads::all(workers, worker);
    match failure.into_inner().expect("workers have ended") {
        Some(error) => Err(error),
        None => Ok(done.into_inner().expect("workers have ended")),
    }
}

/// Returns the message of a panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a fault of the linker: {}", text.unwrap_or("a panic"))
}
