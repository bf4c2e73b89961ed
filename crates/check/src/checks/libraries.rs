//! Responsible for checking the closure of ELF files: every needed library and every needed version
//! of a symbol must exist.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use super::mpi;
use crate::context::{BaseSystem, RuntimeContext};
use crate::finding::some_of;
use crate::{
    code,
    elf::Elf,
    finding::Finding,
    inventory::Inventory,
    machine::{Machine, Mpi, numbers},
};

pub(super) fn check(
    inventory: &Inventory,
    context: &RuntimeContext,
    machine: &Machine,
) -> Vec<Finding> {
    let Some(system) = context.system else {
        return Vec::new();
    };
    let mut linker = Linker::new(inventory, system);
    let reached = linker.reached_by_programs();
    let chosen_at_start = mpi::alternatives(inventory);
    let mut missing: BTreeMap<String, (bool, Vec<String>)> = BTreeMap::new();
    let mut too_new: BTreeMap<(bool, String, String), Vec<String>> = BTreeMap::new();
    for (path, elf) in &inventory.elves {
        // A file for another architecture has a finding of its own, and the dynamic linker of this
        // machine does not load it.
        if elf.architecture.is_none()
            || (context.architecture.is_some()
                && elf.architecture != context.architecture.as_deref())
        {
            continue;
        }
        for name in &elf.needed {
            let is_for_others = chosen_at_start.contains(path) && Mpi::from_library(name).is_some();
            if is_for_others
                || is_provided_by_node(name, context, machine)
                || linker.has_library(path, elf, name)
            {
                continue;
            }
            let entry = missing.entry(name.clone()).or_default();
            entry.0 |= reached.contains(path);
            entry.1.push(inventory.display_path(path));
        }
        for (library, version) in &elf.wanted {
            let of_libc = version.starts_with("GLIBC_");
            let there = if of_libc {
                linker.has_glibc(context, library, version)
            } else {
                linker.has_version(path, elf, library, version)
            };
            if !there {
                let key = (of_libc, library.clone(), version.clone());
                too_new
                    .entry(key)
                    .or_default()
                    .push(inventory.display_path(path));
            }
        }
    }
    let mut findings = Vec::new();
    let (mut of_modules, mut modules) = (Vec::new(), BTreeSet::new());
    for (name, (by_program, paths)) in missing {
        if by_program {
            findings.push(Finding::new(
                &code::MISSING_LIBRARY,
                format!("`{name}` is neither in the environment nor in the base"),
                some_of(&paths),
            ));
        } else {
            of_modules.push(format!("`{name}`"));
            modules.extend(paths);
        }
    }
    // Plugins for absent hardware often miss many libraries at once; they share one finding.
    if !of_modules.is_empty() {
        let verb = if of_modules.len() == 1 { "is" } else { "are" };
        let modules: Vec<String> = modules.into_iter().collect();
        findings.push(Finding::new(
            &code::MISSING_MODULE_LIBRARY,
            format!(
                "{} {verb} neither in the environment nor in the base",
                some_of(&of_modules)
            ),
            some_of(&modules),
        ));
    }
    findings.extend(versions(too_new, context));
    findings
}

/// Newest version of a library that is needed, and the files that need any version of it.
#[derive(Default)]
struct Newest {
    rank: Vec<u32>,
    version: String,
    paths: BTreeSet<String>,
}

/// Returns one finding for the C library and one for each other library, since a library that has
/// the newest needed version has the older ones too.
fn versions(
    too_new: BTreeMap<(bool, String, String), Vec<String>>,
    context: &RuntimeContext,
) -> Vec<Finding> {
    let mut groups: BTreeMap<(bool, String), Newest> = BTreeMap::new();
    for ((of_libc, library, version), paths) in too_new {
        let key = (of_libc, if of_libc { String::new() } else { library });
        let rank = numbers(version.rsplit('_').next().unwrap_or(""));
        let group = groups.entry(key).or_default();
        if group.version.is_empty() || rank > group.rank {
            (group.rank, group.version) = (rank, version);
        }
        group.paths.extend(paths);
    }
    let mut findings = Vec::new();
    for ((of_libc, library), Newest { version, paths, .. }) in groups {
        let paths: Vec<String> = paths.into_iter().collect();
        findings.push(if of_libc {
            let base = context.glibc.as_deref().unwrap_or("an older one");
            Finding::new(
                &code::GLIBC_TOO_OLD,
                format!("{version} is wanted, and programs will run on the C library {base}"),
                some_of(&paths),
            )
        } else {
            Finding::new(
                &code::SYMBOL_VERSION,
                format!("{version} of `{library}` is wanted, and no `{library}` here has it"),
                some_of(&paths),
            )
        });
    }
    findings
}

/// Returns whether the node provides the library: the dynamic linker itself, libraries of the GPU
/// driver, which the runtime binds with `--nv` or `--rocm`, and libraries that the site binds.
fn is_provided_by_node(name: &str, context: &RuntimeContext, machine: &Machine) -> bool {
    const PARTS: [&str; 6] = [
        "ld-linux",
        "ld64.so",
        "linux-vdso",
        "libnvidia-",
        "libnvcuvid.so",
        "libnvoptix.so",
    ];
    let of_site = match (machine.mpi, Mpi::from_library(name)) {
        // Such a program is meant to find the MPI of the host.
        (Some(of_site), Some(wanted)) => of_site == wanted && !name.contains('-'),
        _ => false,
    };
    of_site
        || name == "libcuda.so.1"
        || name == "libcuda.so"
        || PARTS.iter().any(|part| name.starts_with(part))
        || context
            .bound_files
            .iter()
            .any(|path| path.file_name() == Some(name.as_ref()))
}

/// Searches for libraries as the dynamic linker does, and also in places from which previously
/// loaded modules may have loaded them.
struct Linker<'a> {
    inventory: &'a Inventory,
    system: &'a dyn BaseSystem,
    /// Paths of ELF files and links of the environment by file name.
    by_name: HashMap<&'a str, Vec<&'a Path>>,
    base_libraries: HashMap<String, Option<Elf>>,
}

impl<'a> Linker<'a> {
    fn new(inventory: &'a Inventory, system: &'a dyn BaseSystem) -> Self {
        let mut by_name: HashMap<&str, Vec<&Path>> = HashMap::new();
        for path in inventory.elves.keys().chain(inventory.links.keys()) {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                by_name.entry(name).or_default().push(path);
            }
        }
        Self {
            inventory,
            system,
            by_name,
            base_libraries: HashMap::new(),
        }
    }

    fn base_library(&mut self, name: &str) -> Option<&Elf> {
        let system = self.system;
        self.base_libraries
            .entry(name.to_owned())
            .or_insert_with(|| system.library(name))
            .as_ref()
    }

    /// Returns whether the C library of the system has the version. A file of that name in the
    /// environment is ignored, since it is never used.
    fn has_glibc(&mut self, context: &RuntimeContext, library: &str, version: &str) -> bool {
        if let Some(elf) = self.base_library(library)
            && !elf.defined.is_empty()
        {
            return elf.defined.contains(version);
        }
        let wanted = numbers(version.trim_start_matches("GLIBC_"));
        match &context.glibc {
            // GLIBC_PRIVATE has no number and is accepted.
            Some(there) => wanted <= numbers(there),
            None => true,
        }
    }

    /// Returns the path of a library in the environment, found by the search path of the file that
    /// needs it.
    fn find_by_search_path(&self, path: &Path, elf: &Elf, name: &str) -> Option<PathBuf> {
        let origin = self.inventory.resolve(path);
        let origin = origin.parent().unwrap_or(Path::new("/"));
        elf.search_path(origin)
            .map(|dir| self.inventory.resolve(&dir.join(name)))
            .find(|found| self.inventory.elves.contains_key(found))
    }

    /// Returns whether a library is found: by the file's own search path, by the search path of the
    /// file that loads it, in the base, or because a module has loaded it before. Any place in the
    /// environment is accepted, because a false alarm is worse than a missed finding.
    fn has_library(&mut self, path: &Path, elf: &Elf, name: &str) -> bool {
        if name.starts_with('/') {
            let found = self.inventory.resolve(Path::new(name));
            return self.inventory.elves.contains_key(&found) || self.system.exists(&found);
        }
        self.by_name.contains_key(name)
            || self.find_by_search_path(path, elf, name).is_some()
            || self.base_library(name).is_some()
            || self.is_named_by_search_path(path, elf, name)
    }

    /// Returns whether the search path leads to the library in the base: `/opt/rocm/lib`.
    fn is_named_by_search_path(&self, path: &Path, elf: &Elf, name: &str) -> bool {
        let origin = path.parent().unwrap_or(Path::new("/"));
        elf.search_path(origin)
            .any(|dir| dir.is_absolute() && self.system.exists(&dir.join(name)))
    }

    /// Returns whether any library that could be loaded has this version. A library without
    /// versions is accepted.
    fn has_version(&mut self, path: &Path, elf: &Elf, library: &str, version: &str) -> bool {
        let mut candidates: Vec<PathBuf> = self
            .find_by_search_path(path, elf, library)
            .into_iter()
            .collect();
        let named = self.by_name.get(library).into_iter().flatten();
        candidates.extend(named.map(|path| self.inventory.resolve(path)));
        let mut judged = false;
        for candidate in candidates {
            if let Some(found) = self.inventory.elves.get(&candidate) {
                judged = true;
                if found.defined.is_empty() || found.defined.contains(version) {
                    return true;
                }
            }
        }
        match self.base_library(library) {
            Some(found) => found.defined.is_empty() || found.defined.contains(version),
            // A library that is not found at all is reported once, as a missing library.
            None => !judged,
        }
    }

    /// Returns programs and the libraries that are loaded when they start.
    fn reached_by_programs(&self) -> BTreeSet<PathBuf> {
        let inventory = self.inventory;
        let mut reached = BTreeSet::new();
        let mut ahead: Vec<PathBuf> = inventory
            .elves
            .iter()
            .filter(|(path, elf)| elf.is_program && !is_library(path))
            .map(|(path, _)| path.clone())
            .collect();
        while let Some(path) = ahead.pop() {
            if reached.contains(&path) {
                continue;
            }
            if let Some(elf) = inventory.elves.get(&path) {
                let needed = elf.needed.iter();
                ahead.extend(needed.filter_map(|name| self.find_by_search_path(&path, elf, name)));
            }
            reached.insert(path);
        }
        reached
    }
}

/// Returns whether the file is a library by its name. Some libraries can also be started, to print
/// their version.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains(".so")
}
