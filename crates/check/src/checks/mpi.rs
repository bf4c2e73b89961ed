//! Responsible for checking MPI: which implementation programs need, and whether the MPI of the
//! host can replace it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::context::RuntimeContext;
use crate::finding::some_of;
use crate::{
    code,
    elf::Elf,
    finding::Finding,
    inventory::Inventory,
    machine::{Machine, Mpi},
};

pub(super) fn check(
    inventory: &Inventory,
    context: &RuntimeContext,
    machine: &Machine,
) -> Vec<Finding> {
    let mut users: BTreeMap<Mpi, Vec<String>> = BTreeMap::new();
    let mut pinned: Vec<String> = Vec::new();
    for (path, elf, name, mpi) in users_of(inventory, &inventory.elves) {
        users
            .entry(mpi)
            .or_default()
            .push(inventory.display_path(path));
        // The dynamic linker searches RUNPATH after LD_LIBRARY_PATH, which puts the MPI of the host
        // first.
        let origin = path.parent().unwrap_or(Path::new("/"));
        let by_rpath = elf.runpath.is_empty()
            && elf.search_path(origin).any(|dir| {
                let found = inventory.resolve(&dir.join(name));
                inventory.elves.contains_key(&found)
            });
        // auditwheel renames the libraries that it bundles, so no other library can be found under
        // such a name.
        if by_rpath || name.contains('-') {
            pinned.push(inventory.display_path(path));
        }
    }
    let bundled = inventory.elves.keys().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        Mpi::from_library(name)
    });
    let bundled: Vec<Mpi> = bundled.collect();
    let mut findings = Vec::new();
    let mut users_below = users_of(inventory, &inventory.mpi_users_below);
    let mixed = match users.iter().collect::<Vec<_>>()[..] {
        [(_, one), (_, other)] => Some((one[0].clone(), other[0].clone())),
        [(mpi, paths)] => users_below
            .find(|(.., of)| of != mpi)
            .map(|(path, ..)| (paths[0].clone(), inventory.display_path(path))),
        _ => None,
    };
    if let Some((one, other)) = mixed {
        findings.push(Finding::new(
            &code::MPI_MIXED,
            "some files need MPICH's library and some Open MPI's",
            format!("{one} and {other}"),
        ));
    }
    for (mpi, paths) in &users {
        let (owner, expected) = match (machine.mpi, &context.mpi[..]) {
            (Some(expected), _) => (format!("{}'s", machine.site), expected),
            // An MPI that the environment itself holds runs at least on one node.
            (None, [expected]) if !bundled.contains(mpi) => ("the base's".to_owned(), *expected),
            _ => continue,
        };
        if *mpi != expected {
            findings.push(Finding::new(
                &code::MPI_ABI,
                format!(
                    "{} is built in, and {owner} MPI is {}",
                    mpi.as_str(),
                    expected.as_str()
                ),
                some_of(paths),
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

/// Returns whether any file needs an MPI.
pub(super) fn has_users(inventory: &Inventory) -> bool {
    users_of(inventory, &inventory.elves).next().is_some()
}

/// Lists the files among `elves` that need an MPI directly, each with the name of the library and
/// its implementation.
pub(crate) fn users_of<'a>(
    inventory: &Inventory,
    elves: &'a BTreeMap<PathBuf, Elf>,
) -> impl Iterator<Item = (&'a PathBuf, &'a Elf, &'a str, Mpi)> {
    let chosen_at_start = alternatives(inventory);
    elves.iter().filter_map(move |(path, elf)| {
        if is_mpi_itself(path) || chosen_at_start.contains(path) {
            return None;
        }
        let mut libraries = elf.needed.iter();
        let (name, mpi) = libraries.find_map(|name| Some((name, Mpi::from_library(name)?)))?;
        Some((path, elf, name.as_str(), mpi))
    })
}

/// Finds files in one directory that have the same stem and are built for different MPIs. Their
/// loader chooses the one that fits: the wheels of mpi4py have `MPI.mpich.….so` and
/// `MPI.openmpi.….so`.
pub(crate) fn alternatives(inventory: &Inventory) -> BTreeSet<PathBuf> {
    let mut groups: BTreeMap<(&Path, &str), Vec<(Mpi, &PathBuf)>> = BTreeMap::new();
    for (path, elf) in inventory.elves.iter().chain(&inventory.mpi_users_below) {
        let mpi = elf.needed.iter().find_map(|name| Mpi::from_library(name));
        let (Some(mpi), Some(dir)) = (mpi, path.parent()) else {
            continue;
        };
        let name = path.file_name().and_then(|name| name.to_str());
        // The name of a program has no parts.
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

/// Returns whether the file belongs to an MPI itself. The libraries of an MPI need each other,
/// which shows nothing about programs.
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
