//! Responsible for everything that can go wrong here, and for the way out of it.

use std::io;
use std::path::{Path, PathBuf};

use crate::Codec;

/// Why an image could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `create`.
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is no longer what the scan saw: it grew, shrank, vanished or was replaced.
    #[error("`{}` changed while it was packed: {how}", path.display())]
    Changed {
        /// The file on disk.
        path: PathBuf,
        /// What is different.
        how: String,
    },
    /// A value for an option is not one.
    #[error("`{given}` is not a {option}")]
    InvalidOption {
        /// The option's name for a reader: `compression`, `block size`.
        option: &'static str,
        /// What was given.
        given: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// An entry cannot be put into, or taken out of, a tree.
    #[error("cannot add `{}` to the tree: {problem}", path.display())]
    InvalidEntry {
        /// The entry's path inside the tree, or on disk when it was scanned.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no entry at this path.
    #[error("`{}` is not in `{}`", path.display(), container.display())]
    NotFound {
        /// The path inside.
        path: PathBuf,
        /// The image it was looked for in, or `the tree`.
        container: PathBuf,
    },
    /// A file is not an image, or a damaged one.
    #[error("`{}` is damaged or not an image: {problem}", path.display())]
    Corrupt {
        /// The image or SIF file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// A file is valid, but uses something that is not supported here.
    #[error("`{}` cannot be used: {problem}", path.display())]
    Unsupported {
        /// The image or SIF file.
        path: PathBuf,
        /// The feature, by name.
        problem: String,
    },
    /// The blocks of an image cannot go into another, for no image of its codec is written here.
    #[error("cannot add to `{}`: its codec, {codec}, is only read here", path.display())]
    DonorCodec {
        /// The donor.
        path: PathBuf,
        /// Its codec.
        codec: Codec,
    },
    /// What was asked for is not what binds the donor's blocks.
    #[error("cannot add {asked} to `{}`, which has {bound}: an image has one codec and one block size", path.display())]
    DonorBinds {
        /// The donor.
        path: PathBuf,
        /// What was asked for.
        asked: String,
        /// What the donor has.
        bound: String,
        /// About how long packing everything anew takes.
        anew: std::time::Duration,
    },
    /// A file is shorter than it says.
    #[error("`{}` is truncated: it has {found} of {expected} bytes", path.display())]
    Truncated {
        /// The image or SIF file.
        path: PathBuf,
        /// Bytes it should have at least.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A SIF's root file system is encrypted.
    #[error("`{}` cannot be read: its root file system is encrypted", path.display())]
    Encrypted {
        /// The SIF file.
        path: PathBuf,
    },
    /// A SIF holds no root file system.
    #[error("`{}` holds no root file system", path.display())]
    NoPrimaryPartition {
        /// The SIF file.
        path: PathBuf,
    },
    /// A SIF cannot be made or changed in this way.
    #[error("cannot change `{}`: {problem}", path.display())]
    SifChange {
        /// The SIF file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A SIF is not signed as it should be, or not what was signed.
    #[error("`{}` is not verified: {problem}", path.display())]
    Unverified {
        /// The SIF file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A file is no key, or one that cannot be used.
    #[error("`{}` is no key that can be used: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A packed image does not hold what was packed.
    #[error("`{}` in `{}` is not what was packed: {problem}", entry.display(), image.display())]
    Mismatch {
        /// The image that was read back.
        image: PathBuf,
        /// The entry that differs.
        entry: PathBuf,
        /// What differs.
        problem: String,
    },
    /// A codec's library refused its work.
    #[error("failed to {action} with {codec}: {problem}")]
    Codec {
        /// `compress` or `decompress`.
        action: &'static str,
        /// The codec's name.
        codec: &'static str,
        /// The library's words.
        problem: String,
    },
    /// A file system has too little room for an image's files.
    #[error("cannot unpack into `{}`: {needed} {unit} are needed, {free} are free", path.display())]
    NoSpace {
        /// Where it was to be unpacked.
        path: PathBuf,
        /// What the image's files take.
        needed: u64,
        /// What this user may have.
        free: u64,
        /// Of what: `bytes` or `files`.
        unit: &'static str,
    },
    /// The system refuses to start a thread for the work.
    #[error(transparent)]
    Thread(#[from] condense_threads::Error),
    /// The caller asked to stop.
    #[error("the work was cancelled")]
    Cancelled,
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
            Error::Thread(error) => Some(error.hint()),
            Error::NoSpace { .. } => {
                Some("free some space, or choose another file system".to_owned())
            }
            Error::Changed { .. } => {
                Some("let nothing write to the tree while it is packed, then try again".to_owned())
            }
            Error::InvalidOption { expected, .. } => Some(format!("use {expected}")),
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
            Error::DonorBinds { bound, anew, .. } => Some(format!(
                "use {bound}, pack everything anew with `--recompress` (about {} s), or put what is new into an overlay of its own",
                anew.as_secs().max(1)
            )),
            Error::Encrypted { .. } => Some("use the SIF that it was encrypted from".to_owned()),
            Error::NoPrimaryPartition { .. } => {
                Some("`condense sif list` shows what it holds".to_owned())
            }
            _ => None,
        }
    }
}
