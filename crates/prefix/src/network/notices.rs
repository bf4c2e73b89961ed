//! Responsible for collecting notices of the network client until a waiting
//! function can pass them on.

use std::sync::{Mutex, PoisonError};

use crate::{
    progress::{Progress, Warning},
    secrets::without_secrets,
};

/// Notices that have not been passed on yet.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Vec<String>>);

impl Notices {
    /// Adds a notice, unless an equal one has not been passed on yet.
    pub(super) fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// Passes all notices to `progress`, without credentials.
    pub(super) fn pass_on(&self, progress: &dyn Progress) {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for line in lines {
            progress.warn(Warning::Notice(without_secrets(&line).into_owned()));
        }
    }
}
