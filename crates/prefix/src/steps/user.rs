//! Responsible for the user's own scripts among the build steps: their names, working directory and
//! environment variables.

use std::path::PathBuf;

use super::surroundings::write_surroundings;
use crate::{error::Error, shell::quote, target::Place};

const USER_SH: &str = include_str!("user.sh");

/// User scripts that run in the build container with Tykky's environment variables, in bash if
/// there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scripts {
    /// Script that runs before all other steps.
    pub pre_install: Option<UserScript>,
    /// Script that runs after the installation, with the environment activated.
    pub post_install: Option<UserScript>,
    /// Working directory of the scripts, if the container shows it.
    pub work_dir: PathBuf,
    /// Further environment variables for the scripts.
    pub variables: Vec<(String, String)>,
}

/// A script, and its name for messages to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserScript {
    /// Name of the file.
    pub name: String,
    /// Text of the script.
    pub text: String,
}

impl Scripts {
    /// Returns true if there is no script to run.
    pub fn is_empty(&self) -> bool {
        self.pre_install.is_none() && self.post_install.is_none()
    }

    pub(super) fn len(&self) -> u64 {
        u64::from(self.pre_install.is_some()) + u64::from(self.post_install.is_some())
    }

    /// Writes all files that user.sh reads.
    pub(super) fn write_inputs(&self, place: &Place) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let (build_dir, inside) = (place.open_build_dir()?, place.mounted_build_dir());
        let write = |name: &str, text: &str| build_dir.write(name, text);
        write_surroundings(place, &build_dir)?;
        write("user.sh", USER_SH)?;
        for (kind, script) in [
            ("pre-install", &self.pre_install),
            ("post-install", &self.post_install),
        ] {
            let Some(script) = script else { continue };
            write(&format!("{kind}.sh"), &script.text)?;
            write(&format!("{kind}.name"), &format!("{}\n", script.name))?;
            let mut lines = vec![
                ("condense_script", script.name.clone()),
                (
                    "CONDENSE_SCRIPT",
                    inside.join(format!("{kind}.sh")).display().to_string(),
                ),
                (
                    "CW_INSTALLATION_PATH",
                    place.mount_point.display().to_string(),
                ),
                ("install_root", place.mount_point.display().to_string()),
                ("env_root", place.mounted_env().display().to_string()),
                ("CW_BUILD_TMPDIR", inside.join("tmp").display().to_string()),
                ("CW_WORKDIR", self.work_dir.display().to_string()),
            ];
            lines.extend(
                self.variables
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.clone())),
            );
            let lines = lines.iter();
            let lines = lines.map(|(name, value)| format!("{name}={}\n", quote(value)));
            write(&format!("{kind}.env"), &lines.collect::<String>())?;
        }
        Ok(())
    }
}
