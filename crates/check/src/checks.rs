//! Responsible for checking finished environments, requested packages and solved packages, and for
//! reporting findings.

mod codec;
mod cpu;
mod driver;
mod gpu;
mod image_below;
mod libraries;
pub(crate) mod mpi;
mod origin;
mod python;
pub(crate) mod shadows;
mod windows;

pub use shadows::{HostPython, check_host_python};

use crate::{
    context::{Request, RuntimeContext},
    finding::Finding,
    inventory::Inventory,
    machine::Machine,
    packages::{CondaPackage, PipPackage},
};

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
    findings.extend(windows::check(inventory, context));
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

#[cfg(test)]
mod tests;
