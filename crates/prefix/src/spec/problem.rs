//! Responsible for what is wrong in a file, and where.

use std::path::{Path, PathBuf};

use crate::{error::Error, secrets::without_secrets};

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Problem {
    /// The file, where it is another one than the one that is being read.
    pub(super) file: Option<PathBuf>,
    /// From 1; 0 where no line is to blame.
    pub(super) line: usize,
    /// From 1; 0 where the whole line is to blame.
    pub(super) column: usize,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            file: None,
            line,
            column,
            message: message.into(),
        }
    }

    /// Says which file, unless that is known already.
    pub(super) fn or_in(self, file: &Path) -> Self {
        Self {
            file: self.file.or_else(|| Some(file.to_owned())),
            ..self
        }
    }

    /// The error for whoever reads `file`.
    pub(super) fn into_error(self, file: &Path) -> Error {
        Error::Spec {
            file: self.file.unwrap_or_else(|| file.to_owned()),
            line: self.line,
            column: self.column,
            message: without_secrets(&self.message).into_owned(),
        }
    }
}
