//! Responsible for checking finished environments, requested packages and solved packages, and for
//! reporting findings.

mod codec;
mod cpu;
mod driver;
mod gpu;
mod libraries;
pub(crate) mod mpi;
mod origin;
mod python;
#[cfg(test)]
pub(crate) mod testing;

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
pub trait System: Debug {
    /// Returns the library of this name that the dynamic linker finds without a search path. A
    /// library that exists but cannot be parsed is returned as [`Elf::default`].
    fn library(&self, name: &str) -> Option<Elf>;
    /// Returns whether a path exists.
    fn exists(&self, path: &Path) -> bool;
}

/// System around an environment where the environment runs. Unknown values are not judged.
#[derive(Debug, Clone, Default)]
pub struct Surroundings<'a> {
    /// Files of the system.
    pub system: Option<&'a dyn System>,
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
    pub moving: Option<String>,
    /// Files of the host that are bound into the container.
    pub shown: Vec<PathBuf>,
    /// Images that have to be mounted, each with its compression: `zstd`.
    pub images: Vec<(String, String)>,
    /// Path of the base image if the installation has only a link to it.
    pub linked: Option<String>,
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
pub fn result(inventory: &Inventory, around: &Surroundings, machine: &Machine) -> Vec<Finding> {
    let mut findings = libraries::check(inventory, around, machine);
    findings.extend(mpi::check(inventory, around, machine));
    findings.extend(gpu::check(inventory, around, machine));
    findings.extend(cpu::check(inventory, around, machine));
    findings.extend(codec::check(around, machine));
    findings.extend(python::check(inventory, around));
    findings.extend(origin::check(inventory, around));
    findings
}

/// Checks a request, against a base as far as the base is known.
pub fn request(request: &Request, around: &Surroundings, machine: &Machine) -> Vec<Finding> {
    let pip: Vec<PipPackage> = request.pip.iter().filter_map(|l| pip_package(l)).collect();
    let mut findings = gpu::check_request(request, &pip, around, machine);
    findings.extend(driver::check_base(around, machine));
    findings.extend(codec::check(around, machine));
    findings.extend(cpu::check_packages(&request.conda, &request.file, machine));
    findings.extend(origin::check_request(request, around));
    findings
}

/// Checks the packages that a solver has chosen, before they are downloaded.
pub fn packages(
    conda: &[CondaPackage],
    pip: &[PipPackage],
    seen: &str,
    machine: &Machine,
) -> Vec<Finding> {
    let mut findings = gpu::check_packages(conda, pip, seen, machine);
    findings.extend(cpu::check_packages(conda, seen, machine));
    findings
}

/// Returns the package that a line for pip requests: `torch[extra]==2.5.1+cu121 ; marker`. Returns
/// `None` for options and paths.
fn pip_package(line: &str) -> Option<PipPackage> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    if let Some(wheel) = PipPackage::of_wheel(line) {
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
mod kinds;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_for_pip_name_packages() {
        for (line, expected) in [
            ("torch==2.5.1+cu121", Some(("torch", "2.5.1+cu121"))),
            (
                "Torch [x] >=2 ; python_version < '3.12'",
                Some(("torch", "")),
            ),
            ("jax[cuda12]===0.4.30 # c", Some(("jax", "0.4.30"))),
            (
                "https://download.pytorch.org/whl/rocm6.2/torch-2.5.1%2Brocm6.2-cp312-cp312-linux_x86_64.whl#sha256=ab",
                Some(("torch", "2.5.1+rocm6.2")),
            ),
            ("-r more.txt", None),
            ("--extra-index-url https://x", None),
            ("./local", None),
            ("git+https://host/x.git", None),
        ] {
            let package = pip_package(line);
            let found = package
                .as_ref()
                .map(|p| (p.name.as_str(), p.version.as_str()));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn many_are_shortened() {
        assert_eq!(some_of(&["a"]), "a");
        assert_eq!(some_of(&["a", "b"]), "a and b");
        assert_eq!(some_of(&["a", "b", "c", "d"]), "a, b and 2 more");
    }
}
