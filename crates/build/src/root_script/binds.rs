//! Responsible for the places at which a script sees paths of this machine that the user has named.

use std::path::{Component, Path, PathBuf};

use condense_image::{Kind, Tree};

use super::{Error, TEMPORARY};

/// Directories that are a file system of their own while a script runs.
const OWN: [&str; 3] = ["dev", "proc", "sys"];

/// Refuses a bind for which there is no place, before anything is unpacked.
///
/// # Errors
/// Returns [`Error::NoPlace`] for the first one.
pub(super) fn refuse_without_place(
    tree: &Tree,
    binds: &[(PathBuf, PathBuf)],
) -> Result<(), Box<Error>> {
    for (source, destination) in binds {
        if let Some(reason) = problem(tree, source, destination) {
            return Err(Box::new(Error::NoPlace {
                bound: source.clone(),
                destination: destination.clone(),
                reason,
            }));
        }
    }
    Ok(())
}

fn problem(tree: &Tree, source: &Path, destination: &Path) -> Option<String> {
    let inside: PathBuf = names(destination).collect();
    if inside.as_os_str().is_empty() {
        return Some("it would hide the whole image".to_owned());
    }
    if let Some(own) = OWN.iter().find(|own| inside.starts_with(own)) {
        return Some(format!("scripts have a `/{own}` of their own"));
    }
    if TEMPORARY.iter().any(|dir| in_temporary(tree, dir, &inside)) {
        return None;
    }
    let mut path = PathBuf::new();
    for name in names(&inside) {
        path.push(name);
        let shown = format!("`/{}`", path.display());
        match tree.entry_at(&path).map(|entry| &entry.kind) {
            None => return Some(format!("the image has no {shown}")),
            Some(Kind::Symlink(_)) => return Some(format!("{shown} in the image is a link")),
            Some(Kind::Directory(_)) if path == inside && !source.is_dir() => {
                return Some(format!("{shown} in the image is a directory"));
            }
            Some(kind) if !kind.is_directory() && (path != inside || source.is_dir()) => {
                return Some(format!("{shown} in the image is no directory"));
            }
            Some(_) => {}
        }
    }
    None
}

/// Returns whether a path is below a directory of temporary files, which the build makes.
fn in_temporary(tree: &Tree, dir: &str, inside: &Path) -> bool {
    let is_directory = tree
        .entry_at(dir)
        .is_some_and(|entry| entry.kind.is_directory());
    is_directory && inside != Path::new(dir) && inside.starts_with(dir)
}

fn names(path: &Path) -> impl Iterator<Item = &std::ffi::OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

/// Makes the places of binds in the directory `here`, which scripts see as `dir`.
///
/// # Errors
/// Returns an error if a file or a directory cannot be made.
pub(super) fn make_mount_points(
    here: &Path,
    dir: &str,
    binds: &[(PathBuf, PathBuf)],
) -> std::io::Result<()> {
    for (source, destination) in binds {
        let inside: PathBuf = names(destination).collect();
        let Ok(below) = inside.strip_prefix(dir) else {
            continue;
        };
        let place = here.join(below);
        if source.is_dir() {
            fs_err::create_dir_all(&place)?;
        } else if let Some(parent) = place.parent()
            && place != here
        {
            fs_err::create_dir_all(parent)?;
            fs_err::write(&place, "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bind_without_a_place_is_refused_before_anything_is_unpacked() {
        let mut tree = Tree::new();
        for dir in ["mnt", "tmp", "etc"] {
            tree.add_directory(dir).unwrap();
        }
        tree.add_bytes("etc/conf", *b"x", 0o644).unwrap();
        tree.add_symlink("opt", "/mnt").unwrap();
        let told = |source: &str, destination: &str| {
            let binds = [(PathBuf::from(source), PathBuf::from(destination))];
            match refuse_without_place(&tree, &binds) {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            }
        };
        for (source, destination, expected) in [
            ("/", "/mnt", ""),
            ("/", "/tmp", ""),
            ("/", "/tmp/new/dir", ""),
            ("/dev/null", "/etc/conf", ""),
            ("/", "/scratch", "the image has no `/scratch`"),
            ("/", "/etc/new", "the image has no `/etc/new`"),
            ("/", "/var/tmp/new", "the image has no `/var`"),
            ("/", "/opt/new", "`/opt` in the image is a link"),
            ("/dev/null", "/mnt", "`/mnt` in the image is a directory"),
            ("/", "/etc/conf", "`/etc/conf` in the image is no directory"),
            ("/", "/dev/shm", "scripts have a `/dev` of their own"),
            ("/", "/", "it would hide the whole image"),
        ] {
            let said = told(source, destination);
            assert!(said.ends_with(expected), "{destination}: {said}");
            assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
        }
    }

    #[test]
    fn places_below_temporary_directories_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let binds = ["/tmp/a/dir", "/tmp", "/var/tmp/other"];
        let mut binds = binds.map(|to| (PathBuf::from("/"), to.into())).to_vec();
        binds.push(("/dev/null".into(), "/tmp/b/file".into()));
        make_mount_points(dir.path(), "tmp", &binds).unwrap();
        assert!(dir.path().join("a/dir").is_dir());
        assert!(dir.path().join("b/file").is_file());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
