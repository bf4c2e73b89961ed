//! Responsible for the arguments about the environment variables and the home directory of build
//! steps.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use condense_build::plan::BuildEnv;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_installation::{HOST_FILE_VARIABLES, HostFileForm};

/// Arguments of all verbs that run build steps in a container.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct BuildEnvArguments {
    /// pass this variable to the build steps although it looks like a credential; may be given
    /// several times; with HOME, the steps get the real home directory instead of an empty one
    #[arg(long = "build-env", value_name = "NAME")]
    names: Vec<String>,
}

impl BuildEnvArguments {
    /// Reads the flag and the environment variables.
    ///
    /// # Errors
    /// Returns an error if a value of `--build-env` is not a name of a variable.
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
            host_files: host_files(env_vars),
        })
    }
}

/// Returns the files and directories that the user's variables name and that exist, each with the
/// variable.
pub(crate) fn host_files(env_vars: &EnvVars) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for variable in HOST_FILE_VARIABLES {
        let Some(value) = env_vars.get(variable.name) else {
            continue;
        };
        let paths = match variable.form {
            HostFileForm::Path => vec![value],
            HostFileForm::List => value.split(':').collect(),
        };
        for path in paths.into_iter().map(Path::new) {
            if path.is_absolute() && path.exists() {
                found.push((variable.name.to_owned(), path.to_owned()));
            }
        }
    }
    found
}
