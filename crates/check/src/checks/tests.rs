//! Tests of every kind of finding about environments: one case in which the finding must appear,
//! and a similar case in which it must not. The compiler of this machine makes the files.
#![allow(clippy::unwrap_used)]

mod gpu;
mod libraries;
mod mpi;
mod origin;
mod platform;
mod requests;

use super::*;
use crate::finding::some_of;

/// Arguments of the linker by which a program searches for libraries beside itself, before
/// LD_LIBRARY_PATH.
const BESIDE: &str = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib";
/// Arguments of the linker by which a program searches for libraries beside itself, after
/// LD_LIBRARY_PATH.
const BESIDE_LATER: &str = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib";

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
