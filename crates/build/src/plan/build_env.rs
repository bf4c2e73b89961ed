//! Responsible for the variables and files of the user that build steps see: very few, unless the
//! user names them.

use std::path::PathBuf;

/// The user's variables and files that build steps may get to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildEnv {
    /// Variables that the user lets in although they look like credentials. `HOME` lets in the
    /// home directory itself.
    pub names: Vec<String>,
    /// The home directory, absolute.
    pub home: Option<PathBuf>,
    /// The directory in which programs look for their configuration.
    pub config_dir: Option<PathBuf>,
    /// The netrc file, which holds passwords by host.
    pub netrc: Option<PathBuf>,
    /// The user's variables for pip and uv, with their values.
    pub installers: Vec<(String, String)>,
    /// Existing files and directories of this machine that variables name, such as certificates,
    /// each with the variable.
    pub host_files: Vec<(String, PathBuf)>,
}

impl BuildEnv {
    /// Returns whether the user has let this variable in.
    pub fn lets_in(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}
