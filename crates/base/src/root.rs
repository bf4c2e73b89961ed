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
pub(crate) struct Found {
    /// Path relative to the root directory, without links.
    pub(crate) path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Node(Node),
    Directory,
    File,
    Other,
}

impl Found {
    pub(crate) fn is_file(&self) -> bool {
        match &self.what {
            What::Node(node) => node.is_file(),
            What::File => true,
            What::Directory | What::Other => false,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        match &self.what {
            What::Node(node) => node.is_directory(),
            What::Directory => true,
            What::File | What::Other => false,
        }
    }
}

impl Root {
    /// Finds the file or directory that a program in the base would find at the path.
    pub(crate) fn locate(&self, path: impl AsRef<Path>) -> Result<Option<Found>, Error> {
        match self {
            Root::Image(reader) => Ok(reader.locate(path)?.map(|(path, node)| Found {
                path,
                what: What::Node(node),
            })),
            Root::Directory(root) => locate_in_directory(root, path.as_ref()),
        }
    }

    /// Finds a regular file in the same way as [`Root::locate`].
    pub(crate) fn locate_file(&self, path: impl AsRef<Path>) -> Result<Option<Found>, Error> {
        Ok(self.locate(path)?.filter(Found::is_file))
    }

    /// Checks whether the file has an execute permission for any user.
    pub(crate) fn is_executable(&self, file: &Found) -> bool {
        match (self, &file.what) {
            (Root::Directory(root), _) => fs_err::metadata(root.join(&file.path))
                .is_ok_and(|metadata| metadata.mode() & 0o111 != 0),
            (Root::Image(_), What::Node(node)) => node.mode & 0o111 != 0,
            (Root::Image(_), _) => false,
        }
    }

    /// Returns the first bytes of a file: at most `len_max`, and at most one block of an image.
    pub(crate) fn read_head(&self, file: &Found, len_max: usize) -> Result<Vec<u8>, Error> {
        match (self, &file.what) {
            (Root::Image(reader), What::Node(node)) => {
                let mut contents = reader.contents(node)?;
                let head = contents.next_block()?.unwrap_or_default();
                Ok(head[..head.len().min(len_max)].to_vec())
            }
            (Root::Directory(root), _) => read_limited(&root.join(&file.path), len_max as u64),
            (Root::Image(_), _) => unreachable!("what an image holds is a node"),
        }
    }

    /// Returns a whole file, or its first `len_max` bytes.
    pub(crate) fn read(&self, file: &Found, len_max: u64) -> Result<Vec<u8>, Error> {
        match (self, &file.what) {
            (Root::Image(reader), What::Node(node)) => {
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
            (Root::Directory(root), _) => read_limited(&root.join(&file.path), len_max),
            (Root::Image(_), _) => unreachable!("what an image holds is a node"),
        }
    }

    /// Returns the names in a directory, sorted. The list is empty for anything else.
    pub(crate) fn list(&self, directory: &Found) -> Result<Vec<OsString>, Error> {
        match (self, &directory.what) {
            (Root::Image(reader), What::Node(node)) => {
                let entries = reader.list(node)?;
                Ok(entries.into_iter().map(|entry| entry.name).collect())
            }
            (Root::Directory(root), What::Directory) => {
                let path = root.join(&directory.path);
                let mut names = fs_err::read_dir(&path)
                    .and_then(|entries| {
                        entries
                            .map(|entry| entry.map(|entry| entry.file_name()))
                            .collect::<Result<Vec<_>, _>>()
                    })
                    .map_err(Error::io("list", &path))?;
                names.sort();
                Ok(names)
            }
            _ => Ok(Vec::new()),
        }
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
fn locate_in_directory(root: &Path, path: &Path) -> Result<Option<Found>, Error> {
    let mut ahead: VecDeque<OsString> = VecDeque::new();
    push_front(&mut ahead, path);
    let mut behind = PathBuf::new();
    let mut links = 0;
    let mut what = What::Directory;
    while let Some(name) = ahead.pop_front() {
        if name == "/" {
            behind = PathBuf::new();
            what = What::Directory;
            continue;
        }
        if !matches!(what, What::Directory) {
            return Ok(None);
        }
        if name == ".." {
            behind.pop();
            continue;
        }
        let next = behind.join(&name);
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
            push_front(&mut ahead, &target);
            continue;
        }
        behind = next;
        what = if metadata.is_dir() {
            What::Directory
        } else if metadata.is_file() {
            What::File
        } else {
            What::Other
        };
    }
    Ok(Some(Found { path: behind, what }))
}

fn push_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::CurDir => {}
            other => ahead.push_front(other.as_os_str().to_owned()),
        }
    }
}
