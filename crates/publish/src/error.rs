//! Responsible for the errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

use condense_diagnostics::Hint;

/// An error that kept a file or directory from being written, named or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// The attempted action, as a verb: `write`, `create`.
        action: &'static str,
        /// The file or directory on which the action failed.
        path: PathBuf,
        /// The error that the operating system returned.
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

    /// Returns the kind of the error that the operating system returned.
    pub fn source_kind(&self) -> io::ErrorKind {
        let Error::Io { source, .. } = self;
        source.kind()
    }

    /// Splits the error into the attempted action, its path and the operating system's error.
    pub fn into_parts(self) -> (&'static str, PathBuf, io::Error) {
        let Error::Io {
            action,
            path,
            source,
        } = self;
        (action, path, source)
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self.source_kind() {
            io::ErrorKind::StorageFull => "free some space, or write to another file system",
            io::ErrorKind::QuotaExceeded => "free some quota, or write to another file system",
            io::ErrorKind::AlreadyExists => "remove it first, or choose another name",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
