//! Responsible for merging layers into one root file system: each layer is applied on top of the
//! previous ones. Paths and links of a hostile layer cannot lead out of the root directory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use condense_image::reader::Xattr;
use condense_image::{FileRange, Kind, Source, Tree};

use super::layer::{Entry, EntryKind, Layer, PATH_MOST};
use crate::Error;

const WHITEOUT: &[u8] = b".wh.";
/// Prefix of special whiteouts. They apply to their directory, or can be ignored here.
const SPECIAL: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Maximum number of symbolic links that are followed for one path. The kernel has the same limit.
const LINKS_MAX: u32 = 40;
/// Mode of directories for which no layer has an entry. Apptainer uses the same mode.
const IMPLIED_MODE: u16 = 0o775;
/// Layer number of files that belong to no layer.
const NO_LAYER: u32 = u32::MAX;

type Name = Box<[u8]>;
type NodeId = usize;

const ROOT: NodeId = 0;

/// A root file system that is being assembled.
#[derive(Debug)]
pub(crate) struct RootFs {
    nodes: Vec<Node>,
    /// Number of the layer that is being applied.
    layer: u32,
    /// Time of files for which no layer has an entry, in seconds since 1970.
    epoch: u32,
}

#[derive(Debug)]
struct Node {
    mode: u16,
    mtime: u32,
    /// Extended attributes. Only files and directories can have them.
    attributes: Vec<Xattr>,
    kind: NodeKind,
}

#[derive(Debug)]
enum NodeKind {
    Directory(BTreeMap<Name, Child>),
    File { size: u64, source: Source },
    Symlink(Box<[u8]>),
    Fifo,
}

/// A name in a directory, and the number of the last layer that has changed it.
#[derive(Debug, Clone, Copy)]
struct Child {
    id: NodeId,
    layer: u32,
}

impl RootFs {
    pub(crate) fn new(epoch: u32) -> RootFs {
        RootFs {
            nodes: vec![Node {
                mode: 0o755,
                mtime: epoch,
                attributes: Vec::new(),
                kind: NodeKind::Directory(BTreeMap::new()),
            }],
            layer: 0,
            epoch,
        }
    }

    /// Applies a layer on top of the previous ones. An error does not name the layer.
    pub(crate) fn apply(&mut self, layer: &Layer) -> Result<(), String> {
        self.layer += 1;
        for entry in &layer.entries {
            self.apply_entry(entry, layer).map_err(|problem| {
                format!("`{}` in it {problem}", String::from_utf8_lossy(&entry.path))
            })?;
        }
        Ok(())
    }

    fn apply_entry(&mut self, entry: &Entry, layer: &Layer) -> Result<(), String> {
        let mut names = clean(&entry.path);
        let Some(name) = names.pop() else {
            // The entry is the root directory itself.
            if entry.kind == EntryKind::Directory {
                self.set_attributes(ROOT, entry);
            }
            return Ok(());
        };
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.white_out(&names, &name, hidden);
        }
        let parent = self
            .enter(&names, true)?
            .expect("it is made when it is missing");
        let there = self.children(parent).get(&name).copied();
        let kind = match &entry.kind {
            EntryKind::Directory => {
                if let Some(child) = there
                    && matches!(self.nodes[child.id].kind, NodeKind::Directory(_))
                {
                    self.set_attributes(child.id, entry);
                    self.put(parent, &name, child.id);
                    return Ok(());
                }
                NodeKind::Directory(BTreeMap::new())
            }
            EntryKind::HardLink(target) => {
                let id = self.find_target(target)?;
                self.put(parent, &name, id);
                return Ok(());
            }
            EntryKind::File { size, place } => {
                let (file, offset) = layer.locate(*place);
                NodeKind::File {
                    size: *size,
                    source: Source::Range(FileRange::new(file, offset)),
                }
            }
            EntryKind::Symlink(target) => NodeKind::Symlink(target.as_slice().into()),
            EntryKind::Fifo => NodeKind::Fifo,
            // An unprivileged user cannot make a device, so an empty file replaces it.
            EntryKind::Device => empty_file(),
        };
        let id = self.push(entry.mode, entry.mtime, kind);
        self.set_attributes(id, entry);
        self.put(parent, &name, id);
        Ok(())
    }

    fn set_attributes(&mut self, id: NodeId, entry: &Entry) {
        self.nodes[id].mode = entry.mode;
        self.nodes[id].mtime = entry.mtime;
        self.nodes[id].attributes = match &self.nodes[id].kind {
            NodeKind::Directory(_) | NodeKind::File { .. } => entry
                .attributes
                .iter()
                .map(|(name, value)| Xattr {
                    name: OsStr::from_bytes(name).to_owned(),
                    value: value.clone(),
                })
                .collect(),
            NodeKind::Symlink(_) | NodeKind::Fifo => Vec::new(),
        };
    }

    /// Hides a file of lower layers. Files of the current layer are kept, whether they come before
    /// or after the whiteout.
    fn white_out(&mut self, names: &[Name], name: &[u8], hidden: &[u8]) -> Result<(), String> {
        let Some(parent) = self.enter(names, false)? else {
            return Ok(());
        };
        if name == OPAQUE {
            self.clear(parent);
        } else if !name.starts_with(SPECIAL) {
            self.hide(parent, hidden);
        }
        Ok(())
    }

    /// Removes all files of lower layers from a directory.
    fn clear(&mut self, directory: NodeId) {
        let names: Vec<Name> = self.children(directory).keys().cloned().collect();
        for name in names {
            self.hide(directory, &name);
        }
    }

    fn hide(&mut self, directory: NodeId, name: &[u8]) {
        let Some(child) = self.children(directory).get(name).copied() else {
            return;
        };
        if child.layer != self.layer {
            self.children_mut(directory).remove(name);
        } else if matches!(self.nodes[child.id].kind, NodeKind::Directory(_)) {
            self.clear(child.id);
        }
    }

    /// Returns the target of a hard link. Symbolic links in its directory are followed, but its
    /// last name is not.
    fn find_target(&mut self, target: &[u8]) -> Result<NodeId, String> {
        let shown = String::from_utf8_lossy(target).into_owned();
        let missing = || format!("is a hard link to `{shown}`, which is not there");
        let mut names = clean(target);
        let name = names.pop().ok_or_else(missing)?;
        let parent = self.enter(&names, false)?.ok_or_else(missing)?;
        let child = self
            .children(parent)
            .get(&name)
            .copied()
            .ok_or_else(missing)?;
        if matches!(self.nodes[child.id].kind, NodeKind::Directory(_)) {
            return Err(format!("is a hard link to the directory `{shown}`"));
        }
        Ok(child.id)
    }

    /// Returns the directory at a path, following links as a program in the container would.
    /// Missing directories are made if `make` is set; otherwise the result is `None`.
    fn enter(&mut self, names: &[Name], make: bool) -> Result<Option<NodeId>, String> {
        let mut ahead: VecDeque<Name> = names.iter().cloned().collect();
        // The stack has each directory on the path, with the number of bytes that its name adds to
        // the path.
        let mut behind = vec![(ROOT, 0)];
        let mut depth = 0;
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if &*name == b".." {
                if behind.len() > 1
                    && let Some((_, len)) = behind.pop()
                {
                    depth -= len;
                }
                continue;
            }
            let (here, _) = *behind.last().expect("the root is never left");
            let id = match self.children(here).get(&name).copied() {
                Some(child) => child.id,
                None if !make => return Ok(None),
                None => self.push(
                    IMPLIED_MODE,
                    self.epoch,
                    NodeKind::Directory(BTreeMap::new()),
                ),
            };
            match &self.nodes[id].kind {
                NodeKind::Directory(_) => {
                    if make {
                        self.put(here, &name, id);
                    }
                    depth += name.len() + 1;
                    if depth >= PATH_MOST {
                        return Err("lies deeper than any path reaches".to_owned());
                    }
                    behind.push((id, name.len() + 1));
                }
                NodeKind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err("lies behind a loop of links".to_owned());
                    }
                    if target.starts_with(b"/") {
                        behind.truncate(1);
                        depth = 0;
                    }
                    for name in split(target).rev() {
                        ahead.push_front(name.into());
                    }
                }
                _ if !make => return Ok(None),
                _ => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    return Err(format!("lies below `{name}`, which is not a directory"));
                }
            }
        }
        Ok(behind.pop().map(|(id, _)| id))
    }

    fn push(&mut self, mode: u16, mtime: u32, kind: NodeKind) -> NodeId {
        self.nodes.push(Node {
            mode,
            mtime,
            attributes: Vec::new(),
            kind,
        });
        self.nodes.len() - 1
    }

    /// Gives a node a name, and replaces any node of this name.
    fn put(&mut self, directory: NodeId, name: &[u8], id: NodeId) {
        let layer = self.layer;
        self.children_mut(directory)
            .insert(name.into(), Child { id, layer });
    }

    fn children(&self, directory: NodeId) -> &BTreeMap<Name, Child> {
        match &self.nodes[directory].kind {
            NodeKind::Directory(children) => children,
            _ => unreachable!("only directories are entered"),
        }
    }

    fn children_mut(&mut self, directory: NodeId) -> &mut BTreeMap<Name, Child> {
        match &mut self.nodes[directory].kind {
            NodeKind::Directory(children) => children,
            _ => unreachable!("only directories are entered"),
        }
    }

    /// Returns the node at the path. A link as last name is not followed.
    fn find(&mut self, path: &str) -> Option<NodeId> {
        let mut names = clean(path.as_bytes());
        let name = names.pop()?;
        let parent = self.enter(&names, false).ok()??;
        self.children(parent).get(&name).map(|child| child.id)
    }

    /// Checks whether a file may be written at the path.
    pub(crate) fn is_file_or_missing(&mut self, path: &str) -> bool {
        let found = self.find(path);
        found.is_none_or(|id| matches!(self.nodes[id].kind, NodeKind::File { .. }))
    }

    /// Makes a directory unless the path exists. Links in the path are followed.
    pub(crate) fn ensure_directory(&mut self, path: &str, mode: u16) -> Result<(), String> {
        if self.find(path).is_none() {
            let node = self.push(mode, self.epoch, NodeKind::Directory(BTreeMap::new()));
            self.add(path, node)?;
        }
        Ok(())
    }

    /// Writes a file, and replaces anything of this name.
    pub(crate) fn put_file(&mut self, path: &str, bytes: Vec<u8>, mode: u16) -> Result<(), String> {
        let kind = NodeKind::File {
            size: bytes.len() as u64,
            source: Source::Bytes(Arc::from(bytes)),
        };
        let node = self.push(mode, self.epoch, kind);
        self.add(path, node)
    }

    /// Makes a symbolic link, and replaces anything of this name.
    pub(crate) fn put_symlink(&mut self, path: &str, target: &str) -> Result<(), String> {
        let kind = NodeKind::Symlink(target.as_bytes().into());
        let node = self.push(0o777, self.epoch, kind);
        self.add(path, node)
    }

    /// Removes a name from the root directory.
    pub(crate) fn remove(&mut self, name: &str) {
        self.children_mut(ROOT).remove(name.as_bytes());
    }

    fn add(&mut self, path: &str, node: NodeId) -> Result<(), String> {
        self.layer = NO_LAYER;
        let mut names = clean(path.as_bytes());
        let name = names.pop().expect("callers name something");
        let said = |problem| format!("`/{path}` {problem}");
        let parent = self.enter(&names, true).map_err(said)?;
        self.put(parent.expect("it is made when it is missing"), &name, node);
        Ok(())
    }

    /// Returns the tree to be packed. All files belong to root, as in any image of an ordinary
    /// user.
    pub(crate) fn into_tree(self) -> Result<Tree, Error> {
        let mut tree = Tree::new();
        let mut first: HashMap<NodeId, PathBuf> = HashMap::new();
        let mut pending = vec![(PathBuf::new(), ROOT)];
        while let Some((path, id)) = pending.pop() {
            let node = &self.nodes[id];
            let kind = match &node.kind {
                NodeKind::Directory(children) => {
                    let below = children.iter().rev().map(|(name, child)| {
                        (path.join(Path::new(OsStr::from_bytes(name))), child.id)
                    });
                    pending.extend(below);
                    Kind::Directory(Vec::new())
                }
                _ if first.contains_key(&id) => {
                    tree.add_hard_link(&path, &first[&id])?;
                    continue;
                }
                NodeKind::File { size, source } => Kind::File {
                    size: *size,
                    source: source.clone(),
                },
                NodeKind::Symlink(target) => Kind::Symlink(target.clone()),
                NodeKind::Fifo => Kind::Fifo,
            };
            if !kind.is_directory() {
                first.insert(id, path.clone());
            }
            let entry = condense_image::Entry {
                mode: node.mode,
                uid: 0,
                gid: 0,
                mtime: node.mtime,
                links: 0,
                kind,
            };
            tree.add_entry(&path, entry)?;
            if !node.attributes.is_empty() {
                tree.set_xattrs(&path, node.attributes.clone())?;
            }
        }
        Ok(tree)
    }
}

fn empty_file() -> NodeKind {
    NodeKind::File {
        size: 0,
        source: Source::Bytes(Arc::from([])),
    }
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// Returns the names of a path from the root directory on. `..` cannot lead out of the root
/// directory.
fn clean(path: &[u8]) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    for name in split(path) {
        if name == b".." {
            names.pop();
        } else {
            names.push(name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests;
