//! Responsible for stopping when the user asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Error;

/// Looked at this often while something else is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the user asked to stop.
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

    /// Waits for `work`, but no longer than until the user asks to stop.
    pub(crate) async fn or<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let stop = async {
            while !self.is_set() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            result = work => result,
            () = stop => Err(Error::Cancelled),
        }
    }
}
