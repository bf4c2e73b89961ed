//! Responsible for checking the processor: files for another architecture, and x86-64 levels that
//! the processor does not support.

use std::collections::BTreeMap;

use crate::context::RuntimeContext;
use crate::finding::some_of;
use crate::{
    code, finding::Finding, inventory::Inventory, machine::Machine, packages::CondaPackage,
};

/// Names of the packages with which conda-forge marks builds for an x86-64 level.
const MARKERS: [&str; 2] = ["_x86_64-microarch-level", "x86_64-microarch-level"];

pub(super) fn check(
    inventory: &Inventory,
    context: &RuntimeContext,
    machine: &Machine,
) -> Vec<Finding> {
    let mut findings = check_packages(&inventory.conda, "conda-meta", machine);
    let expected = [&machine.architecture, &context.architecture];
    let expected = expected.into_iter().flatten().next();
    let mut foreign: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut too_high: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for (path, elf) in &inventory.elves {
        let Some(found) = elf.architecture else {
            continue;
        };
        let parent = path.parent().and_then(|dir| dir.file_name()?.to_str());
        // Other directories may hold files for other machines that are chosen by name, such as the
        // prebuilt modules of node.
        let counts = matches!(parent, Some("bin" | "lib" | "lib64" | "lib-dynload"));
        if let Some(expected) = expected
            && found != expected.as_str()
        {
            if counts {
                foreign
                    .entry(found)
                    .or_default()
                    .push(inventory.display_path(path));
            }
        } else if let (Some(wanted), Some(there)) = (elf.cpu_level, machine.cpu_level)
            && wanted > there
        {
            too_high
                .entry(wanted)
                .or_default()
                .push(inventory.display_path(path));
        }
    }
    for (found, paths) in foreign {
        findings.push(Finding::new(
            &code::WRONG_ARCHITECTURE,
            format!(
                "files are for {found}, and they will run on {}",
                expected.map_or("another processor", String::as_str)
            ),
            some_of(&paths),
        ));
    }
    for (wanted, paths) in too_high {
        findings.push(too_new(wanted, &some_of(&paths), machine));
    }
    if let (Some(wanted), Some(found)) = (&machine.architecture, &context.architecture)
        && wanted != found
    {
        findings.push(Finding::new(
            &code::WRONG_ARCHITECTURE,
            format!("the base is for {found}, and {} has {wanted}", machine.site),
            "the base image",
        ));
    }
    findings
}

/// Checks packages that are built for an x86-64 level, recognised by the marker package among them.
pub(super) fn check_packages(
    packages: &[CondaPackage],
    location: &str,
    machine: &Machine,
) -> Vec<Finding> {
    let Some(there) = machine.cpu_level else {
        return Vec::new();
    };
    let marked = packages
        .iter()
        .filter(|package| MARKERS.contains(&package.name.as_str()));
    let levels = marked.filter_map(|package| {
        let version = package.version.trim_start_matches(['=', '>', '~']);
        version.split('.').next()?.parse::<u8>().ok()
    });
    levels
        .max()
        .filter(|wanted| *wanted > there)
        .map(|wanted| too_new(wanted, location, machine))
        .into_iter()
        .collect()
}

fn too_new(wanted: u8, location: &str, machine: &Machine) -> Finding {
    let there = machine.cpu_level.unwrap_or(1);
    Finding::new(
        &code::CPU_LEVEL,
        format!(
            "x86-64-v{wanted} is wanted, and {} has x86-64-v{there}",
            machine.site
        ),
        location,
    )
}
