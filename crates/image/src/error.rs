//! Responsible for the errors of this crate and for hints about what to do.

use std::io;
use std::path::{Path, PathBuf};

use condense_diagnostics::{Hint, closest};

use crate::Codec;

/// Error of reading, writing or checking an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system returned an error.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// Action that failed, as a verb: `read`, `create`.
        action: &'static str,
        /// File of the action.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file is no longer the one that the scan saw: it grew, shrank, vanished or was replaced.
    #[error("`{}` changed while it was packed: {how}", path.display())]
    Changed {
        /// Path of the file on disk.
        path: PathBuf,
        /// Description of the change.
        how: String,
    },
    /// The value of an option is not valid.
    #[error("`{given}` is not a {option}")]
    InvalidOption {
        /// Name of the option for users: `compression`, `block size`.
        option: &'static str,
        /// Value that was given.
        given: String,
        /// Description of the values that are accepted.
        expected: &'static str,
    },
    /// An entry cannot be added to, or removed from, a tree.
    #[error("cannot add `{}` to the tree: {problem}", path.display())]
    InvalidEntry {
        /// Path of the entry inside the tree, or on disk if it was scanned.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// A file of this machine is larger than what is read of files whose size is unknown.
    #[error("`{}` {problem}", path.display())]
    UnknownSize {
        /// Path of the file on disk.
        path: PathBuf,
        /// Description of the file.
        problem: &'static str,
    },
    /// There is no entry at this path.
    #[error("`{}` is not in `{}`", path.display(), container.display())]
    NotFound {
        /// Path inside the image or tree.
        path: PathBuf,
        /// Image that was searched, or `the tree`.
        container: PathBuf,
    },
    /// A file is not an image, or it is a damaged image.
    #[error("`{}` is damaged or not an image: {problem}", path.display())]
    Corrupt {
        /// Path of the image or SIF file.
        path: PathBuf,
        /// Description of the inconsistency.
        problem: String,
    },
    /// A file is valid, but uses a feature that this crate does not support.
    #[error("`{}` cannot be used: {problem}", path.display())]
    Unsupported {
        /// Path of the image or SIF file.
        path: PathBuf,
        /// Description of the feature.
        problem: String,
    },
    /// The blocks of an image cannot be reused, because this crate cannot write images of its
    /// codec.
    #[error("cannot add to `{}`: its codec, {codec}, is only read here", path.display())]
    DonorCodec {
        /// Path of the donor image.
        path: PathBuf,
        /// Codec of the donor image.
        codec: Codec,
    },
    /// The requested codec or block size differs from that of the donor image.
    #[error("cannot add {requested} to `{}`, which has {required}: an image has one codec and one block size", path.display())]
    DonorMismatch {
        /// Path of the donor image.
        path: PathBuf,
        /// Requested codec or block size.
        requested: String,
        /// Codec or block size of the donor image.
        required: String,
        /// Estimated time for packing everything again without a donor.
        repack_time: std::time::Duration,
    },
    /// A file is shorter than its header says.
    #[error("`{}` is truncated: it has {found} of {expected} bytes", path.display())]
    Truncated {
        /// Path of the image or SIF file.
        path: PathBuf,
        /// Smallest length that the file should have, in bytes.
        expected: u64,
        /// Length of the file in bytes.
        found: u64,
    },
    /// The root file system of a SIF file is encrypted.
    #[error("`{}` cannot be read: its root file system is encrypted", path.display())]
    Encrypted {
        /// Path of the SIF file.
        path: PathBuf,
    },
    /// A SIF file contains no root file system.
    #[error("`{}` holds no root file system", path.display())]
    NoPrimaryPartition {
        /// Path of the SIF file.
        path: PathBuf,
    },
    /// A SIF file cannot be created or changed as requested.
    #[error("cannot change `{}`: {problem}", path.display())]
    SifChange {
        /// Path of the SIF file.
        path: PathBuf,
        /// Reason why the change is impossible.
        problem: String,
    },
    /// A SIF file has no valid signature, or its content is not what was signed.
    #[error("`{}` is not verified: {problem}", path.display())]
    Unverified {
        /// Path of the SIF file.
        path: PathBuf,
        /// Reason why the verification failed.
        problem: String,
    },
    /// A file contains no key, or a key that cannot be used.
    #[error("`{}` is no key that can be used: {problem}", path.display())]
    Key {
        /// Path of the key file.
        path: PathBuf,
        /// Reason why the key cannot be used.
        problem: String,
    },
    /// A packed image does not contain what was packed.
    #[error("`{}` in `{}` is not what was packed: {problem}", entry.display(), image.display())]
    Mismatch {
        /// Path of the image that was read back.
        image: PathBuf,
        /// Path of the entry that differs.
        entry: PathBuf,
        /// Description of the difference.
        problem: String,
    },
    /// The library of a codec returned an error.
    #[error("failed to compress with {codec}: {problem}")]
    Codec {
        /// Codec of the library.
        codec: Codec,
        /// Message of the library.
        problem: String,
    },
    /// The file system has too little free space for the files of an image.
    #[error("cannot unpack into `{}`: {needed} {unit} are needed, {free} are free", path.display())]
    NoSpace {
        /// Directory that the image was to be unpacked into.
        path: PathBuf,
        /// Amount that the files of the image need, in `unit`.
        needed: u64,
        /// Amount that is available to this user, in `unit`.
        free: u64,
        /// Unit of the two amounts.
        unit: SpaceUnit,
    },
    /// The operating system refuses to start a thread.
    #[error(transparent)]
    Thread(#[from] condense_threads::Error),
    /// The caller cancelled the work.
    #[error("interrupted")]
    Cancelled,
}

/// Unit in which a file system limits its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceUnit {
    /// Bytes of file contents.
    Bytes,
    /// Number of inodes, one for each file.
    Files,
}

impl std::fmt::Display for SpaceUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SpaceUnit::Bytes => "bytes",
            SpaceUnit::Files => "files",
        })
    }
}

impl From<condense_publish::Error> for Error {
    fn from(error: condense_publish::Error) -> Error {
        let (action, path, source) = error.into_parts();
        Error::Io {
            action,
            path,
            source,
        }
    }
}

impl Error {
    /// Converts an I/O error into an error that names the action and the file.
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
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => {
                    Some("free some space, or write to another file system".to_owned())
                }
                io::ErrorKind::QuotaExceeded => {
                    Some("free some quota, or write to another file system".to_owned())
                }
                io::ErrorKind::AlreadyExists => {
                    Some("remove it first, or choose another name".to_owned())
                }
                _ => None,
            },
            Error::Thread(error) => error.hint(),
            Error::NoSpace { .. } => {
                Some("free some space, or choose another file system".to_owned())
            }
            Error::Changed { .. } => {
                Some("let nothing write to the tree while it is packed, then try again".to_owned())
            }
            Error::InvalidOption {
                given, expected, ..
            } => Some(match similar_option(given, expected) {
                Some(similar) => format!("did you mean `{similar}`? use {expected}"),
                None => format!("use {expected}"),
            }),
            Error::UnknownSize { .. } => {
                Some("copy what you need of it to a file, and name that one".to_owned())
            }
            Error::Mismatch { .. } => {
                Some("the file system or the memory may be faulty: try another one".to_owned())
            }
            Error::Truncated { .. } => {
                Some("it was not copied or downloaded wholly: do that again".to_owned())
            }
            Error::DonorCodec { .. } => Some(
                "pack everything anew with `--recompress`, or put what is new into an overlay of its own"
                    .to_owned(),
            ),
            Error::DonorMismatch { required, repack_time, .. } => Some(format!(
                "use {required}, pack everything anew with `--recompress` (about {} s), or put what is new into an overlay of its own",
                repack_time.as_secs().max(1)
            )),
            Error::Encrypted { .. } => Some("use the SIF that it was encrypted from".to_owned()),
            Error::NoPrimaryPartition { .. } => {
                Some("`condense sif list` shows what it holds".to_owned())
            }
            _ => None,
        }
    }
}

/// Returns the accepted word that is most similar to the first word of `given`, for example `zstd`
/// for `zst:3`. Returns `None` if the first word is accepted, or is no word.
fn similar_option<'e>(given: &str, expected: &'e str) -> Option<&'e str> {
    let word = given.split(':').next().filter(|word| !word.is_empty())?;
    let words = expected.split([' ', ',', ':', '.']);
    let words = words.filter(|word| word.starts_with(char::is_alphabetic));
    if words.clone().any(|known| known == word) {
        return None;
    }
    closest(word, words)
}
