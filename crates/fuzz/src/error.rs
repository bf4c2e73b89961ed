//! Responsible for reporting what the fuzzer found.

use std::path::PathBuf;

/// The reason why a run of the fuzzer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line cannot be understood.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The system does not say how much memory the program has.
    #[error("the system does not tell how much memory this program has")]
    Memory,
    /// A reader panicked, hung or took too much memory at some files.
    #[error("{told}\n{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Found {
        /// The results, one line for each target.
        told: String,
        /// The problems, each with its file.
        findings: Vec<Finding>,
    },
}

/// A file at which a reader panicked, hung, took too much memory or died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the target.
    pub(crate) target: String,
    /// The kind of problem: a panic with its place, too slow, too much memory, or a signal.
    pub(crate) what: String,
    /// The seed; seed and number together make the file again.
    pub(crate) seed: u64,
    /// The number of the file among those of the seed.
    pub(crate) number: u64,
    /// The path under which the file was kept.
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
