//! Responsible for which programs of an environment get a wrapper.

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Component, Path, PathBuf},
};

use anyhow::Context;
use condense_prefix::Place;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// Every executable file of the environment's `bin`, sorted: name and path in the container.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn find_programs(place: &Place) -> anyhow::Result<Vec<(OsString, PathBuf)>> {
    programs_below(place, &place.environment.join("bin"))
}

/// Every executable file of a directory, or the file itself; `below` is relative to the mount point. None if there is
/// nothing to run.
///
/// Links count when they end at an executable file inside the image; dangling ones, directories, hidden files (conda's
/// own link scripts) and names with control characters do not.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn programs_below(
    place: &Place,
    below: &Path,
) -> anyhow::Result<Vec<(OsString, PathBuf)>> {
    let path = place.root.join(below);
    let inside = place.mount_point.join(below);
    if !path.is_dir() {
        let name = below.file_name().unwrap_or_default().to_owned();
        return Ok(if is_program(&path, place) {
            vec![(name, inside)]
        } else {
            Vec::new()
        });
    }
    let mut programs = Vec::new();
    for entry in fs_err::read_dir(&path)? {
        let name = entry
            .context("failed to list the environment's programs")?
            .file_name();
        let odd =
            name.as_bytes().iter().any(u8::is_ascii_control) || name.as_bytes().starts_with(b".");
        if !odd && is_program(&path.join(&name), place) {
            let inside = inside.join(&name);
            programs.push((name, inside));
        }
    }
    programs.sort();
    Ok(programs)
}

/// `python` and its like in a virtual environment: links to an interpreter that is somewhere else.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn find_interpreters(place: &Place) -> anyhow::Result<Vec<(OsString, PathBuf)>> {
    let bin = place.scratch_env().join("bin");
    let mut found = Vec::new();
    for entry in fs_err::read_dir(&bin)? {
        let entry = entry.context("failed to list the environment's programs")?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b"python")
            && entry.file_type()?.is_symlink()
            && !is_program(&entry.path(), place)
        {
            found.push((name.clone(), place.mounted_env().join("bin").join(name)));
        }
    }
    Ok(found)
}

/// Follows links as they will be followed inside, where the scratch root lies at the mount point.
fn is_program(path: &Path, place: &Place) -> bool {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            return false;
        };
        if !metadata.is_symlink() {
            return metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        }
        let Ok(target) = std::fs::read_link(&path) else {
            return false;
        };
        path = match target.strip_prefix(&place.mount_point) {
            Ok(below) => place.root.join(below),
            Err(_) if target.is_absolute() => return false,
            Err(_) => lexical(&path.parent().unwrap_or(Path::new("/")).join(target)),
        };
        if !path.starts_with(&place.root) {
            return false;
        }
    }
    false
}

/// Takes `..` out; what leads through a linked directory is found or not found in scratch as it is inside.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_can_be_run_counts() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            root: dir.path().join("root"),
            mount_point: "/MOUNT".into(),
            environment: "env".into(),
            packages: dir.path().join("packages"),
        };
        let bin = place.scratch_env().join("bin");
        let library = place.scratch_env().join("lib");
        for dir in [&bin, &library] {
            fs_err::create_dir_all(dir).unwrap();
        }
        for (path, mode) in [
            ("bin/plain", 0o755),
            ("bin/data", 0o644),
            ("bin/.hidden", 0o755),
            ("bin/a b", 0o711),
            ("lib/tool", 0o755),
        ] {
            let path = place.scratch_env().join(path);
            fs_err::write(&path, "#!/bin/sh\n").unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        fs_err::create_dir(bin.join("directory")).unwrap();
        for (name, target) in [
            ("link", "plain"),
            ("up", "../lib/tool"),
            ("mounted", "/MOUNT/env/lib/tool"),
            ("dangling", "nothing"),
            ("outside", "/bin/sh"),
            ("escaping", "../../../../../bin/sh"),
            ("to-directory", "directory"),
            ("loop", "loop"),
        ] {
            symlink(target, bin.join(name)).unwrap();
        }
        let found = find_programs(&place).unwrap();
        let names: Vec<&str> = found
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["a b", "link", "mounted", "plain", "up"]);
        assert_eq!(found[1].1, Path::new("/MOUNT/env/bin/link"));
    }
}
