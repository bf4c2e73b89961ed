//! Responsible for starting the threads of the network. tokio starts threads when they are needed,
//! and panics if it cannot.

use std::{fs::File, io, time::Duration};

use tokio::runtime::{Builder, Runtime};

use crate::Error;

/// The number of threads that drive connections.
const WORKERS: usize = 2;
/// The number of further threads, for access to files and for looking up host names.
const BESIDE: usize = 2;
/// The number of files that tokio opens for itself. It panics when it cannot open some of them.
const FILES: usize = 8;
/// The time that tokio keeps an idle thread, which is longer than any run. If no further thread can
/// be started, tasks wait for an existing one.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Starts a runtime with its worker threads and at least one thread for tasks that block.
///
/// # Errors
/// Returns an error if the system refuses to start that many threads, or to open that many files.
pub fn network() -> Result<Runtime, Error> {
    crate::require(WORKERS + BESIDE)?;
    let files: io::Result<Vec<File>> = (0..FILES).map(|_| File::open("/dev/null")).collect();
    drop(files?);
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_keep_alive(KEPT)
        .enable_all()
        .build()?;
    let first = runtime.spawn_blocking(|| ());
    runtime.block_on(async { first.await.map_err(io::Error::other) })?;
    Ok(runtime)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn it_works() {
        let runtime = super::network().unwrap();
        let answer = runtime.block_on(async { tokio::task::spawn_blocking(|| 5).await });
        assert_eq!(answer.unwrap(), 5);
    }
}
