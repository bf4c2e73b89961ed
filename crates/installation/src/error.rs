//! Responsible for everything that can go wrong here, and for the way out where there is one.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no; the text names the operation and the path.
    #[error(transparent)]
    Io(io::Error),
    /// The destination is a file, a device or a dangling link.
    #[error("`{}` is not a directory", path.display())]
    NotADirectory {
        /// The destination as given.
        path: PathBuf,
    },
    /// There is an installation already, and nobody asked to replace it.
    #[error("`{}` already holds an installation", path.display())]
    AlreadyInstalled {
        /// The destination as given.
        path: PathBuf,
    },
    /// There is an installation made by Tykky.
    #[error("`{}` holds an installation made by Tykky", path.display())]
    TykkyInstallation {
        /// The destination as given.
        path: PathBuf,
    },
    /// What Tykky has written down cannot be understood.
    #[error("`{}` is not what Tykky writes: {problem}", path.display())]
    TykkyConfiguration {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There are files of somebody else.
    #[error("`{}` is not empty and not an installation", path.display())]
    NotEmpty {
        /// The destination as given.
        path: PathBuf,
    },
    /// There is no installation of ours to work on.
    #[error("`{}` holds no installation made by condense", path.display())]
    NoInstallation {
        /// The directory as given.
        path: PathBuf,
    },
    /// A link to an installation, where the installation itself is meant.
    #[error("`{}` is a link to `{}`", path.display(), target.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// What is no part of the installation that is to be removed.
    #[error("`{}` has `{}` in it, which is no part of the installation", path.display(), name.display())]
    NotOfInstallation {
        /// The installation.
        path: PathBuf,
        /// What lies in it.
        name: OsString,
    },
    /// A generation that is not there.
    #[error("`{}` has {}", path.display(), match asked { Some(number) => format!("no generation {number}"), None => "no older generation".to_owned() })]
    NoGeneration {
        /// The installation.
        path: PathBuf,
        /// The one that was named.
        asked: Option<u32>,
    },
    /// Another build into the same destination is running.
    #[error("another build into `{}` is running", path.display())]
    Busy {
        /// The destination as given.
        path: PathBuf,
        /// What that build keeps locked.
        held: PathBuf,
    },
    /// The runtime has no way to write this path down.
    #[error("cannot show `{}` in a container: its path is relative or contains `:` or `,`", path.display())]
    CannotBind {
        /// The offending path.
        path: PathBuf,
    },
    /// An environment without a single program: an empty `bin/` helps nobody.
    #[error("there is no program to put into `bin`")]
    NoPrograms,
    /// Two programs want the same file in `bin`.
    #[error("Multiple binaries with the same name: `{}`", name.display())]
    DuplicateProgram {
        /// The name.
        name: OsString,
    },
    /// A name that cannot be a file in `bin`, or that is one of the wrappers' own.
    #[error("`{}` cannot be the name of a wrapper", name.display())]
    ProgramName {
        /// The name.
        name: OsString,
    },
    /// A value that cannot be written into common.sh.
    #[error("`{value}` is not {expected}")]
    Value {
        /// The offending value.
        value: String,
        /// What was expected, with its article.
        expected: &'static str,
    },
    /// No runtime on PATH.
    #[error("neither apptainer nor singularity is on PATH")]
    NoRuntime,
    /// The runtime that was named is not there. The wording is Tykky's.
    #[error("{} does not exists", path.display())]
    RuntimeMissing {
        /// As named.
        path: PathBuf,
    },
    /// What was named is not a runtime. The wording is Tykky's.
    #[error("{} does not seem to be a valid apptainer/singularity executable", path.display())]
    RuntimeInvalid {
        /// As named.
        path: PathBuf,
    },
    /// The runtime could not start a container.
    #[error("the container runtime failed ({status}): {cause}\n  {command}")]
    RuntimeFailed {
        /// The whole command line, quoted.
        command: String,
        /// How it ended.
        status: String,
        /// The runtime's own FATAL line, or the last lines that it wrote.
        cause: String,
    },
    /// A receipt that is not one.
    #[error("failed to read the receipt `{}`", path.display())]
    Receipt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A receipt written by a newer condense.
    #[error("the receipt `{}` has format {found}, this condense reads up to {known}", path.display())]
    ReceiptTooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
}

impl Error {
    /// The way out, in one sentence, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AlreadyInstalled { .. } => {
                "choose another directory, or add --force to publish a new generation there"
                    .to_owned()
            }
            Self::TykkyInstallation { .. } => {
                "`update` carries it over, or choose another directory: running jobs may still use it"
                    .to_owned()
            }
            Self::NotEmpty { .. } => {
                "choose a directory that is empty or does not exist yet".to_owned()
            }
            Self::Link { target, .. } => {
                format!("remove the link with rm, or name `{}`", target.display())
            }
            Self::NotOfInstallation { path, name } => {
                format!("move `{}` away first", path.join(name).display())
            }
            Self::NoGeneration { path, .. } => {
                format!("`condense info {}` shows what there is", path.display())
            }
            Self::Busy { held, .. } => {
                format!("wait for it; if there is none, remove `{}`", held.display())
            }
            Self::CannotBind { .. } => {
                "choose an absolute path without these characters".to_owned()
            }
            Self::NoRuntime => {
                "load or install apptainer or singularity, or name it in the site's configuration"
                    .to_owned()
            }
            Self::RuntimeFailed { cause, .. } => return hint_for_runtime(cause).map(str::to_owned),
            Self::ReceiptTooNew { .. } => {
                "use the condense that built the installation, or a newer one".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Wraps an error of a call that does not know its path, in fs-err's form.
    pub(crate) fn at(doing: &str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self::Io(io::Error::new(
            source.kind(),
            PathError {
                text: format!("failed to {doing} `{}`", path.display()),
                source,
            },
        ))
    }
}

impl From<condense_publish::Error> for Error {
    fn from(error: condense_publish::Error) -> Self {
        let (doing, path, source) = error.into_parts();
        Self::at(doing, &path, source)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct PathError {
    text: String,
    source: io::Error,
}

/// What the runtimes' most common complaints mean for a user.
fn hint_for_runtime(cause: &str) -> Option<&'static str> {
    const HINTS: [(&[&str], &str); 10] = [
        (
            &["user namespace", "clone_newuser", "requires setuid"],
            "the runtime has neither setuid nor user namespaces on this machine: ask its administrators, or build on another node",
        ),
        (
            &["unknown compression algorithm"],
            "SingularityCE, and apptainer before 1.4, read no zstd: take a base or an image that is compressed with gzip",
        ),
        (
            &["bad superblock"],
            "the base or the image is not whole, or compressed in a way that this machine cannot mount: fetch it again, or choose gzip",
        ),
        (
            &["/dev/fuse", "squashfuse", "fusermount"],
            "install squashfuse and make /dev/fuse usable for ordinary users",
        ),
        (
            &["loop device"],
            "no loop device is free: try again, or ask the administrators to raise `max loop devices`; SingularityCE without its setuid part mounts no images at all",
        ),
        (
            &["architecture", "exec format error"],
            "the base is for another processor: name a base for this machine",
        ),
        (
            &["requesting capability set", "operation not permitted"],
            "the runtime lacks privileges here: as root inside a container or VM try the same as an ordinary user",
        ),
        (
            &["mount point", "destination", "underlay", "overlay"],
            "the runtime cannot create the mount point in this base: use a mount point that exists in it, or a runtime with overlay or underlay",
        ),
        (
            &[
                "image format",
                "not a valid",
                "sif header",
                "unexpected eof",
                "bad magic",
            ],
            "the base is not a whole .sif file: fetch it again",
        ),
        (
            &["no such file", "not found"],
            "check that the base is there and has /bin/sh; where the host's directories are shown over it, both must agree on whether /bin is a link to /usr/bin",
        ),
    ];
    let cause = cause.to_lowercase();
    HINTS
        .iter()
        .find(|(words, _)| words.iter().any(|word| cause.contains(word)))
        .map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_io_error_names_its_path_once() {
        let error = Error::at(
            "lock",
            Path::new("/x/lock"),
            io::Error::from_raw_os_error(11),
        );
        assert_eq!(error.to_string(), "failed to lock `/x/lock`");
        assert!(
            std::error::Error::source(&error)
                .unwrap()
                .to_string()
                .contains("unavailable")
        );
    }

    #[test]
    fn runtime_complaints_get_hints() {
        let hint = |cause: &str| {
            Error::RuntimeFailed {
                command: String::new(),
                status: String::new(),
                cause: cause.to_owned(),
            }
            .hint()
        };
        assert!(
            hint("Failed to create user namespace: user namespace disabled")
                .unwrap()
                .contains("setuid")
        );
        assert!(hint("no loop devices available").unwrap().contains("loop"));
        let zstd = "while checking squashfs header: corrupted image: unknown compression algorithm value 6";
        assert!(hint(zstd).unwrap().contains("gzip"));
        assert!(
            hint("the image's architecture (arm64) could not run on the host's (amd64)")
                .unwrap()
                .contains("processor")
        );
        assert_eq!(hint("something unheard of"), None);
    }
}
