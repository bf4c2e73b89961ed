//! Responsible for what is wrong in a file, and where.

use std::path::{Path, PathBuf};

use crate::{error::Error, secrets::without_secrets, text::NoText};

/// The numbers of characters at the beginning and at the end of a message that are shown. Files may
/// have lines of megabytes, so the middle of a long message is left out.
const SHOWN: (usize, usize) = (600, 300);

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
            message: shortened(&without_secrets(&self.message)),
        }
    }
}

impl From<NoText> for Problem {
    fn from(no_text: NoText) -> Self {
        Self::new(no_text.line, 0, no_text.message)
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
