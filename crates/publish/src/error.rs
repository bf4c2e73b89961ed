//! Responsible for everything that can go wrong here.

use std::io;
use std::path::{Path, PathBuf};

/// Why something did not get its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: `write`, `create`.
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// Turns an I/O error into one that says what was tried, and on which file.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source: source.into(),
        }
    }

    /// The system's answer.
    pub fn source_kind(&self) -> io::ErrorKind {
        let Error::Io { source, .. } = self;
        source.kind()
    }

    /// What was tried, on what, and the system's answer.
    pub fn into_parts(self) -> (&'static str, PathBuf, io::Error) {
        let Error::Io {
            action,
            path,
            source,
        } = self;
        (action, path, source)
    }

    /// The way out, in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self.source_kind() {
            io::ErrorKind::StorageFull => "free some space, or write to another file system",
            io::ErrorKind::QuotaExceeded => "free some quota, or write to another file system",
            io::ErrorKind::AlreadyExists => "remove it first, or choose another name",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
