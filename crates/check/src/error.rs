//! Responsible for the errors of examining files and images.

use std::path::PathBuf;

use condense_diagnostics::Hint;

/// Reason why a file or an image could not be examined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation of the file system failed.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// Attempted action, as a verb.
        action: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// An image could not be read.
    #[error(transparent)]
    Image(#[from] condense_image::Error),
}

impl Error {
    /// Wraps an I/O error with the attempted action and the path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
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
            Self::Image(error) => error.hint(),
            Self::Io { .. } => None,
        }
    }
}
