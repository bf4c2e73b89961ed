//! Responsible for finding the runtime while a run opens its base and resolves its request: a
//! runtime takes 20 ms to tell its version, for which the first container would wait.

use std::{
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

use condense_installation::{Result, Runtime};

use crate::session::Session;

/// Search for the runtime of a run, in a thread of its own.
pub(crate) struct RuntimeSearch(Mutex<Option<JoinHandle<Result<Runtime>>>>);

impl RuntimeSearch {
    /// Starts the search of a run.
    pub(crate) fn start(session: Session) -> Self {
        let named = session.settings.runtime.clone();
        let search_path = session.search_path.to_owned();
        let find = move || Runtime::find(named.as_deref(), &search_path);
        Self(Mutex::new(condense_threads::spawn(find).ok()))
    }

    /// Waits for the result. Returns `None` if there is no thread, or if the result was taken.
    pub(crate) fn take(&self) -> Option<Result<Runtime>> {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        thread.take()?.join().ok()
    }
}

impl Drop for RuntimeSearch {
    /// Waits for a runtime that is still telling its version.
    fn drop(&mut self) {
        drop(self.take());
    }
}
