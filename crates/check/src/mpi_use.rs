//! Responsible for the part of an image in the decision which MPI its programs use: the libraries
//! that they need, and reasons why no other library can take their place.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    checks::mpi::{alternatives, users_of},
    context::RuntimeContext,
    elf::Elf,
    inventory::Inventory,
    machine::{Mpi, numbers},
};

/// Libraries of C++, Fortran and OpenMP. A process has only one of each, so that the newer one of
/// the image's and the host's has to be taken.
const OF_COMPILERS: [&str; 5] = [
    "libstdc++.so.6",
    "libgcc_s.so.1",
    "libgfortran.so.5",
    "libquadmath.so.0",
    "libgomp.so.1",
];

/// MPI libraries that the programs of an image need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MpiUse {
    /// Names of the libraries with MPICH's ABI, such as `libmpi.so.12`.
    pub needed: Vec<String>,
    /// Highest versions that libraries of the image define, such as `GLIBC_2.36`.
    pub versions: Vec<String>,
    /// Number in the name of the image's own library: `12.2.2`.
    pub number: Option<String>,
    /// Reason why no library of the host can take the place of the image's.
    pub refusal: Option<String>,
}

impl MpiUse {
    /// Finds the MPI libraries that programs of the environment need. `of_base` are the paths of
    /// the MPI libraries in the base: they count if no program of the environment needs one, since
    /// the programs of a base are not looked at. Returns `None` if there is no MPI at all.
    pub fn find(
        inventory: &Inventory,
        context: &RuntimeContext,
        of_base: &[PathBuf],
    ) -> Option<Self> {
        let mut needed = BTreeSet::new();
        let mut refusal = None;
        for (path, elf, name, mpi) in users_of(inventory, &inventory.elves) {
            let names = elf.needed.iter();
            needed.extend(
                names
                    .filter(|name| Mpi::from_library(name).is_some())
                    .cloned(),
            );
            refusal = refusal.or_else(|| refuse(inventory, context, (path, elf), name, mpi));
        }
        if needed.is_empty() {
            // The loader of such files takes the one that fits.
            let chosen_at_start = alternatives(inventory);
            let elves = inventory.elves.iter();
            let elves = elves.filter(|(path, _)| chosen_at_start.contains(*path));
            let names = elves.flat_map(|(_, elf)| &elf.needed);
            let mpich = names.filter(|name| Mpi::from_library(name) == Some(Mpi::Mpich));
            needed.extend(mpich.cloned());
        }
        let names = of_base.iter().filter_map(|path| path.file_name()?.to_str());
        let base: Vec<(&str, Mpi)> = names
            .filter_map(|name| Some((name, Mpi::from_library(name)?)))
            .collect();
        if needed.is_empty() {
            let mpich = base.iter().filter(|(_, mpi)| *mpi == Mpi::Mpich);
            needed.extend(mpich.map(|(name, _)| (*name).to_owned()));
            if needed.is_empty() {
                let (name, _) = base.first()?;
                needed.insert((*name).to_owned());
                refusal = Some(other_abi("the base", name));
            }
        }
        Some(Self {
            number: needed.iter().find_map(|name| number(inventory, name)),
            needed: needed.into_iter().collect(),
            versions: versions(inventory, context),
            refusal,
        })
    }
}

fn other_abi(who: &str, name: &str) -> String {
    format!(
        "{who} needs Open MPI's {name}, and only a library with MPICH's ABI can be replaced by the host's: build with MPICH"
    )
}

/// Returns a reason why no other library can take the place of the one that this file needs.
fn refuse(
    inventory: &Inventory,
    context: &RuntimeContext,
    (path, elf): (&Path, &Elf),
    name: &str,
    mpi: Mpi,
) -> Option<String> {
    let shown = inventory.display_path(path);
    if mpi == Mpi::OpenMpi {
        return Some(other_abi(&shown, name));
    }
    if name.contains('-') {
        return Some(format!("{shown} brings its own MPI, {name}"));
    }
    if !elf.runpath.is_empty() {
        return None;
    }
    let origin = path.parent().unwrap_or(Path::new("/"));
    let pinned = elf.search_path(origin).find(|dir| {
        let found = inventory.resolve(&dir.join(name));
        inventory.elves.contains_key(&found)
            || context.system.is_some_and(|system| system.exists(&found))
    })?;
    Some(format!(
        "{shown} takes {name} from {} by its RPATH",
        inventory.display_path(&inventory.resolve(&pinned))
    ))
}

/// Returns the number in the name of the file that a library's name leads to.
fn number(inventory: &Inventory, name: &str) -> Option<String> {
    let mut links = inventory.links.keys();
    let link = links.find(|path| path.file_name() == Some(name.as_ref()))?;
    let file = inventory.resolve(link);
    let (_, number) = file.file_name()?.to_str()?.split_once(".so.")?;
    number.contains('.').then(|| number.to_owned())
}

/// Returns the highest versions that the libraries of C and of compilers define. Those of the
/// environment count before those of the base.
fn versions(inventory: &Inventory, context: &RuntimeContext) -> Vec<String> {
    let mut highest: BTreeMap<String, String> = BTreeMap::new();
    for library in OF_COMPILERS {
        let mut elves = inventory.elves.iter();
        let is_it = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            // The file behind the link has a longer number.
            name.is_some_and(|name| {
                name == library
                    || name
                        .strip_prefix(library)
                        .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let own = elves.find(|(path, _)| is_it(path));
        let own = own.map(|(_, elf)| elf.clone());
        let Some(elf) = own.or_else(|| context.system?.library(library)) else {
            continue;
        };
        for version in &elf.defined {
            let Some((family, number)) = split(version) else {
                continue;
            };
            let known = highest.entry(family.to_owned()).or_default();
            if numbers(number) > numbers(known) {
                number.clone_into(known);
            }
        }
    }
    let glibc = context
        .glibc
        .iter()
        .map(|version| format!("GLIBC_{version}"));
    let others = highest
        .iter()
        .map(|(family, number)| format!("{family}_{number}"));
    glibc.chain(others).collect()
}

/// Splits the version of a symbol into its family and its number.
fn split(version: &str) -> Option<(&str, &str)> {
    let (family, number) = version.rsplit_once('_')?;
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    (is_number && !family.is_empty()).then_some((family, number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn elf(needed: &[&str], rpath: &[&str], runpath: &[&str]) -> Elf {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Elf {
            needed: words(needed),
            rpath: words(rpath),
            runpath: words(runpath),
            ..Elf::default()
        }
    }

    fn inventory(files: &[(&str, Elf)]) -> Inventory {
        Inventory {
            root: "/env".into(),
            elves: files
                .iter()
                .map(|(path, elf)| (PathBuf::from(path), elf.clone()))
                .collect(),
            ..Inventory::default()
        }
    }

    fn found(files: &[(&str, Elf)], of_base: &[&str]) -> Option<MpiUse> {
        let context = RuntimeContext {
            glibc: Some("2.36".to_owned()),
            ..RuntimeContext::default()
        };
        let of_base: Vec<PathBuf> = of_base.iter().map(PathBuf::from).collect();
        MpiUse::find(&inventory(files), &context, &of_base)
    }

    /// I5 (1): the closure of the image says which libraries of an MPI it needs.
    #[test]
    fn the_needed_libraries_are_those_of_programs() {
        assert_eq!(
            found(&[("/env/bin/p", elf(&["libc.so.6"], &[], &[]))], &[]),
            None
        );
        let files = [
            ("/env/bin/p", elf(&["libmpi.so.12", "libc.so.6"], &[], &[])),
            (
                "/env/bin/f",
                elf(&["libmpifort.so.12", "libmpi.so.12"], &[], &[]),
            ),
        ];
        let uses = found(&files, &["/usr/lib/libmpi.so.40"]).unwrap();
        assert_eq!(uses.needed, ["libmpi.so.12", "libmpifort.so.12"]);
        assert_eq!(
            (uses.refusal, uses.versions),
            (None, vec!["GLIBC_2.36".to_owned()])
        );
        // Programs of a base are not looked at, but its library is.
        let uses = found(&[], &["/usr/lib/libmpich.so.12"]).unwrap();
        assert_eq!(
            (uses.needed, uses.refusal),
            (vec!["libmpich.so.12".to_owned()], None)
        );
        // Wheels of mpi4py have a file for each MPI.
        let files = [
            ("/env/mpi4py/MPI.mpich.so", elf(&["libmpi.so.12"], &[], &[])),
            (
                "/env/mpi4py/MPI.openmpi.so",
                elf(&["libmpi.so.40"], &[], &[]),
            ),
        ];
        let uses = found(&files, &[]).unwrap();
        assert_eq!(
            (uses.needed, uses.refusal),
            (vec!["libmpi.so.12".to_owned()], None)
        );
    }

    /// I5 (1): Open MPI, a bundled library and an RPATH are refused with the file.
    #[test]
    fn libraries_that_cannot_be_replaced_are_named() {
        let refusal =
            |files: &[(&str, Elf)], of_base: &[&str]| found(files, of_base).unwrap().refusal;
        let open = [("/env/bin/p", elf(&["libmpi.so.40"], &[], &[]))];
        assert!(
            refusal(&open, &[])
                .unwrap()
                .starts_with("bin/p needs Open MPI's libmpi.so.40")
        );
        let of_base = refusal(&[], &["/usr/lib/libmpi.so.40"]).unwrap();
        assert!(
            of_base.starts_with("the base needs Open MPI's"),
            "{of_base}"
        );
        let bundled = [("/env/bin/p", elf(&["libmpi-1a2b3c4d.so.12"], &[], &[]))];
        assert_eq!(
            refusal(&bundled, &[]).unwrap(),
            "bin/p brings its own MPI, libmpi-1a2b3c4d.so.12"
        );
        let library = ("/env/lib/libmpi.so.12", Elf::default());
        for (rpath, runpath, expected) in [
            (
                &["$ORIGIN/../lib"][..],
                &[][..],
                Some("bin/p takes libmpi.so.12 from lib by its RPATH"),
            ),
            (&[], &["$ORIGIN/../lib"], None),
            (&["$ORIGIN/../lib"], &["/x"], None),
            (&["/elsewhere"], &[], None),
        ] {
            let files = [
                ("/env/bin/p", elf(&["libmpi.so.12"], rpath, runpath)),
                library.clone(),
            ];
            assert_eq!(
                refusal(&files, &[]).as_deref(),
                expected,
                "{rpath:?} {runpath:?}"
            );
        }
    }

    /// I5 (4): the image's versions are the highest ones, and the environment's own library counts.
    #[test]
    fn versions_are_the_highest_of_each_family() {
        let mut library = Elf::default();
        for version in [
            "GLIBCXX_3.4.9",
            "GLIBCXX_3.4.30",
            "CXXABI_1.3",
            "CXXABI_FLOAT128",
        ] {
            library.defined.insert(version.to_owned());
        }
        let files = [
            ("/env/lib/libstdc++.so.6.0.30", library),
            ("/env/bin/p", elf(&["libmpi.so.12"], &[], &[])),
        ];
        let uses = found(&files, &[]).unwrap();
        assert_eq!(
            uses.versions,
            ["GLIBC_2.36", "CXXABI_1.3", "GLIBCXX_3.4.30"]
        );
        for (version, expected) in [
            ("GFORTRAN_C99_8", Some(("GFORTRAN_C99", "8"))),
            ("GCC_3.3.1", Some(("GCC", "3.3.1"))),
            ("GLIBC_PRIVATE", None),
            ("libx.so.1", None),
        ] {
            assert_eq!(split(version), expected, "{version}");
        }
    }

    /// I7: the number of the image's library is in the name of the file behind the link.
    #[test]
    fn the_number_is_read_behind_the_link() {
        let mut inventory = inventory(&[
            ("/env/lib/libmpi.so.12.2.2", Elf::default()),
            ("/env/bin/p", elf(&["libmpi.so.12"], &[], &[])),
        ]);
        inventory
            .links
            .insert("/env/lib/libmpi.so.12".into(), "libmpi.so.12.2.2".into());
        let uses = MpiUse::find(&inventory, &RuntimeContext::default(), &[]).unwrap();
        assert_eq!(uses.number.as_deref(), Some("12.2.2"));
    }
}
