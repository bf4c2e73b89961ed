//! Responsible for the names of files of an installation that a site chooses.

/// Names that a configuration in Tykky's format may set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Name of the environment, instead of `env1`.
    pub environment: Option<String>,
    /// Second name of the base image, besides `container.sif`.
    pub container: Option<String>,
    /// Second name of the image, besides `img.sqfs`.
    pub image: Option<String>,
}
