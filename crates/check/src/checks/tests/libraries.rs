//! Tests of missing libraries and versions of symbols.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use super::BESIDE;
use crate::{
    Elf, Inventory,
    checks::check_environment,
    context::RuntimeContext,
    testing::{Fixture, packed},
};

#[test]
fn missing_library() {
    let fixture = Fixture::new();
    fixture
        .library("other/libneeded.so.1", "libneeded.so.1", &[])
        .program("bin/program", &["other/libneeded.so.1"], &[]);
    fixture.assert_findings(&[]);
    fs_err::remove_file(fixture.path("other/libneeded.so.1")).unwrap();
    fixture.assert_findings(&[("missing-library", "bin/program")]);
    // Now the base has the library.
    let mut fixture = fixture;
    fixture.add_base_library("libneeded.so.1", Elf::default());
    fixture.assert_findings(&[]);
}

#[test]
fn missing_library_of_a_library_that_a_program_loads() {
    let fixture = Fixture::new();
    fixture.library("other/libdeep.so.1", "libdeep.so.1", &[]);
    let deep = fixture.path("other/libdeep.so.1").display().to_string();
    fixture
        .library(
            "lib/libneeded.so.1",
            "libneeded.so.1",
            &["-Wl,--no-as-needed", &deep],
        )
        .program("bin/program", &["lib/libneeded.so.1"], &[BESIDE]);
    fixture.assert_findings(&[]);
    fs_err::remove_file(deep).unwrap();
    fixture.assert_findings(&[("missing-library", "lib/libneeded.so.1")]);
}

#[test]
fn a_library_of_an_image_that_is_too_large_to_be_read_is_not_missing() {
    let fixture = Fixture::new();
    fixture
        .library("lib/libhuge.so.1", "libhuge.so.1", &[])
        .program("bin/program", &["lib/libhuge.so.1"], &[BESIDE]);
    let library = fixture.path("lib/libhuge.so.1");
    let file = fs_err::OpenOptions::new().write(true).open(&library);
    file.unwrap()
        .set_len(crate::inventory::FILE_LEN_MAX + 1)
        .unwrap();
    let codes = || {
        let (_out, reader) = packed(&fixture.path("."));
        let inventory = Inventory::from_image(&reader, Path::new("/env"), false).unwrap();
        let findings = check_environment(&inventory, &fixture.runtime_context(), &fixture.machine);
        findings.iter().map(|it| it.code.name).collect::<Vec<_>>()
    };
    assert_eq!(codes(), [""; 0]);
    fs_err::remove_file(library).unwrap();
    assert_eq!(codes(), ["missing-library"]);
}

#[test]
fn missing_module_library() {
    let fixture = Fixture::new();
    fixture.library("other/libGL.so.1", "libGL.so.1", &[]);
    let gl = fixture.path("other/libGL.so.1").display().to_string();
    fixture.library("lib/cv2.abi3.so", "cv2", &["-Wl,--no-as-needed", &gl]);
    fixture.assert_findings(&[]);
    fs_err::remove_file(gl).unwrap();
    fixture.assert_findings(&[("missing-module-library", "lib/cv2.abi3.so")]);
    // Libraries of the GPU driver are never in an image.
    fs_err::remove_file(fixture.path("lib/cv2.abi3.so")).unwrap();
    fixture.library("other/libcuda.so.1", "libcuda.so.1", &[]);
    let cuda = fixture.path("other/libcuda.so.1").display().to_string();
    fixture.library("lib/cv2.abi3.so", "cv2", &["-Wl,--no-as-needed", &cuda]);
    fs_err::remove_file(cuda).unwrap();
    fixture.assert_findings(&[]);
}

#[test]
fn a_library_that_the_site_binds_is_not_missing() {
    let fixture = Fixture::new();
    fixture
        .library("other/libcxi.so.1", "libcxi.so.1", &[])
        .program("bin/program", &["other/libcxi.so.1"], &[]);
    fs_err::remove_file(fixture.path("other/libcxi.so.1")).unwrap();
    fixture.assert_findings(&[("missing-library", "bin/program")]);
    for (shown, expected) in [("/usr/lib64/libcxi.so.1", 0), ("/usr/lib64", 1)] {
        let context = RuntimeContext {
            bound_files: vec![shown.into()],
            ..fixture.runtime_context()
        };
        let findings = check_environment(&fixture.inventory(), &context, &fixture.machine);
        assert_eq!(findings.len(), expected, "{findings:#?}");
    }
}

#[test]
fn glibc_too_old() {
    let mut fixture = Fixture::new();
    fixture.program("bin/program", &[], &[]);
    fixture.assert_findings(&[]);
    let old: BTreeSet<String> = ["GLIBC_2.2.5".to_owned()].into();
    fixture.add_base_library(
        "libc.so.6",
        Elf {
            defined: old,
            ..Elf::default()
        },
    );
    fixture.assert_findings(&[("glibc-too-old", "bin/program")]);
    // If the C library of a base cannot be parsed, its version is compared.
    fixture.add_base_library("libc.so.6", Elf::default());
    let inventory = fixture.inventory();
    for (glibc, expected) in [("2.17", 1), ("2.99", 0)] {
        let context = RuntimeContext {
            glibc: Some(glibc.to_owned()),
            ..fixture.runtime_context()
        };
        let findings = check_environment(&inventory, &context, &fixture.machine);
        assert_eq!(findings.len(), expected, "{glibc}: {findings:#?}");
        assert!(
            findings.iter().all(|f| f.what.contains("2.17")),
            "{findings:#?}"
        );
    }
}

#[test]
fn symbol_version() {
    let fixture = Fixture::new();
    let versions = |text: &str| {
        fixture.write("v.map", text);
        format!("-Wl,--version-script={}", fixture.path("v.map").display())
    };
    let new = versions("FOO_1.0 { global: *; };\nFOO_2.0 { global: f2; } FOO_1.0;\n");
    let make = |script: &str, functions: &str| {
        fixture.compile(
            "lib/libfoo.so.1",
            functions,
            &["-shared", "-fPIC", "-Wl,-soname,libfoo.so.1", script],
        );
    };
    make(&new, "int f1(void){return 1;} int f2(void){return 2;}\n");
    let library = fixture.path("lib/libfoo.so.1").display().to_string();
    fixture.compile(
        "bin/program",
        "int f2(void); int main(void){return f2();}\n",
        &[&library, BESIDE],
    );
    fixture.assert_findings(&[]);
    let old = versions("FOO_1.0 { global: *; };\n");
    make(&old, "int f1(void){return 1;}\n");
    fixture.assert_findings(&[("symbol-version", "bin/program")]);
    assert!(
        fixture.findings()[0]
            .what
            .starts_with("FOO_2.0 of `libfoo.so.1`")
    );
    // Another library of the same name elsewhere in the environment has the version and may be the
    // one that is loaded.
    make(
        &versions("FOO_1.0 { global: *; };\nFOO_2.0 { global: f2; } FOO_1.0;\n"),
        "int f2(void){return 2;}\n",
    );
    fs_err::rename(&library, fixture.path("other/libfoo.so.1")).unwrap();
    make(&old, "int f1(void){return 1;}\n");
    fixture.assert_findings(&[]);
}

/// G5: programs with windows get a note if the image has neither fonts nor a software renderer.
#[test]
fn gui_parts() {
    let mut fixture = Fixture::new();
    fixture
        .library("lib/libX11.so.6", "libX11.so.6", &[])
        .library("lib/libGL.so.1", "libGL.so.1", &[])
        .program(
            "bin/viewer",
            &["lib/libX11.so.6", "lib/libGL.so.1"],
            &[BESIDE],
        )
        .program("bin/_tkinter.so", &["lib/libX11.so.6"], &[BESIDE]);
    fixture.assert_findings(&[("gui-parts", "bin/viewer"), ("gui-parts", "bin/viewer")]);
    let texts: Vec<String> = fixture
        .findings()
        .iter()
        .map(|it| it.what.clone())
        .collect();
    assert!(
        texts[0].contains("no fonts") && texts[1].contains("no renderer"),
        "{texts:?}"
    );
    fixture.add_base_path("/usr/share/fonts");
    fixture.assert_findings(&[("gui-parts", "bin/viewer")]);
    fixture.add_base_library("libGLX_mesa.so.0", Elf::default());
    fixture.assert_findings(&[]);
}
