//! Responsible for the user's own scripts among the build steps: what they are called, where they
//! start, what they see.

use std::path::PathBuf;

use super::{pip::write_surroundings, quoted};
use crate::{error::Error, target::Place};

const USER_SH: &str = include_str!("user.sh");

/// Scripts that are run in the build container, bash where there is one, with Tykky's variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scripts {
    /// Run before anything else is.
    pub pre_install: Option<UserScript>,
    /// Run when everything is installed, with the environment activated.
    pub post_install: Option<UserScript>,
    /// Where they start, if the container shows it.
    pub work_dir: PathBuf,
    /// Further variables that they see.
    pub variables: Vec<(String, String)>,
}

/// A script and the name that its user knows it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserScript {
    /// The file's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Scripts {
    /// True where there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.pre_install.is_none() && self.post_install.is_none()
    }

    pub(super) fn len(&self) -> u64 {
        u64::from(self.pre_install.is_some()) + u64::from(self.post_install.is_some())
    }

    /// Writes everything that user.sh reads.
    pub(super) fn write_inputs(&self, place: &Place) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let (build_dir, inside) = (place.open_build_dir()?, place.mounted_build_dir());
        let write = |name: &str, text: &str| build_dir.write(name, text);
        write_surroundings(place)?;
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
            let lines = lines.map(|(name, value)| format!("{name}={}\n", quoted(value)));
            write(&format!("{kind}.env"), &lines.collect::<String>())?;
        }
        Ok(())
    }
}
