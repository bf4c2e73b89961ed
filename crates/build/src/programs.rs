//! Responsible for finding the programs of an environment that get a wrapper.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use condense_image::{Child, Kind, Tree};

/// Maximum number of links that are followed for one path. The kernel has the same limit.
const MAX_LINKS: usize = 40;

/// Returns the names of all executable files of a directory of the new image, or of the file
/// itself, with their paths in the container, sorted. `below` is relative to the mount point. The
/// list is empty if there is nothing to run.
///
/// A link counts if its target is an executable file inside the image. Broken links, directories,
/// hidden files (conda's own link scripts) and names with control characters do not count.
pub(super) fn programs_below(
    tree: &Tree,
    mount_point: &Path,
    below: &Path,
) -> Vec<(OsString, PathBuf)> {
    let Some(names) = names_in(tree, below) else {
        let name = below.file_name().unwrap_or_default().to_owned();
        let found = is_program(tree, mount_point, below);
        return Vec::from_iter(found.then(|| (name, mount_point.join(below))));
    };
    let mut programs: Vec<(OsString, PathBuf)> = names
        .into_iter()
        .filter(|name| {
            let bytes = name.as_bytes();
            !bytes.iter().any(u8::is_ascii_control) && !bytes.starts_with(b".")
        })
        .filter(|name| is_program(tree, mount_point, &below.join(name)))
        .map(|name| (name.to_owned(), mount_point.join(below).join(name)))
        .collect();
    programs.sort();
    programs
}

/// Returns `python` and similar names in the `bin` of a virtual environment. They are links to an
/// interpreter outside of the environment.
pub(super) fn interpreters_in(
    tree: &Tree,
    mount_point: &Path,
    bin: &Path,
) -> Vec<(OsString, PathBuf)> {
    let names = names_in(tree, bin).unwrap_or_default().into_iter();
    names
        .filter(|name| name.as_bytes().starts_with(b"python"))
        .filter(|name| {
            let path = bin.join(name);
            let entry = tree.entry_at(&path);
            entry.is_some_and(|entry| matches!(entry.kind, Kind::Symlink(_)))
                && !is_program(tree, mount_point, &path)
        })
        .map(|name| (name.to_owned(), mount_point.join(bin).join(name)))
        .collect()
}

fn names_in<'a>(tree: &'a Tree, dir: &Path) -> Option<Vec<&'a OsStr>> {
    match &tree.entry_at(dir)?.kind {
        Kind::Directory(children) => Some(children.iter().map(Child::name).collect()),
        _ => None,
    }
}

/// Follows links as a program in the container does, for which the tree's root is at the mount
/// point.
fn is_program(tree: &Tree, mount_point: &Path, path: &Path) -> bool {
    let mut ahead: VecDeque<OsString> = path.iter().map(OsString::from).collect();
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            if !here.pop() {
                return false;
            }
            continue;
        }
        here.push(name);
        let Some(entry) = tree.entry_at(&here) else {
            return false;
        };
        match &entry.kind {
            Kind::Directory(_) => {}
            Kind::File { .. } => return ahead.is_empty() && entry.mode & 0o111 != 0,
            Kind::Symlink(target) => {
                links += 1;
                let target = Path::new(OsStr::from_bytes(target));
                let way = match target.strip_prefix(mount_point) {
                    Ok(below) => {
                        here.clear();
                        below
                    }
                    Err(_) if target.is_absolute() => return false,
                    Err(_) => {
                        here.pop();
                        target
                    }
                };
                if links > MAX_LINKS {
                    return false;
                }
                let parts = way.components().rev();
                for part in parts.filter(|part| !matches!(part, Component::CurDir)) {
                    ahead.push_front(part.as_os_str().to_owned());
                }
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_can_be_run_counts() {
        let mut tree = Tree::new();
        for (path, mode) in [
            ("env/bin/plain", 0o755),
            ("env/bin/data", 0o644),
            ("env/bin/.hidden", 0o755),
            ("env/bin/a b", 0o711),
            ("env/lib/tool", 0o755),
            ("env/bin/directory/file", 0o755),
        ] {
            tree.add_bytes(path, *b"#!/bin/sh\n", mode).unwrap();
        }
        for (name, target) in [
            ("bin/link", "plain"),
            ("bin/up", "../lib/tool"),
            ("lib64", "lib"),
            ("bin/around", ".././lib64/tool"),
            ("bin/mounted", "/MOUNT/env/lib/tool"),
            ("bin/dangling", "nothing"),
            ("bin/outside", "/bin/sh"),
            ("bin/escaping", "../../../../../bin/sh"),
            ("bin/to-directory", "directory"),
            ("bin/through-file", "plain/x"),
            ("bin/loop", "loop"),
            ("bin/python3", "/opt/python3"),
            ("bin/python", "python3"),
        ] {
            tree.add_symlink(Path::new("env").join(name), target)
                .unwrap();
        }
        let (mount_point, bin) = (Path::new("/MOUNT"), Path::new("env/bin"));
        let names = |found: &[(OsString, PathBuf)]| -> Vec<String> {
            let names = found.iter().map(|(name, _)| name.to_str().unwrap());
            names.map(str::to_owned).collect()
        };
        let found = programs_below(&tree, mount_point, bin);
        assert_eq!(
            names(&found),
            ["a b", "around", "link", "mounted", "plain", "up"]
        );
        assert_eq!(found[2].1, Path::new("/MOUNT/env/bin/link"));
        let one = programs_below(&tree, mount_point, Path::new("env/lib/tool"));
        assert_eq!(one, [("tool".into(), "/MOUNT/env/lib/tool".into())]);
        assert_eq!(programs_below(&tree, mount_point, Path::new("none")), []);
        assert_eq!(
            names(&interpreters_in(&tree, mount_point, bin)),
            ["python", "python3"]
        );
    }
}
