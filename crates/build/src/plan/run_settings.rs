//! Responsible for what a run works with, whatever it makes.

use std::path::PathBuf;

use condense_prefix::{Condarc, NetworkSettings, SpecContext};

use super::{BuildEnv, Checks, Overrides, Registries};

/// What the user's environment and the site give to a run.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// What environment and requirements files may refer to.
    pub spec_context: SpecContext,
    /// Parent of the scratch directory, absolute.
    pub scratch_parent: PathBuf,
    /// Scratch stays after the run.
    pub keep_scratch: bool,
    /// How a base that is elsewhere is brought here.
    pub registries: Registries,
    /// The way to the channels, and where what comes from them is kept.
    pub network: NetworkSettings,
    /// The user's own cache, for the case that the one of `network` belongs to others as well.
    pub own_cache: PathBuf,
    /// conda's configuration, when the user asks that it be followed.
    pub condarc: Option<Condarc>,
    /// pip was told to ask no index, so that it can do without the network as well.
    pub pip_without_index: bool,
    /// The runtime, when the site names one.
    pub runtime: Option<PathBuf>,
    /// The user's variables and files that the steps of a build see.
    pub build_env: BuildEnv,
    /// Answers that override what would be found out.
    pub overrides: Overrides,
    /// What findings are judged by.
    pub checks: Checks,
}
