//! Responsible for saying what was found.

use std::path::PathBuf;

/// Why a run of the fuzzer ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line cannot be understood.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The system does not tell how much memory there is.
    #[error("the system does not tell how much memory this program has")]
    Memory,
    /// Files that a reader did not stand.
    #[error("{told}\n{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Found {
        /// What was read, one line for each target.
        told: String,
        /// Each with its file.
        findings: Vec<Finding>,
    },
}

/// One file that a reader did not stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose.
    pub(crate) target: String,
    /// What has happened: a panic with its place, too slow, too large, a signal.
    pub(crate) what: String,
    /// Seed and number make the file again.
    pub(crate) seed: u64,
    /// See seed.
    pub(crate) number: u64,
    /// Where it was kept.
    pub(crate) file: PathBuf,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            target,
            what,
            seed,
            number,
            file,
        } = self;
        let file = file.display();
        write!(f, "{target}: file {number} of seed {seed}: {what}; {file}")
    }
}
