//! Responsible for paths in the file system of a stage. Symlinks are followed as a program in the
//! container would follow them, and none leads out of the file system.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use anyhow::bail;
use condense_image::{Kind, Tree};

/// Maximum number of symlinks that are followed for one path, as in the kernel.
const LINKS_MAX: u32 = 40;
/// Permissions of a directory that nobody has described.
pub(super) const DIRECTORY_MODE: u16 = 0o755;

/// Kind of the entry at a path without links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Directory,
    File,
    /// A link that leads nowhere, a device, a pipe or a socket.
    Other,
}

/// Returns the path without symlinks, relative to the root. Names that do not exist stay as they
/// are, and `..` does not lead above the root.
///
/// # Errors
/// Returns an error if there are too many symlinks.
pub(super) fn resolve(tree: &Tree, path: &Path) -> anyhow::Result<PathBuf> {
    let mut resolved = PathBuf::new();
    let mut pending: Vec<OsString> = names(path).rev().collect();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        if let Some(Kind::Symlink(target)) = tree.entry_at(&next).map(|entry| &entry.kind) {
            links += 1;
            if links > LINKS_MAX {
                bail!("there are too many symbolic links in `{}`", path.display());
            }
            let target = Path::new(OsStr::from_bytes(target));
            if target.is_absolute() {
                resolved = PathBuf::new();
            }
            pending.extend(names(target).rev());
            continue;
        }
        resolved = next;
    }
    Ok(resolved)
}

/// Returns the names of a path, `..` included.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect::<Vec<_>>().into_iter()
}

/// Returns the kind of the entry at a path, without following links.
pub(super) fn find(tree: &Tree, path: &Path) -> Option<Found> {
    let entry = tree.entry_at(path)?;
    Some(match entry.kind {
        Kind::Directory(_) => Found::Directory,
        Kind::File { .. } => Found::File,
        _ => Found::Other,
    })
}

/// Returns the names in a directory, sorted.
pub(super) fn list(tree: &Tree, path: &Path) -> Vec<OsString> {
    match tree.entry_at(path).map(|entry| &entry.kind) {
        Some(Kind::Directory(children)) => children
            .iter()
            .map(|child| child.name().to_owned())
            .collect(),
        _ => Vec::new(),
    }
}

/// Writes a file at a path, through links. An existing file keeps its permissions.
///
/// # Errors
/// Returns an error if something else is at the path.
pub(super) fn put(
    tree: &mut Tree,
    path: impl AsRef<Path>,
    bytes: impl Into<std::sync::Arc<[u8]>>,
    mode: u16,
) -> anyhow::Result<()> {
    let path = resolve(tree, path.as_ref())?;
    let mode = take_place(tree, &path)?.unwrap_or(mode);
    Ok(tree.add_bytes(&path, bytes, mode)?)
}

/// Removes the file at a path without links, if there is one, and returns its permissions.
///
/// # Errors
/// Returns an error if there is a directory.
pub(super) fn take_place(tree: &mut Tree, path: &Path) -> anyhow::Result<Option<u16>> {
    let Some(entry) = tree.entry_at(path) else {
        return Ok(None);
    };
    let mode = match entry.kind {
        Kind::Directory(_) => bail!("there is a directory at `/{}` in the image", path.display()),
        Kind::File { .. } => Some(entry.mode),
        _ => None,
    };
    tree.remove(path)?;
    Ok(mode)
}

/// Reads a text of the image, through links.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub(super) fn text(tree: &Tree, path: impl AsRef<Path>) -> anyhow::Result<Option<String>> {
    /// Maximum size of a text in bytes. Texts that describe an image are far smaller.
    const TEXT_MAX: usize = 4 << 20;
    let path = resolve(tree, path.as_ref())?;
    let bytes = tree.read(path, TEXT_MAX)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}
