//! Responsible for what activating an environment means for a program: variables, and nothing that
//! needs conda.
//!
//! conda activates in this order: the variables of `etc/conda/env_vars.d/*.json` by file name,
//! those of `conda-meta/state`, then `etc/conda/activate.d/*.sh` by file name, sourced by the
//! user's shell. [`Activation`] is the same as a list of [`Step`]s that plain `export` and `unset`
//! can replay at every start, without a process. Scripts that cannot be told that way stay scripts:
//! [`Activation::dynamic`] has them in order, and [`Activation::reasons`] says why.
//!
//! [`Capture`] finds the steps out by experiment. In the build container every script is sourced in
//! some twenty worlds (nothing preset, everything preset, everything empty, each pair of variables
//! apart, values full of blanks and colons), and a step is accepted only if it gives what the
//! script gave in all of them. What experiments cannot show (a test for a file of the host, a
//! comparison with a particular value, the time, a command from outside a short list) is looked for
//! in the log of the commands that really ran, so branches not taken do not count. From the first
//! script that needs a shell on all are dynamic, since a later one may rely on what it did.
//!
//! What is left out: `CONDA_BACKUP_*`, `_CONDA_SET_*` and copies of old values under `*_BACKUP` and
//! `*_PREV`, which only deactivation reads; aliases, functions and completions, which no program
//! inherits; what scripts print; variables that a script uses for itself without exporting them,
//! even if the user has exported one of that name; `CONDA_PREFIX`, `CONDA_DEFAULT_ENV`,
//! `CONDA_SHLVL` and `CONDA_PROMPT_MODIFIER`, which the wrapper sets before the steps
//! as conda would. A build's own variables (`CONDA_BUILD`) are taken as never set,
//! `CONDA_DEFAULT_ENV` as the last part of the mount point. Values with line breaks are not tried:
//! scripts that pass them through `sed` mangle them.
//!
//! What ends the activation: a script that ends or hangs the shell although nothing is preset
//! (`exit`, `set -e`, an endless loop) would take conda's own shell along too, so the build fails
//! and names it. A script that merely returns a status, or whose commands fail, goes on in conda
//! and goes on here.

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
mod variables;
mod worlds;

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use capture::Capture;

/// What activating an environment does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Activation {
    /// To replay in this order.
    pub steps: Vec<Step>,
    /// Scripts to source after the steps, in this order: absolute paths at the mount point.
    pub dynamic: Vec<String>,
    /// Script of [`Activation::dynamic`] and why it needs a shell.
    pub reasons: Vec<(String, String)>,
}

/// One change of one exported variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Step {
    /// `export NAME=VALUE`
    Set {
        /// The variable.
        name: String,
        /// Its value, to be taken literally.
        value: String,
    },
    /// `unset NAME`
    Unset {
        /// The variable.
        name: String,
    },
    /// `export NAME="${NAME-VALUE}"`, or `"${NAME:-VALUE}"` where an empty value counts as none.
    Default {
        /// The variable.
        name: String,
        /// Its value where the user has none, to be taken literally.
        value: String,
        /// Whether a user's empty value is replaced as well.
        also_if_empty: bool,
    },
    /// `export NAME=` and the parts, one behind the other.
    Join {
        /// The variable.
        name: String,
        /// What it is made of; variables have the values from before the step.
        parts: Vec<Part>,
    },
}

/// A piece of a joined value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Part {
    /// Text.
    Literal(String),
    /// `${NAME:+BEFORE$NAME AFTER}` without the blank; or `${NAME:-OTHERWISE}`, in which case
    /// nothing surrounds it.
    Variable {
        /// The variable.
        name: String,
        /// Stands before a value that is not empty.
        before: String,
        /// Stands behind a value that is not empty.
        after: String,
        /// Stands for an empty value or none.
        otherwise: Option<String>,
    },
}

impl Activation {
    /// Reads the variables that packages and the environment file declare: all there is to the
    /// activation of an environment without scripts.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Parse`] and [`Error::Variable`].
    pub fn of_variables(env_dir: &Path) -> Result<Self, Error> {
        let steps = variables::load(&capture::open(env_dir)?)?
            .into_iter()
            .map(|(name, value)| Step::Set { name, value })
            .collect();
        Ok(Self {
            steps,
            ..Self::default()
        })
    }
}

/// Why an activation could not be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the environment or a result could not be read; the cause names it.
    #[error("failed to read what activates the environment")]
    Read(#[source] io::Error),

    /// An input of the capture could not be written; the cause names it.
    #[error("failed to prepare the capture of the activation")]
    Write(#[source] io::Error),

    /// A file of variables is not JSON, or not of conda's shape.
    #[error("`{}` does not hold an environment's variables", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },

    /// A variable that no shell could export.
    #[error("`{}` sets `{name}`, which {why}", path.display())]
    Variable {
        /// The file.
        path: PathBuf,
        /// The variable.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A script's name cannot be written into a wrapper.
    #[error("`{}` is not UTF-8", path.display())]
    Name {
        /// The script.
        path: PathBuf,
    },

    /// A script ended the shell that sourced it although nothing was preset.
    #[error(
        "the activation script `{script}` ends the shell that sources it{}",
        shown(output)
    )]
    Script {
        /// Its path at the mount point.
        script: String,
        /// The last lines it printed.
        output: String,
    },

    /// A script did not come to an end although nothing was preset.
    #[error(
        "the activation script `{script}` did not finish within {seconds} seconds{}",
        shown(output)
    )]
    Endless {
        /// Its path at the mount point.
        script: String,
        /// The limit.
        seconds: u32,
        /// The last lines it printed.
        output: String,
    },

    /// The command was not run, or broke off before the first script.
    #[error("the activation was not captured: `{}` has no result{}", path.display(), shown(output))]
    NotCaptured {
        /// Where results were expected.
        path: PathBuf,
        /// What the capture printed.
        output: String,
    },
}

impl Error {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
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
