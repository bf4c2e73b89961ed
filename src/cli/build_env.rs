//! Responsible for the arguments about the surroundings of build steps.

use anyhow::bail;
use clap::Args;

use condense_build::plan::BuildEnv;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};

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
    pub(crate) fn read(&self, env_vars: &EnvVars) -> anyhow::Result<BuildEnv> {
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
        let home = env_vars.home();
        let netrc = env_vars
            .get(env_vars::NETRC)
            .map(|path| env_vars.cwd.join(path));
        Ok(BuildEnv {
            names: self.names.clone(),
            netrc: netrc.or_else(|| Some(home.as_ref()?.join(".netrc"))),
            config_dir: env_vars.config_dir(),
            home,
            installers: env_vars.beginning_with(&["PIP_", "UV_"]),
        })
    }
}
