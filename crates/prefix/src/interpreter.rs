//! Responsible for the files that a conda environment's Python needs to start and to compile
//! sources, without anything else of its packages.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use rattler_conda_types::PrefixRecord;

use crate::python::Python;

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
