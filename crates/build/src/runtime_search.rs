//! Responsible for finding the runtime while a run opens its base and resolves its request: a
//! runtime takes 20 ms to tell its version, for which the first container would wait.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use condense_installation::{Result, Runtime};

use crate::session::Session;

/// Search for the runtime of a run, in a thread of its own.
pub(crate) struct RuntimeSearch {
    thread: Mutex<Option<JoinHandle<Result<Runtime>>>>,
    /// Flag that ends the search.
    is_over: Arc<AtomicBool>,
}

impl RuntimeSearch {
    /// Starts the search of a run.
    pub(crate) fn start(session: Session) -> Self {
        let named = session.settings.runtime.clone();
        let search_path = session.search_path.to_owned();
        let report = Arc::clone(session.report);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let find = move || {
            let stopped = || over.load(Ordering::Relaxed) || report.cancelled();
            Runtime::find_unless(&stopped, named.as_deref(), &search_path)
        };
        Self {
            thread: Mutex::new(condense_threads::spawn(find).ok()),
            is_over,
        }
    }

    /// Waits for the result. Returns `None` if there is no thread, or if the result was taken.
    pub(crate) fn take(&self) -> Option<Result<Runtime>> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.take()?.join().ok()
    }
}

impl Drop for RuntimeSearch {
    /// Ends a runtime that is still telling its version.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.take());
    }
}
