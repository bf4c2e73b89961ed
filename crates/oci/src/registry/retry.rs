//! Responsible for retries: after a temporary failure, a request is repeated after a wait that
//! doubles each time, or that the registry names.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;

use crate::Error;
use crate::cancel::Cancel;

/// Maximum wait before a retry.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Options for retries after temporary failures.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Maximum number of tries. For a blob, the count starts again each time a part of the blob has
    /// arrived.
    pub tries: u32,
    /// Wait after the first failure. It doubles after each further failure.
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

/// A temporary or permanent failure.
#[derive(Debug)]
pub(crate) enum Failure {
    Temporary {
        error: Error,
        /// Wait that the registry requests.
        wait: Option<Duration>,
    },
    Permanent(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Permanent(error)
    }
}

impl Retry {
    /// Runs `work` until it succeeds, fails permanently, or has failed too often.
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

    /// Waits after the failure with the number `failed`, or returns its error if no further try is
    /// made.
    pub(crate) async fn wait(
        &self,
        failure: Failure,
        failed: u32,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let (error, asked) = match failure {
            Failure::Permanent(error) => return Err(error),
            Failure::Temporary { error, .. } if failed >= self.tries => return Err(error),
            Failure::Temporary { error, wait } => (error, wait),
        };
        let own = self.first_wait * 2_u32.saturating_pow((failed - 1).min(16));
        let wait = asked.unwrap_or(own);
        if wait > WAIT_MAX && asked.is_some() {
            // If the requested wait is too long for a job, the error is returned at once.
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

/// Returns the seconds in the header `Retry-After`. If the header has its other form, a date, the
/// retry uses its own wait.
pub(crate) fn asked_to_wait(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
