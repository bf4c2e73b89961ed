//! Responsible for what the network has to say while others wait for it.

use std::sync::{Mutex, PoisonError};

use crate::{
    progress::{Progress, Warning},
    secrets::without_secrets,
};

/// Lines that wait for somebody who listens.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Vec<String>>);

impl Notices {
    /// Adds a line; one that still waits is not said twice.
    pub(super) fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// Tells everything that waits, without credentials.
    pub(super) fn pass_on(&self, progress: &dyn Progress) {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for line in lines {
            progress.warn(Warning::Notice(without_secrets(&line).into_owned()));
        }
    }
}
