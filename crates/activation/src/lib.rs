//! Responsible for finding out how activating an environment changes the environment variables of a
//! program, in a form that can be replayed without conda.
//!
//! conda activates in this order: the variables of `etc/conda/env_vars.d/*.json` by file name,
//! those of `conda-meta/state`, then `etc/conda/activate.d/*.sh` by file name, sourced by the
//! user's shell. [`Activation`] describes the same changes as a list of [`ActivationStep`]s. Plain
//! `export` and `unset` commands can replay the steps at every start, without starting a process. A
//! script that cannot be described by steps stays a script: [`Activation::dynamic`] lists such
//! scripts in order, and [`Activation::reasons`] holds the reasons.
//!
//! [`Capture`] finds the steps by experiment. In the build container every script is sourced in
//! about twenty trials. A trial is one set of preset variables: nothing preset, every variable
//! preset to a sentinel (a unique value that is recognised again, as in taint tracking), every
//! variable preset to an empty value, each pair of variables separated, values full of blanks and
//! colons. A step is accepted only if it gives the result of the script in all trials. Experiments
//! cannot show everything: a test for a file of the host, a comparison with a particular value, the
//! time, a command that is not on a short list. These are searched for in the log of the commands
//! that were run, so branches that were not taken do not count. The first script that needs a shell
//! and all scripts after it are dynamic, since a later script may rely on the effects of an earlier
//! one.
//!
//! The steps leave out:
//!
//! * `CONDA_BACKUP_*`, `_CONDA_SET_*` and copies of old values under `*_BACKUP` and `*_PREV`, which
//!   only deactivation reads;
//! * aliases, functions and completions, which no program inherits;
//! * the output of scripts;
//! * variables that a script uses for itself without exporting them, even if the user has exported
//!   a variable of the same name;
//! * `CONDA_PREFIX`, `CONDA_DEFAULT_ENV`, `CONDA_SHLVL` and `CONDA_PROMPT_MODIFIER`, which the
//!   wrapper sets before the steps as conda would.
//!
//! The first trial is the real activation: what its scripts write stays in the environment. Scripts
//! for which [`may_write`] is false can also be tried out where the environment is read-only.
//!
//! The variables of a conda build (`CONDA_BUILD`) are assumed never to be set. `CONDA_DEFAULT_ENV`
//! is assumed to be the last part of the mount point. Values with line breaks are not tried:
//! scripts that pass them through `sed` mangle them.
//!
//! A script that ends or hangs the shell although nothing is preset (`exit`, `set -e`, an endless
//! loop) would also end or hang conda's own shell. The build therefore fails and names the script.
//! After a script that merely returns a status, or whose commands fail, conda continues and so does
//! condense.

mod capture;
mod cases;
mod glob;
mod inference;
mod log;
mod purity;
mod results;
mod step;
#[cfg(test)]
mod tests;
mod trials;
mod variables;
mod writes;

use std::{
    io,
    path::{Path, PathBuf},
};

use condense_diagnostics::Hint;
use serde::{Deserialize, Serialize};

pub use capture::Capture;
pub use writes::may_write;

/// Result of capturing an activation: the steps to replay and the scripts to source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Activation {
    /// Steps in the order in which they must be replayed.
    pub steps: Vec<ActivationStep>,
    /// Scripts to source after the steps, in this order, as absolute paths at the mount point.
    pub dynamic: Vec<String>,
    /// Each script of [`Activation::dynamic`] with the reason why it needs a shell.
    pub reasons: Vec<(String, String)>,
}

/// One change of one exported variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationStep {
    /// Sets a variable: `export NAME=VALUE`.
    Set {
        /// Name of the variable.
        name: String,
        /// New value, taken literally.
        value: String,
    },
    /// Unsets a variable: `unset NAME`.
    Unset {
        /// Name of the variable.
        name: String,
    },
    /// `export NAME="${NAME-VALUE}"`, or `"${NAME:-VALUE}"` if `or_empty`.
    Default {
        /// Name of the variable.
        name: String,
        /// Value if the variable is not set, taken literally.
        value: String,
        /// Whether an empty value is replaced as well.
        or_empty: bool,
    },
    /// `export NAME=` and the parts, one behind the other.
    Join {
        /// Name of the variable.
        name: String,
        /// Pieces of the value in their order. Variables have their values from before the step.
        parts: Vec<ValuePart>,
    },
}

/// A piece of a joined value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValuePart {
    /// Literal text, which is copied.
    Literal(String),
    /// Value of a variable with text that separates it from the rest, or nothing at all if the
    /// variable is unset or empty: `${NAME:+BEFORE$NAME AFTER}` without the blank.
    Variable {
        /// Name of the variable.
        name: String,
        /// Text before a value that is not empty.
        before: String,
        /// Text behind a value that is not empty.
        after: String,
    },
    /// Value of a variable, or some text if it is unset or empty: `${NAME:-OTHERWISE}`.
    VariableOr {
        /// Name of the variable.
        name: String,
        /// Text that replaces an empty value.
        otherwise: String,
    },
}

impl Activation {
    /// Reads the variables that packages and the environment file declare. This is the whole
    /// activation of an environment without scripts.
    ///
    /// # Errors
    /// Returns [`Error::Read`], [`Error::Parse`] or [`Error::Variable`] if the files of variables
    /// cannot be read, are malformed or hold a variable that a shell cannot export.
    pub fn from_variables(env_dir: &Path) -> Result<Self, Error> {
        let steps = variables::load(&capture::open(env_dir)?)?
            .into_iter()
            .map(|(name, value)| ActivationStep::Set { name, value })
            .collect();
        Ok(Self {
            steps,
            ..Self::default()
        })
    }
}

/// Reason why an activation could not be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the environment or a result of the capture could not be read; the cause names it.
    #[error("failed to read what activates the environment")]
    Read(#[source] io::Error),

    /// An input of the capture could not be written; the cause names it.
    #[error("failed to prepare the capture of the activation")]
    Write(#[source] io::Error),

    /// A file of variables is not JSON, or does not have the structure that conda writes.
    #[error("`{}` does not hold an environment's variables", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Error of the JSON parser.
        #[source]
        source: serde_json::Error,
    },

    /// A file declares a variable that no shell can export.
    #[error("`{}` sets `{name}`, which {why}", path.display())]
    Variable {
        /// Path of the file.
        path: PathBuf,
        /// Name of the variable.
        name: String,
        /// Relative clause that completes "which …" in the message.
        why: &'static str,
    },

    /// The name of a script is not UTF-8 and cannot be written into a wrapper.
    #[error("`{}` is not UTF-8", path.display())]
    Name {
        /// Path of the script.
        path: PathBuf,
    },

    /// A script ended the shell that sourced it although nothing was preset.
    #[error(
        "the activation script `{script}` ends the shell that sources it{}",
        shown(output)
    )]
    Script {
        /// Path of the script at the mount point.
        script: String,
        /// Last lines that the script printed.
        output: String,
    },

    /// A script did not finish although nothing was preset.
    #[error(
        "the activation script `{script}` did not finish within {seconds} seconds{}",
        shown(output)
    )]
    Endless {
        /// Path of the script at the mount point.
        script: String,
        /// Time limit in seconds.
        seconds: u32,
        /// Last lines that the script printed.
        output: String,
    },

    /// The capture command was not run, or ended before the first script.
    #[error("the activation was not captured: `{}` has no result{}", path.display(), shown(output))]
    NotCaptured {
        /// Path at which the results were expected.
        path: PathBuf,
        /// Output of the capture.
        output: String,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Script { script, .. } | Self::Endless { script, .. } => Some(format!(
                "conda's shell would not survive it either: leave out the package that brings `{script}`, or remove the file in a post-install script"
            )),
            Self::Parse { path, .. } | Self::Variable { path, .. } => Some(format!(
                "correct or leave out the package that brings `{}`",
                path.display()
            )),
            _ => None,
        }
    }
}

fn shown(output: &str) -> String {
    if output.is_empty() {
        String::new()
    } else {
        format!(":\n{output}")
    }
}
