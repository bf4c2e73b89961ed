//! Responsible for checking finished environments, requested packages and solved packages, and for
//! reporting findings.

mod codec;
mod cpu;
mod driver;
mod gpu;
mod image_below;
mod libraries;
mod mpi;
mod origin;
mod python;

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use crate::{
    elf::Elf,
    finding::Finding,
    inventory::Inventory,
    machine::{Machine, Mpi},
    packages::{CondaPackage, PipPackage},
};

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

/// Checks a finished environment.
pub fn check_environment(
    inventory: &Inventory,
    context: &RuntimeContext,
    machine: &Machine,
) -> Vec<Finding> {
    let mut findings = libraries::check(inventory, context, machine);
    findings.extend(mpi::check(inventory, context, machine));
    findings.extend(gpu::check(inventory, context, machine));
    findings.extend(cpu::check(inventory, context, machine));
    findings.extend(codec::check(context, machine));
    findings.extend(python::check(inventory, context));
    findings.extend(origin::check(inventory, context));
    findings
}

/// Checks a request, against a base as far as the base is known.
pub fn check_request(
    request: &Request,
    context: &RuntimeContext,
    machine: &Machine,
) -> Vec<Finding> {
    let pip: Vec<PipPackage> = request.pip.iter().filter_map(|l| pip_package(l)).collect();
    let mut findings = gpu::check_request(request, &pip, context, machine);
    findings.extend(driver::check_base(context, machine));
    findings.extend(codec::check(context, machine));
    findings.extend(cpu::check_packages(&request.conda, &request.file, machine));
    findings.extend(origin::check_request(request, context));
    findings
}

/// Checks the packages that a solver has chosen, before they are downloaded.
pub fn check_packages(
    conda: &[CondaPackage],
    pip: &[PipPackage],
    location: &str,
    machine: &Machine,
) -> Vec<Finding> {
    let mut findings = gpu::check_packages(conda, pip, location, machine);
    findings.extend(cpu::check_packages(conda, location, machine));
    findings
}

/// Returns the package that a line for pip requests: `torch[extra]==2.5.1+cu121 ; marker`. Returns
/// `None` for options and paths.
fn pip_package(line: &str) -> Option<PipPackage> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    if let Some(wheel) = PipPackage::from_wheel(line) {
        return Some(wheel);
    }
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    if name.is_empty() || name.starts_with(['-', '.']) || rest.starts_with(['/', ':', '+']) {
        return None;
    }
    let rest = rest.split(';').next().unwrap_or(rest);
    let version = rest.split_once("==").map_or("", |(_, version)| version);
    let version = version.trim_start_matches('=').split([',', ' ']);
    let version = version.map(str::trim).find(|word| !word.is_empty());
    Some(PipPackage::new(name, version.unwrap_or("")))
}

/// Shortens a list of names: `a, b and 3 more`.
fn some_of<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 2;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len() {
        0 => String::new(),
        count if count <= SHOWN => shown.join(" and "),
        count => format!("{} and {} more", shown.join(", "), count - SHOWN),
    }
}

#[cfg(test)]
mod tests;
