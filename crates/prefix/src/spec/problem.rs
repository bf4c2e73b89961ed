//! Responsible for mistakes in a file and their positions.

use std::path::{Path, PathBuf};

use crate::{error::Error, secrets::without_secrets, text::DecodeError};

/// Numbers of characters that are shown of the beginning and of the end of a long message. The
/// middle is left out, because files may have lines of megabytes.
const SHOWN: (usize, usize) = (600, 300);

/// A mistake in a file, and its position.
#[derive(Debug)]
pub(super) struct Problem {
    /// File with the mistake, if it is not the file that the user gave.
    pub(super) file: Option<PathBuf>,
    /// Line number, from 1; 0 for the whole file.
    pub(super) line: usize,
    /// Column number, from 1; 0 for the whole line.
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

    /// Sets the file, unless it is set already.
    pub(super) fn or_in(self, file: &Path) -> Self {
        Self {
            file: self.file.or_else(|| Some(file.to_owned())),
            ..self
        }
    }

    /// Converts the problem into an error about `file`, or about the file that is set.
    pub(super) fn into_error(self, file: &Path) -> Error {
        Error::Spec {
            file: self.file.unwrap_or_else(|| file.to_owned()),
            line: self.line,
            column: self.column,
            message: shortened(&without_secrets(&self.message)),
        }
    }
}

impl From<DecodeError> for Problem {
    fn from(decode_error: DecodeError) -> Self {
        Self::new(decode_error.line, 0, decode_error.message)
    }
}

fn shortened(message: &str) -> String {
    let (first, last) = SHOWN;
    let at = |character: usize| message.char_indices().nth(character).map(|(at, _)| at);
    let length = message.chars().count();
    match (at(first), at(length.saturating_sub(last))) {
        (Some(first_end), Some(last_begin)) if length > first + last => {
            format!("{} … {}", &message[..first_end], &message[last_begin..])
        }
        _ => message.to_owned(),
    }
}
