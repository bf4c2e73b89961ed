//! Responsible for grafting one tree into another. The symlinks of the other tree are followed as a
//! program inside it would follow them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::{EntryId, Kind, Tree, invalid, normal_names};
use crate::Error;

/// Maximum number of symlinks that are followed for one path, as in the kernel.
const LINKS_MAX: u32 = 40;

/// Handling of entries that already exist at the path of a graft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Existing entries are an error.
    #[default]
    Refuse,
    /// The existing entry is removed, with everything below it.
    Replace,
    /// Existing directories keep their entries and attributes. Any other existing entry of the same
    /// name is removed.
    Merge,
}

/// Origin of a path that is walked.
#[derive(Clone, Copy)]
enum PathOrigin {
    /// Path of the caller. Missing directories are created.
    Caller,
    /// Target of a symlink. Missing directories are an error.
    Symlink,
}

impl Tree {
    /// Inserts another tree with its root at `path`. Missing parent directories are created.
    /// Symlinks in the parent path are followed inside the tree, but the last name is not followed.
    ///
    /// # Errors
    /// Returns [`Error::InvalidEntry`] if something in the parent path is not a directory, or if an
    /// entry exists at `path` that must not be replaced. The tree is then unchanged except for
    /// parent directories that were created.
    pub fn graft(
        &mut self,
        path: impl AsRef<Path>,
        other: Tree,
        existing: Existing,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let names = normal_names(path)?;
        let Some((name, parents)) = names.split_last() else {
            if existing == Existing::Refuse {
                return Err(invalid(path, "it is there already"));
            }
            if existing == Existing::Replace {
                *self = other;
                return Ok(());
            }
            let root = self.adopt(other);
            self.merge(path, EntryId::ROOT, root);
            return Ok(());
        };
        let parent = self.create_parents(path, parents)?;
        let position = match (self.position(parent, name), existing) {
            (Ok(_), Existing::Refuse) => return Err(invalid(path, "it is there already")),
            (Ok(at), Existing::Merge) => {
                let found = self.children(parent)[at].id;
                if let Some(directory) = self.resolve_directory(path, parent, found) {
                    let root = self.adopt(other);
                    self.merge(path, directory, root);
                    return Ok(());
                }
                self.remove_child(parent, at);
                at
            }
            (Ok(at), Existing::Replace) => {
                self.remove_child(parent, at);
                at
            }
            (Err(at), _) => at,
        };
        let id = self.adopt(other);
        self.insert_child(parent, position, name, id);
        Ok(())
    }

    /// Adds all entries of another tree without a name. Returns the root of that tree.
    fn adopt(&mut self, other: Tree) -> EntryId {
        let shift = self.entries.len() as u32;
        let shifted = |id: EntryId| EntryId(id.0 + shift);
        for mut entry in other.entries {
            if let Kind::Directory(children) = &mut entry.kind {
                for child in children {
                    child.id = shifted(child.id);
                }
            }
            self.entries.push(entry);
        }
        let xattrs = other.xattrs.into_iter();
        self.xattrs
            .extend(xattrs.map(|(id, xattrs)| (shifted(id), xattrs)));
        shifted(EntryId::ROOT)
    }

    /// Moves the entries of the directory `from` into the directory `into`.
    fn merge(&mut self, path: &Path, into: EntryId, from: EntryId) {
        let mut pending = vec![(into, from)];
        while let Some((into, from)) = pending.pop() {
            for child in std::mem::take(self.children_mut(from)) {
                let position = match self.position(into, &child.name) {
                    Ok(at) => {
                        let found = self.children(into)[at].id;
                        if self.entry(child.id).kind.is_directory()
                            && let Some(directory) = self.resolve_directory(path, into, found)
                        {
                            pending.push((directory, child.id));
                            continue;
                        }
                        self.remove_child(into, at);
                        at
                    }
                    Err(at) => at,
                };
                self.insert_child(into, position, &child.name, child.id);
            }
        }
    }

    /// Returns the directory that an entry of `parent` is, or that it leads to as a symlink.
    /// Returns `None` if there is no such directory.
    fn resolve_directory(&mut self, path: &Path, parent: EntryId, id: EntryId) -> Option<EntryId> {
        match &self.entry(id).kind {
            Kind::Directory(_) => Some(id),
            Kind::Symlink(target) => {
                let target = target.clone();
                let mut parents = self.path_to(parent);
                // A dangling symlink is replaced like any other entry.
                self.resolve_path(path, &mut parents, &target, PathOrigin::Symlink)
                    .ok()
            }
            _ => None,
        }
    }

    /// Returns the directory at a path, and creates missing directories.
    fn create_parents(&mut self, path: &Path, names: &[&[u8]]) -> Result<EntryId, Error> {
        let mut parents = Vec::new();
        let names = names.join(&b'/');
        self.resolve_path(path, &mut parents, &names, PathOrigin::Caller)
    }

    /// Walks from a directory along a path, following symlinks. `parents` holds the directories
    /// from the root to the start of the walk. Errors name `graft_path`.
    fn resolve_path(
        &mut self,
        graft_path: &Path,
        parents: &mut Vec<EntryId>,
        path: &[u8],
        origin: PathOrigin,
    ) -> Result<EntryId, Error> {
        let mut pending: VecDeque<Box<[u8]>> = VecDeque::new();
        let mut links = 0;
        // This is the number of names at the front of the queue that come from a symlink. Missing
        // directories with these names are not created.
        let count = push_front(&mut pending, parents, path);
        let mut from_link = match origin {
            PathOrigin::Caller => 0,
            PathOrigin::Symlink => count,
        };
        while let Some(name) = pending.pop_front() {
            let is_from_link = from_link > 0;
            from_link = from_link.saturating_sub(1);
            let directory = parents.last().copied().unwrap_or(EntryId::ROOT);
            if &*name == b".." {
                parents.pop();
                continue;
            }
            let shown = || OsString::from_vec(name.to_vec());
            let next = match self.position(directory, &name) {
                Ok(at) => self.children(directory)[at].id,
                Err(_) if is_from_link => {
                    let problem = format!(
                        "a symlink leads to `{}`, which is not there",
                        shown().display()
                    );
                    return Err(invalid(graft_path, &problem));
                }
                Err(at) => {
                    let id = self.push(0o755, Kind::Directory(Vec::new()));
                    self.insert_child(directory, at, &name, id);
                    id
                }
            };
            match &self.entry(next).kind {
                Kind::Directory(_) => parents.push(next),
                Kind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(invalid(
                            graft_path,
                            "there are too many symlinks on the way",
                        ));
                    }
                    let target = target.clone();
                    from_link += push_front(&mut pending, parents, &target);
                }
                _ => {
                    let problem = format!("`{}` is not a directory", shown().display());
                    return Err(invalid(graft_path, &problem));
                }
            }
        }
        Ok(parents.last().copied().unwrap_or(EntryId::ROOT))
    }

    /// Returns the directories from below the root down to this one.
    fn path_to(&self, directory: EntryId) -> Vec<EntryId> {
        let mut pending = vec![(EntryId::ROOT, 0)];
        let mut path = Vec::new();
        while let Some((id, depth)) = pending.pop() {
            path.truncate(depth);
            path.push(id);
            if id == directory {
                path.remove(0);
                return path;
            }
            let below = self.children(id).iter().map(|child| child.id);
            let below = below.filter(|id| self.entry(*id).kind.is_directory());
            pending.extend(below.map(|id| (id, depth + 1)));
        }
        Vec::new()
    }
}

/// Inserts the names of a path in front of the names that are still to be walked. Returns their
/// number. An absolute path restarts the walk at the root.
fn push_front(pending: &mut VecDeque<Box<[u8]>>, parents: &mut Vec<EntryId>, path: &[u8]) -> usize {
    if path.first() == Some(&b'/') {
        parents.clear();
    }
    let names = path.split(|byte| *byte == b'/');
    let names = names.filter(|name| !matches!(*name, b"" | b"."));
    let mut count = 0;
    for name in names.rev() {
        pending.push_front(name.into());
        count += 1;
    }
    count
}
