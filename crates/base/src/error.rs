//! Responsible for everything that can go wrong here, and for the way out of it.

use std::io;
use std::path::{Path, PathBuf};

use crate::reference;

/// Why a base cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The reference is not to a file on this machine.
    #[error(
        "cannot use `{reference}` as the base: only a local file or directory can be one for now"
    )]
    Remote {
        /// What was given.
        reference: String,
    },
    /// There is nothing at the path.
    #[error("the base `{}` does not exist", path.display())]
    Missing {
        /// What was given.
        path: PathBuf,
        /// Where it leads, when it is a link.
        target: Option<PathBuf>,
    },
    /// A file is of another format.
    #[error("the base `{}` is {found}, not a SIF, a SquashFS image or a directory", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// A directory or an image holds something else than a system.
    #[error("the base `{}` holds no root file system: it has neither `usr` nor `bin/sh`", path.display())]
    NotRootFileSystem {
        /// The directory or image.
        path: PathBuf,
    },
    /// The base's programs do not run on this machine.
    #[error("the base `{}` is for {found}, but this machine is {host}", path.display())]
    WrongArchitecture {
        /// The base.
        path: PathBuf,
        /// What it is for.
        found: String,
        /// What this machine is.
        host: String,
    },
    /// The operating system refused something.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `open`.
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The image is truncated, damaged, encrypted, or of a kind that cannot be read.
    #[error(transparent)]
    Image(#[from] condense_image::Error),
}

impl Error {
    /// Turns an I/O error into one that says what was tried, and on which file.
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

    /// The way out, in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Remote { reference } => Some(reference::render_hint(reference)),
            Error::Missing {
                target: Some(target),
                ..
            } => Some(format!(
                "it is a link to `{}`, which is not there",
                target.display()
            )),
            Error::Missing { target: None, .. } | Error::NotAnImage { .. } => Some(
                "name a .sif file, as `apptainer pull` or `apptainer build` makes it, or a sandbox directory"
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
                io::ErrorKind::PermissionDenied => {
                    Some("ask its owner to let you read it, or copy it".to_owned())
                }
                _ => None,
            },
            Error::Image(error) => error.hint(),
        }
    }
}
