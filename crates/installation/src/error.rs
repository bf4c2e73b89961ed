//! Responsible for the errors of this crate and the hints for their remedy.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use condense_diagnostics::Hint;

/// A `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Error of an operation on an installation or of the container runtime.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system returned an error. The text names the operation and the path.
    #[error(transparent)]
    Io(io::Error),
    /// The destination is a file, a device or a dangling link.
    #[error("`{}` is not a directory", path.display())]
    NotADirectory {
        /// The destination as given.
        path: PathBuf,
    },
    /// The destination holds an installation, and its replacement was not requested.
    #[error("`{}` already holds an installation", path.display())]
    AlreadyInstalled {
        /// The destination as given.
        path: PathBuf,
    },
    /// The destination holds an installation made by Tykky.
    #[error("`{}` holds an installation made by Tykky", path.display())]
    TykkyInstallation {
        /// The destination as given.
        path: PathBuf,
    },
    /// A configuration file of Tykky cannot be understood.
    #[error("`{}` is not what Tykky writes: {problem}", path.display())]
    TykkyConfiguration {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// The destination holds files that belong to no installation.
    #[error("`{}` is not empty and not an installation", path.display())]
    NotEmpty {
        /// The destination as given.
        path: PathBuf,
    },
    /// The directory holds no installation made by condense.
    #[error("`{}` holds no installation made by condense", path.display())]
    NoInstallation {
        /// The directory as given.
        path: PathBuf,
    },
    /// The path is a link to an installation, but the operation needs the installation itself.
    #[error("`{}` is a link to `{}`", path.display(), target.display())]
    Link {
        /// Path of the link.
        path: PathBuf,
        /// Target of the link.
        target: PathBuf,
    },
    /// The directory holds a file that is no part of the installation that is to be removed.
    #[error("`{}` has `{}` in it, which is no part of the installation", path.display(), name.display())]
    NotOfInstallation {
        /// Directory of the installation.
        path: PathBuf,
        /// Name of the file in that directory.
        name: OsString,
    },
    /// The generation does not exist.
    #[error("`{}` has {}", path.display(), match asked { Some(number) => format!("no generation {number}"), None => "no older generation".to_owned() })]
    NoGeneration {
        /// Directory of the installation.
        path: PathBuf,
        /// Number of the generation that was requested, if one was.
        asked: Option<u32>,
    },
    /// Another build into the same destination is running.
    #[error("another build into `{}` is running", path.display())]
    Busy {
        /// The destination as given.
        path: PathBuf,
        /// Path of the file or directory that this build holds locked.
        held: PathBuf,
    },
    /// The runtime's syntax cannot express this path.
    #[error("cannot show `{}` in a container: its path is relative or contains `:` or `,`", path.display())]
    CannotBind {
        /// Path that cannot be bound.
        path: PathBuf,
    },
    /// The environment has no program, so `bin/` would be empty.
    #[error("there is no program to put into `bin`")]
    NoPrograms,
    /// Two programs would get the same file name in `bin`.
    #[error("Multiple binaries with the same name: `{}`", name.display())]
    DuplicateProgram {
        /// Name of both programs.
        name: OsString,
    },
    /// The name cannot be a file name in `bin`, or belongs to one of condense's own wrappers.
    #[error("`{}` cannot be the name of a wrapper", name.display())]
    ProgramName {
        /// Name of the program.
        name: OsString,
    },
    /// The value cannot be written into common.sh.
    #[error("`{value}` is not {expected}")]
    Value {
        /// Value that was refused.
        value: String,
        /// Description of the expected value, with its article.
        expected: &'static str,
    },
    /// The directory for copies on this node is not the user's own.
    #[error("`{}` is no directory that only this user can write into", path.display())]
    NodeDir {
        /// Path of the directory.
        path: PathBuf,
    },
    /// Other users can replace the directory for copies on this node.
    #[error("other users can write into `{}`, where they could replace copies", path.display())]
    NodeParent {
        /// Path of the directory that others can write into.
        path: PathBuf,
    },
    /// An image, or its copy on this node, has other bytes than it should have.
    #[error("`{}` {}", path.display(), match expected { Some(digest) => format!("is not what was recorded, sha256 {digest}: its sha256 is {found}"), None => "was changed while it was copied".to_owned() })]
    NodeCopyDiffers {
        /// Path of the file.
        path: PathBuf,
        /// Digest of the file.
        found: String,
        /// Digest that was recorded when the image was made, if one was.
        expected: Option<String>,
    },
    /// PATH has no container runtime.
    #[error("neither apptainer nor singularity is on PATH")]
    NoRuntime,
    /// The runtime that was named does not exist. The wording is Tykky's.
    #[error("{} does not exists", path.display())]
    RuntimeMissing {
        /// Path or name of the runtime, as it was given.
        path: PathBuf,
    },
    /// The file that was named is not a container runtime. The wording is Tykky's.
    #[error("{} does not seem to be a valid apptainer/singularity executable", path.display())]
    RuntimeInvalid {
        /// Path or name of the runtime, as it was given.
        path: PathBuf,
    },
    /// The runtime could not start for lack of memory, processes or descriptors.
    #[error("cannot start `{}`: {reason}", path.display())]
    RuntimeNotStarted {
        /// Path of the runtime.
        path: PathBuf,
        /// Reason of the system, or what the runtime wrote.
        reason: String,
    },
    /// The runtime does not tell its version.
    #[error("`{} --version` has not ended after a minute", path.display())]
    RuntimeSilent {
        /// Path of the runtime.
        path: PathBuf,
    },
    /// The runtime could not start a container.
    #[error("the container runtime failed ({status}): {cause}\n  {command}")]
    RuntimeFailed {
        /// Whole command line, quoted for a shell.
        command: String,
        /// Exit status of the runtime.
        status: String,
        /// The runtime's own FATAL line, or the last lines that it wrote.
        cause: String,
    },
    /// The file is not a valid receipt.
    #[error("failed to read the receipt `{}`", path.display())]
    Receipt {
        /// Path of the receipt.
        path: PathBuf,
        /// Error of the JSON parser.
        source: serde_json::Error,
    },
    /// The receipt was written by a newer condense.
    #[error("the receipt `{}` has format {found}, this condense reads up to {known}", path.display())]
    ReceiptTooNew {
        /// Path of the receipt.
        path: PathBuf,
        /// Format number in the receipt.
        found: u64,
        /// Newest format number that this condense can read.
        known: u64,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::AlreadyInstalled { .. } => {
                "choose another directory, or add --force to publish a new generation there"
                    .to_owned()
            }
            Self::TykkyInstallation { .. } => {
                "`update` carries it over, or choose another directory: running jobs may still use it"
                    .to_owned()
            }
            Self::NotADirectory { .. } => {
                "choose a directory, or a name that does not exist yet".to_owned()
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
            Self::NodeDir { path } => format!(
                "remove `{}` or have it removed, or name another place with --to",
                path.display()
            ),
            Self::NodeParent { path } => format!(
                "name another place with --to, or close this one with `chmod go-w {}`",
                path.display()
            ),
            Self::NodeCopyDiffers { expected: None, .. } => {
                "copy it again when no program writes to it".to_owned()
            }
            Self::NodeCopyDiffers { .. } => {
                "`condense verify` says what has changed; an update or a new build makes it right"
                    .to_owned()
            }
            Self::NoRuntime => {
                "load or install apptainer or singularity, or name it in the site's configuration"
                    .to_owned()
            }
            Self::RuntimeSilent { .. } => {
                "try it by hand: its file system may not answer; or name another runtime in the site's configuration"
                    .to_owned()
            }
            Self::RuntimeNotStarted { .. } => {
                "raise the limit, or leave it out: `ulimit -a` shows memory, processes and open files"
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
}

impl Error {
    /// Wraps an error of a call that does not know its path. The text has the form of fs-err's
    /// messages.
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

/// Returns a hint for the most common error messages of the runtimes.
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
