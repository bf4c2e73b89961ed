//! Tests with Debian's MPI packages: the compiler of this machine links programs to the real
//! libraries.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use condense_check::{Inventory, Machine, Mpi, RuntimeContext, check_environment};

fn part(name: &str) -> PathBuf {
    let parts = std::env::var_os("CONDENSE_TEST_PARTS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../target/test-parts"
            ))
        },
        PathBuf::from,
    );
    let path = parts.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `scripts/setup-tests`",
        path.display()
    );
    path
}

/// Path of a library of the MPI `mpi` whose soname belongs to MPI.
fn library(mpi: &str, name: &str) -> PathBuf {
    let machine = std::env::consts::ARCH;
    part(&format!("mpi/{mpi}/usr/lib/{machine}-linux-gnu/{name}"))
}

fn codes(dir: &Path, mpi: Mpi) -> Vec<&'static str> {
    let inventory = Inventory::from_dir(dir, Path::new("/env"), None).unwrap();
    let machine = Machine {
        mpi: Some(mpi),
        ..Machine::default()
    };
    let findings = check_environment(&inventory, &RuntimeContext::default(), &machine);
    findings.iter().map(|finding| finding.code.name).collect()
}

#[test]
#[ignore = "needs: Debian's MPICH and Open MPI"]
fn programs_of_both_mpis_are_told_apart() {
    for (mpi, name, own, other) in [
        ("mpich", "libmpich.so.12", Mpi::Mpich, Mpi::OpenMpi),
        ("openmpi", "libmpi.so.40", Mpi::OpenMpi, Mpi::Mpich),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("p.c");
        fs_err::write(
            &source,
            "int MPI_Init(int *, char ***);\nint main(void) { return MPI_Init(0, 0); }\n",
        )
        .unwrap();
        let status = Command::new("cc")
            .arg("-o")
            .arg(dir.path().join("program"))
            .arg(&source)
            .arg(library(mpi, name))
            .arg("-Wl,--allow-shlib-undefined")
            .status();
        assert!(status.unwrap().success());
        assert_eq!(codes(dir.path(), own), Vec::<&str>::new(), "{mpi}");
        assert_eq!(codes(dir.path(), other), ["mpi-abi"], "{mpi}");
    }
}

#[test]
#[ignore = "needs: Debian's MPICH and Open MPI"]
fn the_libraries_of_an_mpi_do_not_count_as_its_programs() {
    let mpich = part("mpi/mpich/usr/lib");
    assert_eq!(codes(&mpich, Mpi::OpenMpi), Vec::<&str>::new());
}

/// Compiles a program that needs this library; `words` are for the linker.
fn program(dir: &Path, name: &str, library: &Path, words: &[&str]) {
    let source = dir.join("p.c");
    let text = "int MPI_Init(int *, char ***);\nint main(void) { return MPI_Init(0, 0); }\n";
    fs_err::write(&source, text).unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .arg("-o")
        .arg(dir.join(name))
        .arg(&source)
        .arg(library);
    compiler.arg("-Wl,--allow-shlib-undefined").args(words);
    assert!(compiler.status().unwrap().success());
}

#[test]
#[ignore = "needs: Debian's MPICH and Open MPI"]
fn both_mpis_in_one_environment_are_a_mixture() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "one", &library("mpich", "libmpich.so.12"), &[]);
    assert_eq!(codes(dir.path(), Mpi::Mpich), Vec::<&str>::new());
    program(
        dir.path(),
        "other",
        &library("openmpi", "libmpi.so.40"),
        &[],
    );
    assert_eq!(codes(dir.path(), Mpi::Mpich), ["mpi-mixed", "mpi-abi"]);
}

#[test]
#[ignore = "needs: Debian's MPICH and Open MPI"]
fn a_bundled_mpi_that_cannot_be_replaced_is_reported() {
    for (tags, expected) in [
        ("-Wl,--disable-new-dtags", &["mpi-pinned"][..]),
        ("-Wl,--enable-new-dtags", &[]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bundled = dir.path().join("libmpich.so.12");
        fs_err::copy(library("mpich", "libmpich.so.12"), &bundled).unwrap();
        program(
            dir.path(),
            "program",
            &bundled,
            &[tags, "-Wl,-rpath,$ORIGIN"],
        );
        assert_eq!(codes(dir.path(), Mpi::Mpich), expected, "{tags}");
    }
}
