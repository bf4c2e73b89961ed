//! Responsible for the arguments about the surroundings of build steps.

use anyhow::bail;
use clap::Args;

use super::Environment;
use crate::{env_vars, plan::BuildEnv, report::UserError};

/// Arguments of every verb that runs steps in a container.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct BuildEnvArguments {
    /// let the steps of the build see this variable, which looks like a credential; may be given
    /// more than once; HOME: the home directory itself, which is an empty one otherwise
    #[arg(long = "build-env", value_name = "NAME")]
    names: Vec<String>,
}

impl BuildEnvArguments {
    /// Reads the flag and the variables.
    ///
    /// # Errors
    /// A `--build-env` that does not name a variable.
    pub(crate) fn read(&self, environment: &Environment) -> anyhow::Result<BuildEnv> {
        for name in &self.names {
            let is_name = !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                bail!(UserError::new(
                    format!("`--build-env {name}` does not name a variable"),
                    "name it alone; its value is the one of your own shell",
                ));
            }
        }
        let home = environment.home();
        let netrc = environment
            .get(env_vars::NETRC)
            .map(|path| environment.cwd.join(path));
        Ok(BuildEnv {
            names: self.names.clone(),
            netrc: netrc.or_else(|| Some(home.as_ref()?.join(".netrc"))),
            config_dir: environment.config_dir(),
            home,
            installers: environment.beginning_with(&["PIP_", "UV_"]),
        })
    }
}
