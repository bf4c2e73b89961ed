//! Responsible for reporting the progress of the work to a listener; this crate prints nothing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use condense_diagnostics::Location;

/// Part of the work that has a start, a unit of measure and an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the channels' indices; not measured.
    Index,
    /// Solving the requested packages; not measured.
    Solve,
    /// Downloading archives, measured in bytes.
    Fetch,
    /// Unpacking and linking, measured in packages.
    Link,
    /// Steps in the build container, measured in steps.
    Run,
    /// The start that shows which files come first in the image, if it is made by itself; not
    /// measured.
    Start,
}

/// Message to the user that does not stop the work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The environment file has an unknown key.
    UnknownKey {
        /// Path of the file; empty while it is parsed.
        file: PathBuf,
        /// Key as written in the file.
        key: String,
        /// Line number, starting at 1.
        line: usize,
    },
    /// A line of the file was not followed literally.
    Spec {
        /// Path of the file; empty while it is parsed.
        file: PathBuf,
        /// Line number, starting at 1.
        line: usize,
        /// Description of the problem and of its treatment.
        message: String,
    },
    /// The file lists pip requirements without pip, so conda's pip was added.
    PipAdded,
    /// The file names no channel.
    NoChannel {
        /// Channel that was used instead.
        used: String,
    },
    /// Packages come from a later channel. An earlier channel has packages of their names, but none
    /// that fits.
    LaterChannel {
        /// Name, version and channel of each package.
        packages: Vec<String>,
    },
    /// Several packages contain the same file, and only one copy is installed.
    Clobbered {
        /// Path of the file in the environment.
        path: String,
        /// Package whose file is installed.
        winner: String,
        /// Packages whose files are not installed.
        losers: Vec<String>,
    },
    /// Python sources could not be compiled in advance.
    NotCompiled {
        /// Reason why the sources were not compiled.
        reason: String,
    },
    /// pip has replaced a Python package of conda with its own.
    PipReplaced {
        /// Name of the Python package.
        name: String,
        /// Name of the conda package that contained it.
        package: String,
        /// Version that was removed.
        before: String,
        /// Version that is installed now.
        after: String,
    },
    /// `pip check` has found a problem at the end.
    PipCheck {
        /// Line that `pip check` printed.
        problem: String,
    },
    /// The packages that pip has installed, or would install, cannot be named with digests.
    PipNotLocked {
        /// Reason why they cannot be named.
        reason: String,
    },
    /// A lock has packages of optional categories, which were left out.
    CategoriesLeftOut {
        /// Names of the categories in conda-lock.
        categories: Vec<String>,
    },
    /// A package's script has left a message.
    Message {
        /// Name of the package.
        package: String,
        /// Text of the message.
        text: String,
    },
    /// A part of a channel's index is not used, or should not be used.
    Index(String),
    /// A channel has published a notice about itself.
    Notice(String),
}

impl Warning {
    /// Creates a warning about a line of the file that is parsed.
    pub(crate) fn at_line(line: usize, message: impl Into<String>) -> Self {
        Self::Spec {
            file: PathBuf::new(),
            line,
            message: message.into(),
        }
    }

    /// Names the file of a warning about a line, unless it is named already.
    pub(crate) fn name_file(&mut self, name: &Path) {
        if let Self::UnknownKey { file, .. } | Self::Spec { file, .. } = self
            && file.as_os_str().is_empty()
        {
            name.clone_into(file);
        }
    }
}

/// Returns `FILE:LINE`, or `line LINE` without a file.
fn place(file: &Path, line: usize) -> String {
    if file.as_os_str().is_empty() {
        return format!("line {line}");
    }
    Location::new(file, line, 0).to_string()
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownKey { file, key, line } => {
                let place = place(file, *line);
                write!(f, "{place}: `{key}:` means nothing here and is ignored")
            }
            Self::Spec {
                file,
                line,
                message,
            } => write!(f, "{}: {message}", place(file, *line)),
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

/// Listener for the progress of the work. Called from several threads.
pub trait Progress: Send + Sync {
    /// Reports that a phase begins; `total` is its size in the phase's unit, if known.
    fn begin(&self, phase: Phase, total: Option<u64>);
    /// Reports progress of `amount` in the phase's unit.
    fn advance(&self, phase: Phase, amount: u64);
    /// Reports the current item of a phase: the name of a package or step.
    fn detail(&self, phase: Phase, text: &str);
    /// Reports a line that a script or pip printed.
    fn output(&self, line: &str);
    /// Reports the work that the running step is at, as far as its output shows it: `downloading 3
    /// of 12`.
    fn activity(&self, _text: &str) {}
    /// Keeps the output of a failed step in a file, and returns the file's path. `None` means that
    /// the listener keeps none.
    fn keep_log(&self, _step: &str, _lines: &[&str]) -> Option<PathBuf> {
        None
    }
    /// Reports that a phase has ended after the time `took`.
    fn end(&self, phase: Phase, took: Duration);
    /// Returns true once the user or the system has requested a stop.
    fn cancelled(&self) -> bool;
    /// Reports a warning to the user.
    fn warn(&self, warning: Warning);
}
