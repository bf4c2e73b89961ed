//! Responsible for the validated description of a run. Code that follows a plan does not depend on
//! the dialect of the command line.

mod base;
mod build_env;
mod definition;
mod input;
mod installation;
mod lock;
mod mount_point;
mod run_settings;
mod sif;
mod update;
mod wrap;

use crate::Submission;

pub use base::{BaseChoice, BaseFile};
pub use build_env::BuildEnv;
pub use definition::{DefinitionOptions, DefinitionPlan, ScriptBind};
pub(crate) use input::INLINE;
pub use input::{
    CondaInput, EnvironmentInput, ExtraInputs, GivenText, Lock, PackageRequest, Packages,
    PythonChoice, VenvInput, WarmStart,
};
pub use installation::{Generation, Installation};
pub use lock::LockPlan;
pub use mount_point::MountPoint;
pub use run_settings::{
    BlockCacheSettings, CacheLimit, Checks, Overrides, PackageSettings, Registries, RunSettings,
};
pub use sif::{Copy, Layout, Sif, SifContent, SifInput};
pub use update::{NextGeneration, PackageChange, UpdatePlan, UpdatedKind};
pub use wrap::{WrapInput, Wrapped};

/// One validated run that makes an output of type `O` from an input of type `I` and a base image.
/// The types exclude combinations that have no meaning.
#[derive(Debug, Clone)]
pub struct Plan<I, O> {
    /// Packages or programs that are put into the output.
    pub input: I,
    /// Installation or file that is made.
    pub output: O,
    /// The base image and who chose it.
    pub base: BaseChoice,
    /// Shows the plan and exits.
    pub dry_run: bool,
    /// Job that does the work in place of this process.
    pub submission: Option<Submission>,
    /// Settings of the run.
    pub settings: RunSettings,
}

/// Plan of an installation with a new environment.
pub type InstallationPlan = Plan<EnvironmentInput, Installation>;
/// Plan of a SIF.
pub type SifPlan = Plan<SifInput, Sif>;
/// Plan of an installation with wrappers for programs that are there already.
pub type WrapPlan = Plan<WrapInput, Installation>;
