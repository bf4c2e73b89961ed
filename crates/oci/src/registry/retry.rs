//! Responsible for trying again: what may pass is waited for, longer each time, or as long as the
//! registry asks.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;

use crate::Error;
use crate::cancel::Cancel;

/// No registry is waited for longer than this at a time.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// How failures that may pass are met.
#[derive(Debug, Clone)]
pub struct Retry {
    /// So often in all. For a blob counted anew each time something of it has arrived.
    pub tries: u32,
    /// Waited after the first failure, and twice as long after each more.
    pub first_wait: Duration,
    /// The time after which a registry is asked again if it has sent nothing or less than 512
    /// bytes per second.
    pub silence: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            tries: 6,
            first_wait: Duration::from_millis(500),
            silence: Duration::from_secs(60),
        }
    }
}

/// A failure, and whether it may pass.
#[derive(Debug)]
pub(crate) enum Failure {
    Passing {
        error: Error,
        /// As the registry asks.
        wait: Option<Duration>,
    },
    Lasting(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Lasting(error)
    }
}

impl Retry {
    /// Does `work` until it succeeds, fails for good, or has failed too often.
    pub(crate) async fn run<T>(
        &self,
        cancel: &Cancel,
        work: impl AsyncFn() -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut failed = 0;
        loop {
            match work().await {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    failed += 1;
                    self.wait(failure, failed, cancel).await?;
                }
            }
        }
    }

    /// Waits after the `failed`th failure, or gives up.
    pub(crate) async fn wait(
        &self,
        failure: Failure,
        failed: u32,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let (error, asked) = match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Passing { error, .. } if failed >= self.tries => return Err(error),
            Failure::Passing { error, wait } => (error, wait),
        };
        let own = self.first_wait * 2_u32.saturating_pow((failed - 1).min(16));
        let wait = asked.unwrap_or(own);
        if wait > WAIT_MAX && asked.is_some() {
            // Who asks for an hour is not going to answer this job.
            return Err(error);
        }
        cancel
            .or(async {
                tokio::time::sleep(wait.min(WAIT_MAX)).await;
                Ok(())
            })
            .await
    }
}

/// Seconds from `Retry-After`. The other form, a date, is left to our own patience.
pub(crate) fn asked_to_wait(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
