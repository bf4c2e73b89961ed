//! Responsible for the errors of this crate.

use std::path::PathBuf;

use condense_diagnostics::Hint;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Reason why a module cannot be written or its software cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Name or version that Lmod or Environment Modules would not find.
    #[error("`{word}` cannot be the {what} of a module: {problem}")]
    Name {
        /// Name or version that the user gave.
        word: String,
        /// Either `name` or `version`.
        what: &'static str,
        /// Reason for the refusal.
        problem: &'static str,
    },
    /// Path that a bind mount or a search path cannot contain.
    #[error("`{}` cannot hold a module: {problem}", path.display())]
    Path {
        /// Directory or image that was named.
        path: PathBuf,
        /// Reason for the refusal.
        problem: &'static str,
    },
    /// Module file or directory that exists already.
    #[error("`{}` is there already{}", path.display(), if *is_ours { "" } else { " and is not a module of condense" })]
    Taken {
        /// Existing file or directory.
        path: PathBuf,
        /// Whether condense has written it.
        is_ours: bool,
    },
    /// Directory or image of the user's software that a command needs.
    #[error("`{}` does not exist, so there is nothing to {action}", path.display())]
    Nothing {
        /// Missing file or directory.
        path: PathBuf,
        /// Either `pack` or `unpack`.
        action: &'static str,
    },
    /// Record in a file that another version of condense has written.
    #[error("`{}` has a damaged record of its module", path.display())]
    Record {
        /// File with the record.
        path: PathBuf,
        /// Reason that the parser gives.
        source: serde_json::Error,
    },
    /// Error of the file system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Error of writing a file or giving it its name.
    #[error(transparent)]
    Publish(#[from] condense_publish::Error),
    /// Error of packing or unpacking.
    #[error(transparent)]
    Image(#[from] condense_image::Error),
    /// Setting that cannot be written into a shell script.
    #[error(transparent)]
    Setting(#[from] condense_installation::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some(
                "use letters, digits, `_`, `.`, `+` and `-`, with a letter, a digit or `_` first"
                    .to_owned(),
            ),
            Self::Path { .. } => Some("name another directory with `--root DIR`".to_owned()),
            Self::Taken { .. } => Some(
                "`--force` writes it anew and keeps user-software; `--version` chooses another version"
                    .to_owned(),
            ),
            Self::Publish(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Setting(error) => error.hint(),
            _ => None,
        }
    }
}
