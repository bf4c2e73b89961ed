//! Responsible for finding the node at a path. Symbolic links never lead out of the image.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::Reader;
use super::node::Node;
use crate::Error;

/// Maximum number of symbolic links that are followed for one path, as in the kernel.
const LINKS_MAX: u32 = 40;
/// Maximum number of components that are looked up for one path, including those of link targets.
/// Each lookup may read a whole directory, and forty targets of 64 KiB could have a million
/// components.
const COMPONENTS_MAX: u32 = 1024;

impl Reader {
    /// Returns the node at a path without following symbolic links, neither at the end nor on the
    /// way. The path is relative to the root of the image, with or without a leading slash.
    pub fn lookup(&self, path: impl AsRef<Path>) -> Result<Option<Node>, Error> {
        let mut node = self.root()?;
        for component in path.as_ref().components() {
            match component {
                Component::Normal(name) => match self.child(&node, name)? {
                    Some(child) => node = child,
                    None => return Ok(None),
                },
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// Returns the node at a path as a program inside the image would find it. Symbolic links are
    /// followed, absolute ones from the root of the image, and `..` does not lead out of the image.
    /// The result is `None` for a dangling link, a cycle of links, or a path of more than a
    /// thousand components.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<Option<Node>, Error> {
        Ok(self.locate(path)?.map(|(_, node)| node))
    }

    /// Finds a node like [`Reader::resolve`], and also returns its path without symbolic links,
    /// relative to the root.
    pub fn locate(&self, path: impl AsRef<Path>) -> Result<Option<(PathBuf, Node)>, Error> {
        let mut pending: VecDeque<OsString> = VecDeque::new();
        push_front(&mut pending, path.as_ref());
        let root = self.root()?;
        let mut parents: Vec<(OsString, Node)> = Vec::new();
        let (mut links, mut components) = (0, 0);
        while let Some(name) = pending.pop_front() {
            if name == "/" {
                parents.clear();
                continue;
            }
            let directory = parents.last().map_or(&root, |(_, node)| node);
            if !directory.is_directory() {
                return Ok(None);
            }
            if name == ".." {
                parents.pop();
                continue;
            }
            components += 1;
            if components > COMPONENTS_MAX {
                return Ok(None);
            }
            let Some(node) = self.child(directory, &name)? else {
                return Ok(None);
            };
            if node.is_symlink() {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(None);
                }
                push_front(&mut pending, &self.read_link(&node)?);
            } else {
                parents.push((name, node));
            }
        }
        let path = parents.iter().map(|(name, _)| name).collect();
        let node = parents.pop().map_or(root, |(_, node)| node);
        Ok(Some((path, node)))
    }

    fn child(&self, directory: &Node, name: &OsStr) -> Result<Option<Node>, Error> {
        for entry in self.entries(directory) {
            let entry = entry?;
            match entry.name.as_bytes().cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return self.node(&entry).map(Some),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}

fn push_front(pending: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::CurDir => {}
            other => pending.push_front(other.as_os_str().to_owned()),
        }
    }
}
