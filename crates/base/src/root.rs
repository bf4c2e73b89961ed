//! Responsible for reading the files of a base in the same way from an image and from a directory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use condense_image::Reader;
use condense_image::reader::Node;

use crate::Error;

/// Maximum number of symbolic links that are followed for one path. The kernel has the same limit.
const LINKS_MAX: u32 = 40;

/// Root file system of a base image.
#[derive(Debug)]
pub(crate) enum Root {
    Image(Box<Reader>),
    Directory(PathBuf),
}

/// A file or directory in a root file system, found by following all links on its path.
#[derive(Debug)]
pub(crate) struct Found<'r> {
    /// Path relative to the root directory, without links.
    pub(crate) path: PathBuf,
    entry: Entry<'r>,
}

/// Place from which a file or directory is read.
#[derive(Debug)]
enum Entry<'r> {
    /// A node of an image.
    InImage(&'r Reader, Node),
    /// A path on disk, in the directory of a sandbox.
    OnDisk(PathBuf, DiskKind),
}

/// Kind of a file of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiskKind {
    Directory,
    File,
    Other,
}

impl Found<'_> {
    pub(crate) fn is_file(&self) -> bool {
        match &self.entry {
            Entry::InImage(_, node) => node.is_file(),
            Entry::OnDisk(_, kind) => *kind == DiskKind::File,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        match &self.entry {
            Entry::InImage(_, node) => node.is_directory(),
            Entry::OnDisk(_, kind) => *kind == DiskKind::Directory,
        }
    }

    /// Checks whether the file has an execute permission for any user.
    pub(crate) fn is_executable(&self) -> bool {
        match &self.entry {
            Entry::InImage(_, node) => node.mode & 0o111 != 0,
            Entry::OnDisk(path, _) => {
                fs_err::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o111 != 0)
            }
        }
    }

    /// Returns the first bytes of a file: at most `len_max`, and at most one block of an image.
    pub(crate) fn read_head(&self, len_max: usize) -> Result<Vec<u8>, Error> {
        match &self.entry {
            Entry::InImage(reader, node) => {
                let mut contents = reader.contents(node)?;
                let head = contents.next_block()?.unwrap_or_default();
                Ok(head[..head.len().min(len_max)].to_vec())
            }
            Entry::OnDisk(path, _) => read_limited(path, len_max as u64),
        }
    }

    /// Returns a whole file, or its first `len_max` bytes.
    pub(crate) fn read(&self, len_max: u64) -> Result<Vec<u8>, Error> {
        match &self.entry {
            Entry::InImage(reader, node) => {
                let mut contents = reader.contents(node)?;
                let mut bytes = Vec::new();
                while (bytes.len() as u64) < len_max
                    && let Some(block) = contents.next_block()?
                {
                    bytes.extend_from_slice(block);
                }
                bytes.truncate(len_max as usize);
                Ok(bytes)
            }
            Entry::OnDisk(path, _) => read_limited(path, len_max),
        }
    }

    /// Returns the names in a directory, sorted. The list is empty for anything else.
    pub(crate) fn list(&self) -> Result<Vec<OsString>, Error> {
        match &self.entry {
            Entry::InImage(reader, node) => {
                let entries = reader.list(node)?;
                Ok(entries.into_iter().map(|entry| entry.name).collect())
            }
            Entry::OnDisk(path, DiskKind::Directory) => {
                let mut names = fs_err::read_dir(path)
                    .and_then(|entries| {
                        entries
                            .map(|entry| entry.map(|entry| entry.file_name()))
                            .collect::<Result<Vec<_>, _>>()
                    })
                    .map_err(Error::io("list", path))?;
                names.sort();
                Ok(names)
            }
            Entry::OnDisk(..) => Ok(Vec::new()),
        }
    }
}

impl Root {
    /// Finds the file or directory that a program in the base would find at the path.
    pub(crate) fn locate(&self, path: impl AsRef<Path>) -> Result<Option<Found<'_>>, Error> {
        match self {
            Root::Image(reader) => Ok(reader.locate(path)?.map(|(path, node)| Found {
                path,
                entry: Entry::InImage(reader, node),
            })),
            Root::Directory(root) => locate_in_directory(root, path.as_ref()),
        }
    }

    /// Finds a regular file in the same way as [`Root::locate`].
    pub(crate) fn locate_file(&self, path: impl AsRef<Path>) -> Result<Option<Found<'_>>, Error> {
        Ok(self.locate(path)?.filter(Found::is_file))
    }
}

fn read_limited(path: &Path, len_max: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    condense_input::open(path)
        .map_err(Error::io("open", path))?
        .take(len_max)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Finds a path in a sandbox. Links are followed one by one, so that absolute links stay inside the
/// sandbox. New kernels can do this in one call, but the old kernels of clusters cannot.
fn locate_in_directory(root: &Path, path: &Path) -> Result<Option<Found<'static>>, Error> {
    let mut pending: VecDeque<OsString> = VecDeque::new();
    push_front(&mut pending, path);
    let mut resolved = PathBuf::new();
    let mut links = 0;
    let mut kind = DiskKind::Directory;
    while let Some(name) = pending.pop_front() {
        if name == "/" {
            resolved = PathBuf::new();
            kind = DiskKind::Directory;
            continue;
        }
        if kind != DiskKind::Directory {
            return Ok(None);
        }
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        let on_disk = root.join(&next);
        let metadata = match fs_err::symlink_metadata(&on_disk) {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::io("read", &on_disk)(error)),
        };
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Ok(None);
            }
            let target = fs_err::read_link(&on_disk).map_err(Error::io("read", &on_disk))?;
            push_front(&mut pending, &target);
            continue;
        }
        resolved = next;
        kind = if metadata.is_dir() {
            DiskKind::Directory
        } else if metadata.is_file() {
            DiskKind::File
        } else {
            DiskKind::Other
        };
    }
    Ok(Some(Found {
        entry: Entry::OnDisk(root.join(&resolved), kind),
        path: resolved,
    }))
}

fn push_front(pending: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::CurDir => {}
            other => pending.push_front(other.as_os_str().to_owned()),
        }
    }
}
