//! Responsible for locks: exactly what was installed, written down and read again.
//!
//! Ours are rattler's and pixi's format with one more key, `condense:`, for what that has no place
//! for. pixi.lock and conda-lock.yml files are read as well.

mod entry;
mod fits;
mod needed;
mod pip;
mod read;
mod requirement;
mod write;

use serde::{Deserialize, Serialize};

use crate::{progress::Warning, solve::Solution, spec::EnvironmentSpec};
pub(crate) use pip::{LockedPip, PipSource, check_report, normalized};
pub use write::{render_lock, render_updated_lock};

/// Exact packages, conda's and pip's, as a lock file names them.
#[derive(Debug)]
pub struct Lock {
    file: std::path::PathBuf,
    text: String,
    solution: Solution,
    /// pip's packages, also where other lines stayed open.
    pip: Vec<LockedPip>,
    extra: Extra,
    warnings: Vec<Warning>,
}

/// What rattler's format has no place for; other readers pass it over.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extra {
    /// `variables:` of the environment file, in its order.
    #[serde(default, skip_serializing_if = "serde_yaml::Mapping::is_empty")]
    variables: serde_yaml::Mapping,
    /// Names of pip's packages that were installed as links to their sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    editable: Vec<String>,
    /// Lines for pip that nobody could resolve where the lock was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unlocked: Vec<String>,
    /// The user's scripts that ran: `post-install SHA256`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scripts: Vec<String>,
    /// What these have installed besides, `name==version`: it comes again when they run again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    by_scripts: Vec<String>,
}

impl Extra {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses a variable that is no text, since the lock's reader would leave it out without a
    /// message.
    fn check(&self) -> Result<(), String> {
        for (name, value) in &self.variables {
            if name.as_str().is_none() || value.as_str().is_none() {
                let pair = serde_yaml::Mapping::from_iter([(name.clone(), value.clone())]);
                return Err(format!(
                    "`variables:` of `condense:` must have texts in quotes, found `{}`",
                    entry::first_line(&pair.into())
                ));
            }
        }
        Ok(())
    }

    fn variables(&self) -> Vec<(String, String)> {
        let text = |value: &serde_yaml::Value| value.as_str().map(str::to_owned);
        self.variables
            .iter()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect()
    }
}

impl Lock {
    /// The packages, which need no solving any more.
    pub fn solution(&self) -> &Solution {
        &self.solution
    }

    /// Lines for pip that this lock leaves open; they are resolved when it is built.
    pub fn unlocked_pip(&self) -> &[String] {
        &self.extra.unlocked
    }

    /// Scripts that were a part of what was locked, `post-install SHA256`.
    pub fn scripts(&self) -> &[String] {
        &self.extra.scripts
    }

    /// What was read but not followed.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What stands for the environment file when there is none.
    pub fn spec(&self) -> EnvironmentSpec {
        EnvironmentSpec::of_lock(&self.text, self.extra.variables())
    }
}

#[cfg(test)]
mod tests;
