//! Responsible for the network's threads, which tokio starts when they are needed and panics
//! without.

use std::{fs::File, io, time::Duration};

use tokio::runtime::{Builder, Runtime};

use crate::Error;

/// Threads that drive connections.
const WORKERS: usize = 2;
/// Files and names of hosts are looked up beside them.
const BESIDE: usize = 2;
/// Files that it opens for itself, some of which it breaks down without.
const FILES: usize = 8;
/// How long a thread is kept without work: the whole run. Where no further one can be started, all
/// wait for one that is there.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The threads that work for the network, and at least one beside them for what blocks.
///
/// # Errors
/// When the system does not give so many.
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
