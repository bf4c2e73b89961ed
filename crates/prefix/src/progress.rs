//! Responsible for telling a listener how far the work is; this crate prints nothing.

use std::time::Duration;

/// A part of the work that has a beginning, a measure and an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reading the channels' indices; no measure.
    Index,
    /// Solving; no measure.
    Solve,
    /// Downloading archives; bytes.
    Fetch,
    /// Unpacking and linking; packages.
    Link,
    /// Steps in the build container; steps.
    Run,
}

/// Something the user should know although the work goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A key of the environment file means nothing to us.
    UnknownKey {
        /// As written.
        key: String,
        /// From 1.
        line: usize,
    },
    /// A line of the file was not followed to the letter.
    Spec {
        /// From 1.
        line: usize,
        /// What was done with it.
        message: String,
    },
    /// There are pip requirements, so conda's pip was added.
    PipAdded,
    /// The file names no channel.
    NoChannel {
        /// What was used instead.
        used: String,
    },
    /// Packages come from a later channel. An earlier channel has packages of their names, but none
    /// that fits.
    LaterChannel {
        /// Name, version and channel of each.
        packages: Vec<String>,
    },
    /// Two packages brought the same file; one of them won.
    Clobbered {
        /// Path in the environment.
        path: String,
        /// Whose file is there.
        winner: String,
        /// Whose file is not.
        losers: Vec<String>,
    },
    /// Files of Python could not be compiled ahead.
    NotCompiled {
        /// Why.
        reason: String,
    },
    /// pip has put its own package in the place of one of conda's.
    PipReplaced {
        /// Python's name of the package.
        name: String,
        /// The conda package that had brought it.
        package: String,
        /// The version that is gone.
        before: String,
        /// The version that is there.
        after: String,
    },
    /// What `pip check` found at the end.
    PipCheck {
        /// In its words.
        problem: String,
    },
    /// The packages that pip has installed, or would install, cannot be named with digests.
    PipNotLocked {
        /// The reason why they cannot.
        reason: String,
    },
    /// A lock has packages that only some need.
    CategoriesLeftOut {
        /// conda-lock's names for them.
        categories: Vec<String>,
    },
    /// A package's script left a message.
    Message {
        /// Name of the package.
        package: String,
        /// Its text.
        text: String,
    },
    /// A part of a channel's index is not used, or should not be used.
    Index(String),
    /// A channel said something about itself.
    Notice(String),
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownKey { key, line } => {
                write!(f, "line {line}: `{key}:` means nothing here and is ignored")
            }
            Self::Spec { line, message } => write!(f, "line {line}: {message}"),
            Self::PipAdded => write!(
                f,
                "there is a `pip:` section but no `pip` among the packages, so `pip` was added"
            ),
            Self::NoChannel { used } => write!(f, "the file names no channel, `{used}` is used"),
            Self::LaterChannel { packages } => write!(
                f,
                "not from the first channel that has them, as none of its packages fits: {}",
                packages.join(", ")
            ),
            Self::Clobbered {
                path,
                winner,
                losers,
            } => {
                write!(
                    f,
                    "`{path}` comes with several packages: that of `{winner}` is kept, not that of {}",
                    losers.join(", ")
                )
            }
            Self::NotCompiled { reason } => {
                write!(f, "Python files were not compiled ahead: {reason}")
            }
            Self::PipReplaced {
                name,
                package,
                before,
                after,
            } => write!(
                f,
                "pip has replaced `{name}` {before}, which came with the conda package `{package}`, by {after}"
            ),
            Self::PipCheck { problem } => write!(f, "pip check: {problem}"),
            Self::PipNotLocked { reason } => {
                write!(f, "the lock leaves the lines for pip open: {reason}")
            }
            Self::CategoriesLeftOut { categories } => write!(
                f,
                "the lock has packages of other categories than `main`, which are left out: {}; one can be added with `--lock-environment`",
                categories.join(", ")
            ),
            Self::Message { package, text } => write!(f, "{package}: {text}"),
            Self::Index(text) | Self::Notice(text) => write!(f, "{text}"),
        }
    }
}

/// Listens to the work. Called from many threads.
pub trait Progress: Send + Sync {
    /// A stage begins; `total` in the stage's measure where it is known.
    fn begin(&self, stage: Stage, total: Option<u64>);
    /// A stage has come `amount` further.
    fn advance(&self, stage: Stage, amount: u64);
    /// What is being worked on right now: a package's name, a step.
    fn detail(&self, stage: Stage, text: &str);
    /// A line that a script or pip printed.
    fn output(&self, line: &str);
    /// A stage has ended after `took`.
    fn end(&self, stage: Stage, took: Duration);
    /// True once the user, or the system, asked to stop.
    fn cancelled(&self) -> bool;
    /// See [`Warning`].
    fn warn(&self, warning: Warning);
}
