//! Responsible for the files that a conda environment's Python needs to start and to compile
//! sources, without anything else of its packages.

use std::{
    collections::{HashMap, HashSet},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rattler_conda_types::PrefixRecord;
use sha2::{Digest, Sha256};

use crate::{link::Linked, python::Python};

/// Parts of the standard library that no compilation imports, by their names in the library. Most
/// of the files of a Python are in them.
const UNUSED: [&str; 31] = [
    "_pyrepl",
    "asyncio",
    "concurrent",
    "ctypes",
    "curses",
    "dbm",
    "distutils",
    "email",
    "ensurepip",
    "html",
    "http",
    "idlelib",
    "json",
    "lib2to3",
    "logging",
    "msilib",
    "multiprocessing",
    "pydoc_data",
    "site-packages",
    "sqlite3",
    "test",
    "tkinter",
    "tomllib",
    "turtledemo",
    "unittest",
    "urllib",
    "venv",
    "wsgiref",
    "xml",
    "xmlrpc",
    "zoneinfo",
];

/// Lists the paths, relative to the environment, of the interpreter's files: its programs and its
/// library, and the shared libraries of all packages that it depends on.
pub(crate) fn files(records: &[PrefixRecord], python: &Python) -> HashSet<PathBuf> {
    let by_name: HashMap<&str, &PrefixRecord> = records
        .iter()
        .map(|record| (record.name().as_normalized(), record))
        .collect();
    let mut files = HashSet::new();
    let mut seen = HashSet::from(["python"]);
    let mut rest = vec!["python"];
    while let Some(name) = rest.pop() {
        let Some(record) = by_name.get(name) else {
            continue;
        };
        let paths = record.paths_data.paths.iter();
        let paths = paths.map(|entry| &entry.relative_path);
        let is_python = name == "python";
        files.extend(
            paths
                .filter(|path| is_library(path) || is_python && is_of_interpreter(path, python))
                .cloned(),
        );
        for depends in &record.repodata_record.package_record.depends {
            let other = depends.split(|c: char| c.is_whitespace() || "=<>!~[".contains(c));
            let other = other.map(str::to_lowercase).next().unwrap_or_default();
            if let Some((name, _)) = by_name.get_key_value(other.as_str())
                && seen.insert(name)
            {
                rest.push(name);
            }
        }
    }
    files
}

/// Returns a digest of all packages that have files which the interpreter may read as it compiles:
/// Python's own, unless another one has put something into its library.
pub(crate) fn digest(linked: &[Linked]) -> [u8; 32] {
    let has_part = |package: &&Linked| {
        let mut paths = package.record.paths_data.paths.iter();
        paths.any(|entry| is_read(&entry.relative_path))
    };
    let packages = linked.iter().filter(has_part);
    let mut packages: Vec<(String, [u8; 32])> = packages
        .map(|one| (one.record.file_name(), one.sha256))
        .collect();
    packages.sort_unstable();
    let mut digest = Sha256::new();
    for (name, sha256) in packages {
        digest.update(Sha256::digest(name));
        digest.update(sha256);
    }
    digest.finalize().into()
}

/// Returns whether a path is that of the interpreter, of its shared library or its archive, or in
/// its library and not in `site-packages`.
fn is_read(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    if let Some(version) = path.strip_prefix(b"bin/python") {
        let is_version = |byte: &u8| byte.is_ascii_digit() || b".t".contains(byte);
        return version.iter().all(is_version);
    }
    let begins = [&b"lib/python"[..], b"lib/libpython", b"lib64/"];
    let Some(begin) = begins.into_iter().find(|begin| path.starts_with(begin)) else {
        return false;
    };
    let mut below = path[begin.len()..].splitn(2, |byte| *byte == b'/').skip(1);
    !below
        .next()
        .is_some_and(|rest| rest.starts_with(b"site-packages/"))
}

/// Returns whether a path is a shared library in the directory that programs search.
fn is_library(path: &Path) -> bool {
    path.parent() == Some(Path::new("lib"))
        && path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains(".so"))
}

fn is_of_interpreter(path: &Path, python: &Python) -> bool {
    if path.parent() == Some(Path::new("bin")) {
        return true;
    }
    path.strip_prefix(python.library()).is_ok_and(|below| {
        let first = below.iter().next().and_then(|name| name.to_str());
        first.is_some_and(|name| !UNUSED.contains(&name) && !name.starts_with("config-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_the_library_is_not_read() {
        for path in [
            "bin/python",
            "bin/python3.13t",
            "lib/libpython3.13.so.1.0",
            "lib/python313.zip",
            "lib/python3.13/os.py",
            "lib64/python3.13/lib-dynload/math.so",
        ] {
            assert!(is_read(Path::new(path)), "{path}");
        }
        for path in [
            "bin/python-argcomplete-check-easy-install-script",
            "lib/python3.13/site-packages/os.py",
            "lib64/python3.13/site-packages/os.py",
            "lib/libz.so",
            "share/lib/python3.13/os.py",
        ] {
            assert!(!is_read(Path::new(path)), "{path}");
        }
    }
}
