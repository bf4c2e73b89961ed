//! Responsible for the description of a run that solves and writes a lock.

use std::path::PathBuf;

use super::{BaseChoice, MountPoint, PackageSettings, RunSettings};

/// One validated run of `condense lock`.
#[derive(Debug, Clone)]
pub struct LockPlan {
    /// The environment file as the user named it.
    pub spec_path: PathBuf,
    /// Base that is solved for, and in which pip is asked. Without it, only conda packages are
    /// locked, for any machine.
    pub base: Option<BaseChoice>,
    /// conda's name of a platform that is not this machine's.
    pub platform: Option<String>,
    /// Path at which scratch is mounted while pip is asked.
    pub mount_point: MountPoint,
    /// Path of the environment below the mount point.
    pub env_path: PathBuf,
    /// Settings for solving and installing packages.
    pub packages: PackageSettings,
    /// Settings of the run.
    pub settings: RunSettings,
}
