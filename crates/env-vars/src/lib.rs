//! Reads the environment variables of the process once. Other code reads variables only to decide
//! which of them, and which of the files that they name, the programs of a build or of a container
//! get.
//!
//! ```
//! use condense_env_vars::{self as env_vars, EnvVars};
//! let env_vars = EnvVars::of_process()?;
//! let search_path = env_vars.get(env_vars::PATH);
//! # Ok::<(), std::io::Error>(())
//! ```

mod names;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use condense_diagnostics::UserError;

pub use names::*;

/// Environment variables and working directory of a run.
#[derive(Debug, Clone, Default)]
pub struct EnvVars {
    variables: HashMap<String, String>,
    /// Values of the user's configuration for variables that are not set.
    defaults: HashMap<String, String>,
    /// Current directory of the user.
    pub cwd: PathBuf,
}

impl EnvVars {
    /// Reads the variables and the current directory of this process. Values that are not UTF-8
    /// count as not set.
    ///
    /// # Errors
    /// Returns an error if the current directory cannot be determined.
    pub fn of_process() -> std::io::Result<Self> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Self {
            variables,
            defaults: HashMap::new(),
            cwd: std::env::current_dir()?,
        })
    }

    /// Adds values for variables that are not set or empty.
    pub fn set_defaults(&mut self, pairs: impl IntoIterator<Item = (&'static str, String)>) {
        let pairs = pairs.into_iter();
        self.defaults
            .extend(pairs.map(|(name, value)| (name.to_owned(), value)));
    }

    /// Returns the value of a variable, else the value of [`EnvVars::set_defaults`]. Returns `None`
    /// if there is neither, or if the value is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_given(name)
            .or_else(|| self.defaults.get(name).map(String::as_str))
    }

    /// Returns the value of a variable of the process, or `None` if it is not set or empty.
    pub fn get_given(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns all variables, empty ones included.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.variables.clone().into_iter().collect()
    }

    /// Returns the variables whose names begin with one of `prefixes`, sorted.
    pub fn beginning_with(&self, prefixes: &[&str]) -> Vec<(String, String)> {
        let begins = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let found = self.variables.iter().filter(|(name, _)| begins(name));
        let mut found: Vec<(String, String)> = found
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        found.sort();
        found
    }

    /// Returns the user's configuration directory by the freedesktop rules: `$XDG_CONFIG_HOME`,
    /// else `$HOME/.config`. Returns `None` if the path is not absolute.
    pub fn config_dir(&self) -> Option<PathBuf> {
        self.get(XDG_CONFIG_HOME)
            .map(PathBuf::from)
            .or_else(|| {
                self.get(HOME)
                    .map(|home| PathBuf::from(home).join(".config"))
            })
            .filter(|dir| dir.is_absolute())
    }

    /// Returns the home directory, or `None` if it is not set or not absolute.
    pub fn home(&self) -> Option<PathBuf> {
        self.get(HOME)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    }

    /// Returns the time of `SOURCE_DATE_EPOCH` in seconds since 1970, which everything in an image
    /// gets. Returns `None` if the variable is not set.
    ///
    /// # Errors
    /// Returns an error if the value is not a number from 0 to 2^32 - 1.
    pub fn source_date_epoch(&self) -> Result<Option<u32>, UserError> {
        self.get(SOURCE_DATE_EPOCH)
            .map(|text| {
                text.parse().map_err(|_| {
                    let problem = format!(
                        "SOURCE_DATE_EPOCH `{text}` is not a number of seconds from 1970 to 2106"
                    );
                    UserError::new(problem, "unset it, or set it to the output of `date +%s`")
                })
            })
            .transpose()
    }

    /// Returns the directory of package archives: `CONDENSE_CACHE_DIR`, else `of_site`, else
    /// [`EnvVars::own_cache_dir`].
    pub fn cache_dir(&self, of_site: Option<PathBuf>) -> PathBuf {
        if let Some(dir) = self.get(CONDENSE_CACHE_DIR) {
            return self.cwd.join(dir);
        }
        of_site.unwrap_or_else(|| self.own_cache_dir())
    }

    /// Returns the user's own directory of package archives by the freedesktop rules:
    /// `$XDG_CACHE_HOME/condense`, else `$HOME/.cache/condense`. Without such an absolute path it
    /// is `condense-UID` in `TMPDIR`, else in `/tmp`, with the number of the user.
    pub fn own_cache_dir(&self) -> PathBuf {
        let parent = self
            .get(XDG_CACHE_HOME)
            .map(PathBuf::from)
            .or_else(|| {
                self.get(HOME)
                    .map(|home| PathBuf::from(home).join(".cache"))
            })
            .filter(|dir| dir.is_absolute());
        if let Some(parent) = parent {
            parent.join("condense")
        } else {
            let user = rustix::process::geteuid().as_raw();
            let dir = self.get(TMPDIR).map(PathBuf::from);
            let dir = dir.filter(|dir| dir.is_absolute());
            let dir = dir.unwrap_or_else(|| "/tmp".into());
            dir.join(format!("condense-{user}"))
        }
    }
}

impl EnvVars {
    /// Makes a set of variables for a test. The working directory is `/work dir`.
    #[doc(hidden)]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self {
            variables: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            defaults: HashMap::new(),
            cwd: "/work dir".into(),
        }
    }
}
