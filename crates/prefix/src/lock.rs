//! Responsible for lock files: writing and reading the exact packages of an environment.
//!
//! condense writes the format of rattler and pixi with one more key, `condense:`, for facts that
//! the format has no place for. pixi.lock and conda-lock.yml files can be read as well.

mod canonical;
mod entry;
mod fits;
mod listing;
mod needed;
mod pip;
mod read;
mod recipe;
mod request;
mod requirement;
mod write;

use serde::{Deserialize, Serialize};

use crate::{
    conda::CondaSettings, pip_package::LockedPip, progress::Warning, solution::Solution,
    spec::EnvironmentSpec,
};
pub(crate) use canonical::as_in_a_lock;
pub use listing::LockedPackage;
pub(crate) use pip::{check_report, from_report};
pub use recipe::{ImageKind, Recipe};
use request::Request;
pub(crate) use requirement::parse_requirement;
pub use write::{LockContents, render_lock, render_updated_lock};

/// A lock file that was read: exact packages of conda and pip.
#[derive(Debug)]
pub struct Lock {
    file: std::path::PathBuf,
    text: String,
    solution: Solution,
    /// Packages of pip, also if the lock has further lines for pip that are not locked.
    pip: Vec<LockedPip>,
    extra: Extra,
    warnings: Vec<Warning>,
}

/// Contents of the key `condense:`: facts that rattler's format has no place for. Other programs
/// ignore the key.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extra {
    /// `variables:` of the environment file, in the file's order.
    #[serde(default, skip_serializing_if = "serde_yaml::Mapping::is_empty")]
    variables: serde_yaml::Mapping,
    /// Names of pip packages that were installed as links to their sources (editable).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    editable: Vec<String>,
    /// Lines for pip that could not be resolved when the lock was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unlocked: Vec<String>,
    /// Scripts of the user that ran, each as `post-install SHA256`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scripts: Vec<String>,
    /// Packages that these scripts installed, each as `name==version`. They are installed again
    /// when the scripts run again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    by_scripts: Vec<String>,
    /// Names of the pip packages that were asked for. Absent if all were, or if nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requested_pip: Option<Vec<String>>,
    /// Packages that were asked for.
    #[serde(default, skip_serializing_if = "Request::is_empty")]
    request: Request,
    /// Settings of conda that the build followed.
    #[serde(default, skip_serializing_if = "CondaSettings::is_default")]
    conda: CondaSettings,
    /// Properties of the image, if a build has written the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Recipe>,
}

impl Extra {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses a variable with a name or value that is not text, because such a variable would be
    /// left out without a message.
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
    /// Returns the exact packages, which need no solving.
    pub fn solution(&self) -> &Solution {
        &self.solution
    }

    /// Returns lines for pip that are not locked. pip resolves them during the build.
    pub fn unlocked_pip(&self) -> &[String] {
        &self.extra.unlocked
    }

    /// Returns the scripts that were a part of the locked environment, each
    /// as `post-install SHA256`.
    pub fn scripts(&self) -> &[String] {
        &self.extra.scripts
    }

    /// Returns warnings about contents that were read but are not followed.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the spec of an environment that is built from this lock without an environment file.
    pub fn spec(&self) -> EnvironmentSpec {
        let mut spec = EnvironmentSpec::from_lock(&self.text, self.extra.variables());
        self.extra.request.apply(&mut spec);
        spec
    }

    /// Returns the properties of the image that the build which wrote the lock has made. `None` for
    /// locks of other programs and of `condense lock`.
    pub fn recipe(&self) -> Option<&Recipe> {
        self.extra.image.as_ref()
    }

    /// Returns true if an environment file asks for what the lock was made for.
    pub fn is_made_for(&self, spec: &EnvironmentSpec) -> bool {
        self.extra.request.is_of(spec)
            && self.extra.variables.len() == spec.variables().len()
            && self.extra.variables() == spec.variables()
    }

    /// Returns true if the lock says what was asked for.
    pub fn has_request(&self) -> bool {
        !self.extra.request.is_empty()
    }

    /// Returns the settings of conda that the build of the lock followed.
    pub fn conda_settings(&self) -> &CondaSettings {
        &self.extra.conda
    }

    /// Returns the text of the requirements file that the lock was made for.
    pub fn requirements_file(&self) -> Option<&str> {
        self.extra.request.requirements_file.as_deref()
    }
}

#[cfg(test)]
mod tests;
