//! Responsible for the errors of this crate and the hints for their remedy.

use std::io;
use std::path::{Path, PathBuf};

use condense_diagnostics::Hint;

/// Reason why a base image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path does not exist.
    #[error("the base `{}` does not exist", path.display())]
    Missing {
        /// Path of the base as it was given.
        path: PathBuf,
        /// Target of the path, if the path is a link.
        target: Option<PathBuf>,
    },
    /// The file is of another format.
    #[error("the base `{}` is {found}, not a SIF, a SquashFS image or a directory", path.display())]
    NotAnImage {
        /// Path of the file.
        path: PathBuf,
        /// Description of the actual kind of file.
        found: &'static str,
    },
    /// The directory or image holds no root file system.
    #[error("the base `{}` holds no root file system: it has neither `usr` nor `bin/sh`", path.display())]
    NotRootFileSystem {
        /// Path of the directory or image.
        path: PathBuf,
    },
    /// The base's programs do not run on this machine.
    #[error("the base `{}` is for {found}, but this machine is {host}", path.display())]
    WrongArchitecture {
        /// Path of the base.
        path: PathBuf,
        /// Architecture of the base.
        found: String,
        /// Architecture of this machine.
        host: String,
    },
    /// The operating system refused an operation.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// Operation that failed, as a verb: `read`, `open`.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The image is truncated, damaged, encrypted, or of a kind that cannot be read.
    #[error(transparent)]
    Image(#[from] condense_image::Error),
}

impl Error {
    /// Returns a function that adds an operation and a path to an I/O error.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Error::Missing {
                target: Some(target),
                ..
            } => Some(format!(
                "it is a link to `{}`, which is not there",
                target.display()
            )),
            Error::Missing { target: None, .. } | Error::NotAnImage { .. } => Some(
                "name a .sif file, as `condense pull` or `apptainer build` makes it, or a sandbox directory"
                    .to_owned(),
            ),
            Error::NotRootFileSystem { .. } => Some(
                "the base is the system that the environment runs in; name its .sif or its sandbox directory"
                    .to_owned(),
            ),
            Error::WrongArchitecture { found, host, .. } => Some(format!(
                "name a base for {host}, or run this on a {found} machine"
            )),
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                    "name a place with more room: `--tmpdir` for scratch, CONDENSE_CACHE_DIR for the cache"
                        .to_owned(),
                ),
                io::ErrorKind::PermissionDenied => {
                    Some("ask its owner to let you read it, or copy it".to_owned())
                }
                _ => None,
            },
            Error::Image(error) => error.hint(),
        }
    }
}
