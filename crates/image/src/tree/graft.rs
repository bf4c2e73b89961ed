//! Responsible for grafting one tree into another. The symlinks of the other tree are followed as a
//! program inside it would follow them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::{Child, EntryId, Kind, Tree, invalid, normal_names};
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
        let parent = self.directory_inside(path, parents)?;
        match (self.position(parent, name), existing) {
            (Ok(_), Existing::Refuse) => return Err(invalid(path, "it is there already")),
            (Ok(at), Existing::Merge) => {
                let there = self.children(parent)[at].id;
                if let Some(there) = self.followed(path, parent, there) {
                    let root = self.adopt(other);
                    self.merge(path, there, root);
                    return Ok(());
                }
                self.take_out(parent, at);
            }
            (Ok(at), Existing::Replace) => self.take_out(parent, at),
            (Err(_), _) => {}
        }
        let id = self.adopt(other);
        self.put_in(parent, name, id);
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
                if let Ok(at) = self.position(into, &child.name) {
                    let there = self.children(into)[at].id;
                    if self.entry(child.id).kind.is_directory()
                        && let Some(there) = self.followed(path, into, there)
                    {
                        pending.push((there, child.id));
                        continue;
                    }
                    self.take_out(into, at);
                }
                self.put_in(into, &child.name, child.id);
            }
        }
    }

    /// Returns the directory that an entry of `parent` is, or that it leads to as a symlink.
    /// Returns `None` if there is no such directory.
    fn followed(&mut self, path: &Path, parent: EntryId, id: EntryId) -> Option<EntryId> {
        match &self.entry(id).kind {
            Kind::Directory(_) => Some(id),
            Kind::Symlink(target) => {
                let target = target.clone();
                let mut behind = self.way_to(parent);
                // A dangling symlink is replaced like any other entry.
                self.walk_inside(path, &mut behind, &target, true).ok()
            }
            _ => None,
        }
    }

    /// Returns the directory at a path, and creates missing directories.
    fn directory_inside(&mut self, path: &Path, names: &[&[u8]]) -> Result<EntryId, Error> {
        let mut behind = Vec::new();
        self.walk_inside(path, &mut behind, &names.join(&b'/'), false)
    }

    /// Walks from a directory along a path, following symlinks. `behind` holds the directories from
    /// the root to the start of the walk.
    fn walk_inside(
        &mut self,
        path: &Path,
        behind: &mut Vec<EntryId>,
        way: &[u8],
        must_exist: bool,
    ) -> Result<EntryId, Error> {
        let mut ahead: VecDeque<Box<[u8]>> = VecDeque::new();
        let mut links = 0;
        // This is the number of names at the front of the queue that come from a symlink. Missing
        // directories with these names are not created.
        let mut of_link = push_front(&mut ahead, behind, way);
        if !must_exist {
            of_link = 0;
        }
        while let Some(name) = ahead.pop_front() {
            let is_of_link = must_exist || of_link > 0;
            of_link = of_link.saturating_sub(1);
            let here = behind.last().copied().unwrap_or(EntryId::ROOT);
            if &*name == b".." {
                behind.pop();
                continue;
            }
            let shown = || OsString::from_vec(name.to_vec());
            let next = match self.position(here, &name) {
                Ok(at) => self.children(here)[at].id,
                Err(_) if is_of_link => {
                    let problem = format!(
                        "a symlink leads to `{}`, which is not there",
                        shown().display()
                    );
                    return Err(invalid(path, &problem));
                }
                Err(_) => {
                    let id = self.push(0o755, Kind::Directory(Vec::new()));
                    self.put_in(here, &name, id);
                    id
                }
            };
            match &self.entry(next).kind {
                Kind::Directory(_) => behind.push(next),
                Kind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(invalid(path, "there are too many symlinks on the way"));
                    }
                    let target = target.clone();
                    of_link += push_front(&mut ahead, behind, &target);
                }
                _ => {
                    let problem = format!("`{}` is not a directory", shown().display());
                    return Err(invalid(path, &problem));
                }
            }
        }
        Ok(behind.last().copied().unwrap_or(EntryId::ROOT))
    }

    /// Returns the directories from below the root down to this one.
    fn way_to(&self, directory: EntryId) -> Vec<EntryId> {
        let mut pending = vec![(EntryId::ROOT, 0)];
        let mut way = Vec::new();
        while let Some((id, depth)) = pending.pop() {
            way.truncate(depth);
            way.push(id);
            if id == directory {
                way.remove(0);
                return way;
            }
            let below = self.children(id).iter().map(|child| child.id);
            let below = below.filter(|id| self.entry(*id).kind.is_directory());
            pending.extend(below.map(|id| (id, depth + 1)));
        }
        Vec::new()
    }

    fn put_in(&mut self, parent: EntryId, name: &[u8], id: EntryId) {
        let Err(at) = self.position(parent, name) else {
            unreachable!("callers made room")
        };
        if self.entry(id).kind.is_directory() {
            self.entries[parent.index()].links += 1;
        }
        let name = name.into();
        self.children_mut(parent).insert(at, Child { name, id });
    }
}

/// Inserts the names of a path in front of the names that are still to be walked. Returns their
/// number. An absolute path restarts the walk at the root.
fn push_front(ahead: &mut VecDeque<Box<[u8]>>, behind: &mut Vec<EntryId>, way: &[u8]) -> usize {
    if way.first() == Some(&b'/') {
        behind.clear();
    }
    let names = way.split(|byte| *byte == b'/');
    let names = names.filter(|name| !matches!(*name, b"" | b"."));
    let mut count = 0;
    for name in names.rev() {
        ahead.push_front(name.into());
        count += 1;
    }
    count
}
