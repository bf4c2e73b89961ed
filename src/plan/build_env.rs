//! Responsible for what the steps of a build get to see of the user's own: hardly anything, unless the user names it.

use std::path::PathBuf;

/// The user's side of a build's surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BuildEnv {
    /// Variables that the user lets in although they look like credentials; `HOME` lets in the home directory itself.
    pub names: Vec<String>,
    /// The home directory, absolute.
    pub home: Option<PathBuf>,
    /// Where programs look for their configuration.
    pub config_dir: Option<PathBuf>,
    /// Passwords by host.
    pub netrc: Option<PathBuf>,
    /// What the user's variables say to pip and uv.
    pub installers: Vec<(String, String)>,
}

impl BuildEnv {
    /// Whether the user has let this variable in.
    pub(crate) fn lets_in(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}
