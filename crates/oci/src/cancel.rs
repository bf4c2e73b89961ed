//! Responsible for stopping work when the user cancels it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Error;

/// Interval at which the flag is read while other work is awaited.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A flag that is set when the user cancels the work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(pub(crate) Option<Arc<AtomicBool>>);

impl Cancel {
    pub(crate) fn is_set(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_set() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Runs `work`, but returns [`Error::Cancelled`] as soon as the flag is set.
    pub(crate) async fn or<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let stop = async {
            while !self.is_set() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            result = work => result,
            () = stop => Err(Error::Cancelled),
        }
    }
}
