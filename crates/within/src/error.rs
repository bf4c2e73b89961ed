//! Responsible for the errors of this crate.

use std::{
    io,
    path::{Path, PathBuf},
};

use condense_diagnostics::Hint;

/// Error of a file operation below a directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// Attempted operation, as a verb: `read`, `create`.
        action: &'static str,
        /// File or directory of the operation.
        path: PathBuf,
        /// Error that the operating system returned.
        source: io::Error,
    },
    /// A symbolic link that a package or a script has put into the directory leads out of it.
    #[error("`{}` is not used: a link on the way there leads out of `{}`", path.display(), root.display())]
    LeadsOut {
        /// Path that was to be read or written.
        path: PathBuf,
        /// Directory that links must not lead out of.
        root: PathBuf,
    },
}

impl Error {
    /// Wraps an I/O error with the attempted operation and the path.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::LeadsOut { .. } => {
                Some("leave out the package, or the script, that has put the link there".to_owned())
            }
            Self::Io { .. } => None,
        }
    }
}
