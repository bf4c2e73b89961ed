//! Responsible for MPI: whose libraries programs ask for, and whether the host's could take their place.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{Surroundings, some_of};
use crate::{
    code,
    finding::Finding,
    inventory::Inventory,
    machine::{Machine, Mpi},
};

pub(super) fn check(
    inventory: &Inventory,
    around: &Surroundings,
    machine: &Machine,
) -> Vec<Finding> {
    let mut users: BTreeMap<Mpi, Vec<String>> = BTreeMap::new();
    let mut pinned: Vec<String> = Vec::new();
    let chosen_at_start = alternatives(inventory);
    for (path, elf) in &inventory.elves {
        if is_mpi_itself(path) || chosen_at_start.contains(path) {
            continue;
        }
        let Some((name, mpi)) = elf
            .needed
            .iter()
            .find_map(|name| Some((name, Mpi::of_library(name)?)))
        else {
            continue;
        };
        users.entry(mpi).or_default().push(inventory.shown(path));
        // RUNPATH comes behind LD_LIBRARY_PATH, by which the host's MPI is put in place.
        let origin = path.parent().unwrap_or(Path::new("/"));
        let by_rpath = elf.runpath.is_empty()
            && elf.search_path(origin).any(|dir| {
                let found = inventory.resolve(&dir.join(name));
                inventory.elves.contains_key(&found)
            });
        // auditwheel renames what it bundles, so nothing else can ever be found under that name.
        if by_rpath || name.contains('-') {
            pinned.push(inventory.shown(path));
        }
    }
    let bundled = inventory.elves.keys().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        Mpi::of_library(name)
    });
    let bundled: Vec<Mpi> = bundled.collect();
    let mut findings = Vec::new();
    if let [(_, one), (_, other)] = &users.iter().collect::<Vec<_>>()[..] {
        findings.push(Finding::new(
            &code::MPI_MIXED,
            "some files need MPICH's library and some Open MPI's",
            format!("{} and {}", one[0], other[0]),
        ));
    }
    for (mpi, seen) in &users {
        let (whose, expected) = match (machine.mpi, &around.mpi[..]) {
            (Some(expected), _) => (format!("{}'s", machine.site), expected),
            // What an environment brings itself runs at least on one node.
            (None, [expected]) if !bundled.contains(mpi) => ("the base's".to_owned(), *expected),
            _ => continue,
        };
        if *mpi != expected {
            findings.push(Finding::new(
                &code::MPI_ABI,
                format!(
                    "{} is built in, and {whose} MPI is {}",
                    mpi.as_str(),
                    expected.as_str()
                ),
                some_of(seen),
            ));
        }
    }
    if machine.mpi.is_some() && !pinned.is_empty() {
        findings.push(Finding::new(
            &code::MPI_PINNED,
            format!(
                "the host's {} cannot take the place of the bundled MPI",
                machine.mpi.map_or("MPI", Mpi::as_str)
            ),
            some_of(&pinned),
        ));
    }
    findings
}

/// Files beside each other with one stem for several MPIs, of which whoever loads them takes the one that fits: the wheels of
/// mpi4py have `MPI.mpich.….so` and `MPI.openmpi.….so`.
pub(super) fn alternatives(inventory: &Inventory) -> BTreeSet<PathBuf> {
    let mut groups: BTreeMap<(&Path, &str), Vec<(Mpi, &PathBuf)>> = BTreeMap::new();
    for (path, elf) in &inventory.elves {
        let mpi = elf.needed.iter().find_map(|name| Mpi::of_library(name));
        let (Some(mpi), Some(dir)) = (mpi, path.parent()) else {
            continue;
        };
        let name = path.file_name().and_then(|name| name.to_str());
        // A program's name has no parts.
        let Some((stem, _)) = name.and_then(|name| name.split_once('.')) else {
            continue;
        };
        groups.entry((dir, stem)).or_default().push((mpi, path));
    }
    groups
        .into_values()
        .filter(|group| group.iter().any(|(mpi, _)| *mpi != group[0].0))
        .flatten()
        .map(|(_, path)| path.clone())
        .collect()
}

/// The parts of an MPI need each other, which says nothing about programs.
fn is_mpi_itself(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [
        "libmpi",
        "libmpich",
        "libopen-",
        "liboshmem",
        "libompi",
        "mca_",
        "libpmpi",
        "libmca_",
    ]
    .iter()
    .any(|part| name.starts_with(part))
        || path.parent().and_then(Path::file_name) == Some("bin".as_ref())
            && ["mpi", "hydra", "ompi", "orte", "prte", "oshmem", "opal"]
                .iter()
                .any(|part| name.starts_with(part))
}
