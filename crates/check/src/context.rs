//! Responsible for the system in which an environment runs, and for the request of an environment.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use crate::{elf::Elf, machine::Mpi, packages::CondaPackage};

/// System that programs run on: the base image, plus the host directories that are bound into it.
pub trait BaseSystem: Debug {
    /// Returns the library of this name that the dynamic linker finds without a search path. A
    /// library that exists but cannot be parsed is returned as [`Elf::default`].
    fn library(&self, name: &str) -> Option<Elf>;
    /// Returns whether a path exists.
    fn exists(&self, path: &Path) -> bool;
}

/// System around an environment where the environment runs. Unknown values are not judged.
#[derive(Debug, Clone, Default)]
pub struct RuntimeContext<'a> {
    /// Files of the system.
    pub system: Option<&'a dyn BaseSystem>,
    /// Architecture as `uname -m` prints it.
    pub architecture: Option<String>,
    /// Version of the C library.
    pub glibc: Option<String>,
    /// Version of ROCm in the system.
    pub rocm: Option<String>,
    /// Version of CUDA in the system.
    pub cuda: Option<String>,
    /// MPI implementations that the base has libraries of.
    pub mpi: Vec<Mpi>,
    /// Name of the base if the name may refer to another image tomorrow.
    pub mutable_name: Option<String>,
    /// Files of the host that are bound into the container.
    pub bound_files: Vec<PathBuf>,
    /// Images that have to be mounted.
    pub images: Vec<MountedImage>,
    /// Path of the base image if the installation has only a link to it.
    pub linked_base: Option<String>,
}

/// Image that the runtime has to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedImage {
    /// Name of the image, shown in findings.
    pub name: String,
    /// Codec of its compression, such as `zstd`.
    pub codec: String,
}

/// Packages and channels that a user requests, before the solve.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Name of the requesting file, shown in findings.
    pub file: String,
    /// Channels as URLs or names.
    pub channels: Vec<String>,
    /// Requested conda packages; version and build are empty if they are not given.
    pub conda: Vec<CondaPackage>,
    /// Lines for pip as written, including options.
    pub pip: Vec<String>,
}
