//! Responsible for passing jobs to the workers and for waiting for single results.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{Job, Reply};
use crate::Error;

/// Interval between checks of the cancel flag while a result is awaited.
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Result of a job that a worker will send.
pub(crate) struct Awaited<T>(Receiver<Result<T, Error>>);

/// Queue of the jobs that wait for a worker. Results are received one by one, in any order that
/// the caller requests.
pub(crate) struct JobQueue<'a> {
    jobs: Sender<Job<'a>>,
    failures: Receiver<Error>,
    cancel: Option<&'a AtomicBool>,
}

impl<'a> JobQueue<'a> {
    /// Creates the queue. `failures` receives the errors of workers that could not start to work.
    pub(crate) fn new(
        jobs: Sender<Job<'a>>,
        failures: Receiver<Error>,
        cancel: Option<&'a AtomicBool>,
    ) -> JobQueue<'a> {
        JobQueue {
            jobs,
            failures,
            cancel,
        }
    }

    /// Sends a job to the workers.
    pub(crate) fn submit<T>(&self, job: impl FnOnce(Reply<T>) -> Job<'a>) -> Awaited<T> {
        let (reply, result) = crossbeam_channel::bounded(1);
        // This fails if all workers have ended. Waiting for the result then reports the reason.
        let _ = self.jobs.send(job(reply));
        Awaited(result)
    }

    /// Waits for the result of a job.
    pub(crate) fn wait<T>(&self, result: &Awaited<T>) -> Result<T, Error> {
        loop {
            if self
                .cancel
                .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
            {
                return Err(Error::Cancelled);
            }
            if let Ok(error) = self.failures.try_recv() {
                return Err(error);
            }
            match result.0.recv_timeout(CANCEL_CHECK_INTERVAL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => {}
                // The worker could not start, has panicked, or was stopped. A panic continues when
                // the threads are joined.
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failures.try_recv().unwrap_or(Error::Cancelled));
                }
            }
        }
    }
}
