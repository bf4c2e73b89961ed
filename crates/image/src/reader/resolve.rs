//! Responsible for paths: finding what they name, with links that never lead out of the image.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::Reader;
use super::node::Node;
use crate::Error;

/// How many symbolic links may be followed for one path, as in the kernel.
const LINKS_MAX: u32 = 40;
/// How many components may be looked up for one path, those of links included. Each may cost the
/// reading of a whole directory, and forty links of 64 KiB would hold a million of them.
const COMPONENTS_MAX: u32 = 1024;

impl Reader {
    /// The node at a path, whether or not it is a link; links before the last component are not
    /// followed either. The path is taken from the image's root, with or without a slash in
    /// front.
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

    /// The node at a path as a program inside of the image would find it: links are followed,
    /// absolute ones from the image's root, and `..` does not lead out of it. A dangling link,
    /// a circle of links, or a path of more than a thousand components leads to nothing.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<Option<Node>, Error> {
        Ok(self.locate(path)?.map(|(_, node)| node))
    }

    /// As [`Reader::resolve`], with the path that no link is part of, relative to the root.
    pub fn locate(&self, path: impl AsRef<Path>) -> Result<Option<(PathBuf, Node)>, Error> {
        let mut ahead: VecDeque<OsString> = VecDeque::new();
        push_front(&mut ahead, path.as_ref());
        let root = self.root()?;
        let mut behind: Vec<(OsString, Node)> = Vec::new();
        let (mut links, mut components) = (0, 0);
        while let Some(name) = ahead.pop_front() {
            if name == "/" {
                behind.clear();
                continue;
            }
            let here = behind.last().map_or(&root, |(_, node)| node);
            if !here.is_directory() {
                return Ok(None);
            }
            if name == ".." {
                behind.pop();
                continue;
            }
            components += 1;
            if components > COMPONENTS_MAX {
                return Ok(None);
            }
            let Some(node) = self.child(here, &name)? else {
                return Ok(None);
            };
            if node.is_symlink() {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(None);
                }
                push_front(&mut ahead, &self.read_link(&node)?);
            } else {
                behind.push((name, node));
            }
        }
        let path = behind.iter().map(|(name, _)| name).collect();
        let node = behind.pop().map_or(root, |(_, node)| node);
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

fn push_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::CurDir => {}
            other => ahead.push_front(other.as_os_str().to_owned()),
        }
    }
}
