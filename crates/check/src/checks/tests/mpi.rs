//! Tests of findings about MPI.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::{BESIDE, BESIDE_LATER};
use crate::{
    Mpi,
    checks::check_environment,
    context::RuntimeContext,
    testing::{Fixture, packed},
};

fn mpi_fixture(soname: &str, how: &str) -> Fixture {
    let fixture = Fixture::new();
    fixture
        .library(&format!("lib/{soname}"), soname, &[])
        .program("bin/simulation", &[&format!("lib/{soname}")], &[how]);
    fixture
}

#[test]
fn mpi_abi() {
    let mut fixture = mpi_fixture("libmpi.so.40", BESIDE_LATER);
    fixture.assert_findings(&[]);
    fixture.machine.mpi = Some(Mpi::OpenMpi);
    fixture.assert_findings(&[]);
    fixture.machine.mpi = Some(Mpi::Mpich);
    fixture.assert_findings(&[("mpi-abi", "bin/simulation")]);
    // The MPI of the site is not known, and the base has another MPI: the environment's own MPI
    // runs.
    fixture.machine.mpi = None;
    let with_base = |fixture: &Fixture| {
        let context = RuntimeContext {
            mpi: vec![Mpi::Mpich],
            ..fixture.runtime_context()
        };
        let findings = check_environment(&fixture.inventory(), &context, &fixture.machine);
        findings.iter().map(|f| f.code.name).collect::<Vec<_>>()
    };
    assert_eq!(with_base(&fixture), Vec::<&str>::new());
    fs_err::remove_file(fixture.path("lib/libmpi.so.40")).unwrap();
    assert_eq!(with_base(&fixture), ["missing-library", "mpi-abi"]);
}

#[test]
fn the_hosts_mpi_is_not_missing() {
    let mut fixture = mpi_fixture("libmpi.so.12", BESIDE_LATER);
    fs_err::remove_file(fixture.path("lib/libmpi.so.12")).unwrap();
    fixture.assert_findings(&[("missing-library", "bin/simulation")]);
    fixture.machine.mpi = Some(Mpi::Mpich);
    fixture.assert_findings(&[]);
}

#[test]
fn mpi_mixed() {
    let fixture = mpi_fixture("libmpi.so.40", BESIDE_LATER);
    fixture.assert_findings(&[]);
    fixture
        .library("lib/libmpi.so.12", "libmpi.so.12", &[])
        .program("bin/other", &["lib/libmpi.so.12"], &[BESIDE_LATER]);
    fixture.assert_findings(&[("mpi-mixed", "bin/other and bin/simulation")]);
}

/// Checks the files that an update adds against the files that stay in the image below.
#[test]
fn mpi_mixed_with_what_stays() {
    for (soname, other) in [
        ("libmpi.so.40", "libmpi.so.12"),
        ("libmpi.so.12", "libmpi.so.40"),
    ] {
        let old = mpi_fixture(soname, BESIDE_LATER);
        let (_out, reader) = packed(&old.path("."));
        let new = |soname: &str| {
            let fixture = Fixture::new();
            fixture.library(&format!("other/{soname}"), soname, &[]);
            let library = fixture
                .path(&format!("other/{soname}"))
                .display()
                .to_string();
            let words = ["-Wl,--no-as-needed", &library];
            fixture.library("lib/_solver.so", "solver", &words);
            fixture
        };
        let codes = |fixture: &Fixture, gone: &[&str]| {
            let gone = gone.iter().map(|name| Path::new("/env").join(name));
            let inventory = fixture
                .inventory()
                .add_image_below(&reader, &gone.collect())
                .unwrap();
            let findings =
                check_environment(&inventory, &fixture.runtime_context(), &fixture.machine);
            let found = findings.into_iter().map(|f| (f.code.name, f.location));
            found.collect::<Vec<_>>()
        };
        assert_eq!(codes(&new(soname), &[]), []);
        let seen = "lib/_solver.so and bin/simulation".to_owned();
        assert_eq!(codes(&new(other), &[]), [("mpi-mixed", seen)]);
        // The update replaces the file of the image.
        assert_eq!(codes(&new(other), &["bin/simulation"]), []);
        // Files that stay were judged when they were added: no new file uses MPI.
        let mut plain = Fixture::new();
        plain.program("bin/program", &[], &[]);
        plain.machine.mpi = Mpi::from_library(other);
        assert_eq!(codes(&plain, &[]), []);
    }
}

/// mpi4py's wheels have modules for both MPIs, and mpi4py loads the one that fits.
#[test]
fn modules_for_either_mpi_are_not_mixed() {
    let mut fixture = mpi_fixture("libmpi.so.40", BESIDE_LATER);
    fs_err::remove_file(fixture.path("bin/simulation")).unwrap();
    fixture.library("lib/libmpi.so.12", "libmpi.so.12", &[]);
    for (name, library) in [
        ("lib/MPI.mpich.abi3.so", "lib/libmpi.so.12"),
        ("lib/MPI.openmpi.abi3.so", "lib/libmpi.so.40"),
    ] {
        let library = fixture.path(library).display().to_string();
        fixture.library(name, "MPI", &["-Wl,--no-as-needed", &library]);
    }
    fixture.assert_findings(&[]);
    fs_err::remove_file(fixture.path("lib/libmpi.so.40")).unwrap();
    fixture.machine.mpi = Some(Mpi::Mpich);
    fixture.assert_findings(&[]);
    // Without the other module, the module is judged by the MPI that it needs.
    fs_err::remove_file(fixture.path("lib/MPI.mpich.abi3.so")).unwrap();
    fixture.assert_findings(&[
        ("missing-module-library", "lib/MPI.openmpi.abi3.so"),
        ("mpi-abi", "lib/MPI.openmpi.abi3.so"),
    ]);
}

#[test]
fn mpi_pinned() {
    let mut fixture = mpi_fixture("libmpi.so.12", BESIDE);
    // On the user's own machine the use of the bundled MPI is intended.
    fixture.assert_findings(&[]);
    fixture.machine.mpi = Some(Mpi::Mpich);
    fixture.assert_findings(&[("mpi-pinned", "bin/simulation")]);
    // The dynamic linker searches RUNPATH after LD_LIBRARY_PATH.
    let mut fixture = mpi_fixture("libmpi.so.12", BESIDE_LATER);
    fixture.machine.mpi = Some(Mpi::Mpich);
    fixture.assert_findings(&[]);
    // Libraries that auditwheel has put into a wheel have unique names.
    let mut fixture = mpi_fixture("libmpi-3f1e5b7a.so.12.3.1", BESIDE_LATER);
    fixture.machine.mpi = Some(Mpi::Mpich);
    fixture.assert_findings(&[("mpi-pinned", "bin/simulation")]);
}
