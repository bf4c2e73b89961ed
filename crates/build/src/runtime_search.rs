//! Responsible for finding the runtime while a run reads its inputs: a runtime takes as long to
//! tell its version as everything else before the first container.

use std::{
    ffi::OsStr,
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

use condense_installation::{Result, Runtime};

use crate::plan::RunSettings;

/// Search for the runtime of a run, in a thread of its own.
pub(crate) struct RuntimeSearch(Mutex<Option<JoinHandle<Result<Runtime>>>>);

impl RuntimeSearch {
    /// Starts the search; `search_path` is the user's PATH.
    pub(crate) fn start(settings: &RunSettings, search_path: &OsStr) -> Self {
        let (named, search_path) = (settings.runtime.clone(), search_path.to_owned());
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
