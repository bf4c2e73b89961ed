//! Responsible for the settings that the user's environment variables and the site give to a run.

use std::path::PathBuf;

use condense_catalogue::SiteRules;
use condense_prefix::{Condarc, NetworkSettings, SpecContext};

use super::BuildEnv;

/// Settings of every run.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Parent of the scratch directory, absolute.
    pub scratch_parent: PathBuf,
    /// Whether scratch stays after the run.
    pub keep_scratch: bool,
    /// Access to the registries from which a base is fetched.
    pub registries: Registries,
    /// Caches of compressed blocks. Without them, everything is compressed anew.
    pub blocks: Option<BlockCacheSettings>,
    /// Path of the runtime, if the site names one.
    pub runtime: Option<PathBuf>,
    /// The user's variables and files that the steps of a build see.
    pub build_env: BuildEnv,
    /// Binds, flags and variables that the site wants for programs in the container.
    pub rules: SiteRules,
    /// Machine and exceptions by which findings are judged.
    pub checks: Checks,
}

/// Settings of a run that solves or installs packages.
#[derive(Debug, Clone)]
pub struct PackageSettings {
    /// Variables and files that environment and requirements files may refer to.
    pub spec_context: SpecContext,
    /// Access to the channels, and the cache of their packages.
    pub network: NetworkSettings,
    /// The user's own cache, for the case that other users can write the cache of `network`.
    pub own_cache: PathBuf,
    /// conda's configuration, if the user asks for it to be followed.
    pub condarc: Option<Condarc>,
    /// Whether pip asks no index, so that it needs no network either.
    pub pip_without_index: bool,
    /// Properties of the target that replace the detected ones.
    pub overrides: Overrides,
}

/// Machine and exceptions by which the findings of a run are judged.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// The machine that jobs will run on.
    pub machine: condense_check::Machine,
    /// Findings that do not end the run.
    pub allowed: Vec<&'static condense_check::Code>,
    /// Python packages of the user, which programs may take instead of those of the environment.
    pub host_python: condense_check::HostPython,
}

/// Access to registries, and the cache of their images.
#[derive(Debug, Clone)]
pub struct Registries {
    /// Credentials, certificates, plain HTTP.
    pub access: condense_oci::Access,
    /// Cache of images. Without it, no image is kept.
    pub cache: Option<CacheLimit>,
    /// Whether no registry may be asked.
    pub offline: bool,
}

/// Directory and size limit of the cache of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLimit {
    /// Directory that holds nothing but images.
    pub dir: PathBuf,
    /// The user's own directory, for the case that other users can write `dir`.
    pub own: PathBuf,
    /// Maximum size of the cache in bytes.
    pub size_max: u64,
}

/// Caches of compressed blocks, and their size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockCacheSettings {
    /// Cache directory, below which blocks are kept. In one that a group can write, they are in a
    /// directory for this user alone.
    pub dir: PathBuf,
    /// The user's own cache directory, which is closed to others if it is `dir`.
    pub own: PathBuf,
    /// Directories of blocks that are only read, such as those of a site, in their order.
    pub sites: Vec<PathBuf>,
    /// Maximum size of the user's blocks in bytes.
    pub size_max: u64,
    /// Whether the user has set the size. Otherwise it is also limited by the free space.
    pub is_size_set: bool,
}

/// Values of conda's CONDA_OVERRIDE_* variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Version of the C library.
    pub glibc: Option<String>,
    /// CUDA version of the driver.
    pub cuda: Option<String>,
    /// Version of the kernel.
    pub linux: Option<String>,
    /// Level or name of the processor.
    pub archspec: Option<String>,
}
