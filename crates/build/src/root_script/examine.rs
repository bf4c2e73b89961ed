//! Responsible for finding out how scripts could run as root on this machine, by trying.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::way::Ways;

/// Directories with the programs of this machine, which proot shows in an empty root.
const PROGRAMS: [&str; 6] = ["bin", "etc", "lib", "lib64", "sbin", "usr"];
/// Name of the fact about ways in general.
const WAYS: &str = "scripts as root";
/// Name of the fact about proot.
const PROOT: &str = "proot";

/// Returns facts about scripts that run as root. `scratch` is the parent of scratch directories.
pub(crate) fn examine(scratch: &Path, search_path: &OsStr) -> Vec<(&'static str, String)> {
    try_ways(scratch, search_path)
        .unwrap_or_else(|error| vec![(WAYS, format!("not tried: {error:#}"))])
}

fn try_ways(scratch: &Path, search_path: &OsStr) -> anyhow::Result<Vec<(&'static str, String)>> {
    let parent = scratch.ancestors().find(|dir| dir.is_dir());
    let dir = tempfile::Builder::new()
        .prefix(".condense-")
        .tempdir_in(parent.unwrap_or(Path::new("/tmp")))?;
    let place = fs_err::canonicalize(dir.path())?;
    let mut ways = Ways::new(search_path, &place, None, false);
    ways.try_namespaces()?;
    let namespaces = match ways.closed() {
        _ if ways.has_namespaces() => "namespaces of its own".to_owned(),
        closed => format!("not with {}", closed.join("; not with ")),
    };
    let mut facts = vec![(WAYS, namespaces)];
    if !ways.has_proot() {
        facts.push((PROOT, "not on PATH".to_owned()));
        return Ok(facts);
    }
    let root = place.join("root");
    let mut binds = Vec::new();
    for name in PROGRAMS {
        let here = Path::new("/").join(name);
        if here.is_dir() {
            fs_err::create_dir_all(root.join(name))?;
            binds.push((here, PathBuf::from(name)));
        }
    }
    let mut ways = Ways::new(search_path, &place, None, false);
    let told = match ways.choose_proot(&root, &binds)? {
        Some(chosen) if chosen.is_thorough() => {
            "works, without its filter of system calls".to_owned()
        }
        Some(_) => "works".to_owned(),
        None => {
            let reasons = ways.closed().iter();
            let reasons = reasons.map(|closed| closed.trim_start_matches("proot: "));
            format!("does not work: {}", reasons.collect::<Vec<_>>().join("; "))
        }
    };
    facts.push((PROOT, told));
    Ok(facts)
}
