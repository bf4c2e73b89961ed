//! Responsible for the content of an image in memory: directories, files and links, sorted, each
//! file with the source of its bytes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::source::Source;
use crate::xattr::{Xattr, check_xattrs};

mod files;
mod from_image;
mod graft;
mod hot;
mod omit;
mod open;

pub use graft::Existing;
pub use open::EntryReader;

/// Maximum length of a name on Linux file systems, in bytes.
const NAME_MAX: usize = 255;
/// Maximum length of a symlink target that the kernel follows, in bytes.
const TARGET_MAX: usize = 4095;

/// Directory tree that can be packed.
///
/// Names in a directory are sorted by their bytes, so that the order in which a file system lists
/// them does not influence the image.
///
/// ```
/// # fn main() -> Result<(), condense_image::Error> {
/// let mut tree = condense_image::Tree::new();
/// tree.add_bytes("bin/hello", *b"#!/bin/sh\necho hello\n", 0o755)?;
/// tree.add_symlink("bin/hi", "hello")?;
/// assert_eq!(tree.summary().files, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tree {
    entries: Vec<Entry>,
    /// Extended attributes by entry. Only few entries have any.
    xattrs: BTreeMap<EntryId, Arc<[Xattr]>>,
    mtime: u32,
}

/// Inode. A file with several names (hard links) is one entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Permission bits, including set-user-id, set-group-id and sticky bits. The type of the entry
    /// is in `kind`.
    pub mode: u16,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID of the entry.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u32,
    /// Number of names of the entry. For a directory, two and the number of its subdirectories, as
    /// `stat` counts.
    pub links: u32,
    /// Kind of the entry.
    pub kind: Kind,
}

/// Kind of an entry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Kind {
    /// Directory with its children.
    Directory(Vec<Child>),
    /// Regular file with its content.
    File {
        /// Size of the content in bytes.
        size: u64,
        /// Source of the content.
        source: Source,
    },
    /// Symlink with this target.
    Symlink(Box<[u8]>),
    /// Block device with this number.
    BlockDevice(u32),
    /// Character device with this number.
    CharacterDevice(u32),
    /// Named pipe (FIFO) without content.
    Fifo,
    /// Name of a Unix domain socket.
    Socket,
}

impl Kind {
    /// Returns whether the entry is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Kind::Directory(_))
    }
}

/// Name in a directory.
#[derive(Debug, Clone)]
pub struct Child {
    pub(crate) name: Box<[u8]>,
    pub(crate) id: EntryId,
}

impl Child {
    /// Returns the name of the child.
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }
}

/// Index of an entry in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId(pub(crate) u32);

impl EntryId {
    pub(crate) const ROOT: EntryId = EntryId(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Counts of a tree's entries. A file with several names counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of regular files.
    pub files: u64,
    /// Number of directories, including the root.
    pub directories: u64,
    /// Number of symbolic links.
    pub symlinks: u64,
    /// Number of devices, named pipes and sockets.
    pub others: u64,
    /// Size of all files in bytes.
    pub bytes: u64,
}

impl Tree {
    /// Creates a tree with an empty root directory.
    pub fn new() -> Tree {
        let mut tree = Tree {
            entries: Vec::new(),
            xattrs: BTreeMap::new(),
            mtime: 0,
        };
        tree.push(0o755, Kind::Directory(Vec::new()));
        tree
    }

    pub(crate) fn from_entries(
        entries: Vec<Entry>,
        xattrs: BTreeMap<EntryId, Arc<[Xattr]>>,
        mtime: u32,
    ) -> Tree {
        Tree {
            entries,
            xattrs,
            mtime,
        }
    }

    /// Sets the extended attributes of an entry, instead of those that it had. Their order does not
    /// matter.
    pub fn set_xattrs(
        &mut self,
        path: impl AsRef<Path>,
        mut xattrs: Vec<Xattr>,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let id = self.find(path)?;
        xattrs.sort_unstable();
        check_xattrs(&xattrs).map_err(|problem| invalid(path, &problem))?;
        if xattrs.is_empty() {
            self.xattrs.remove(&id);
        } else {
            self.xattrs.insert(id, xattrs.into());
        }
        Ok(())
    }

    /// Returns the extended attributes of the entry at a path.
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<&[Xattr], Error> {
        Ok(self.xattrs_of(self.find(path.as_ref())?))
    }

    pub(crate) fn xattrs_of(&self, id: EntryId) -> &[Xattr] {
        self.xattrs.get(&id).map_or(&[], |xattrs| xattrs)
    }

    /// Replaces the source of a file's content. The content itself must be the same.
    pub(crate) fn set_source(&mut self, id: EntryId, from: Source) {
        if let Kind::File { source, .. } = &mut self.entries[id.index()].kind {
            *source = from;
        }
    }

    /// Sets the modification time of all entries that are added from now on. It is 0 in a new tree.
    pub fn set_mtime_of_additions(&mut self, mtime: u32) {
        self.mtime = mtime;
    }

    /// Adds a directory and its parent directories, unless they exist.
    pub fn add_directory(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let names = normal_names(path)?;
        self.make_directories(path, &names).map(drop)
    }

    /// Adds a file with these bytes and permissions, and its parent directories.
    pub fn add_bytes(
        &mut self,
        path: impl AsRef<Path>,
        bytes: impl Into<Arc<[u8]>>,
        mode: u16,
    ) -> Result<(), Error> {
        let bytes = bytes.into();
        self.add(
            path.as_ref(),
            mode & 0o7777,
            Kind::File {
                size: bytes.len() as u64,
                source: Source::Bytes(bytes),
            },
        )
    }

    /// Adds a symlink and its parent directories. The target need not exist.
    pub fn add_symlink(
        &mut self,
        path: impl AsRef<Path>,
        target: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let target = target.as_ref().as_os_str().as_bytes();
        check_target(path.as_ref(), target)?;
        self.add(path.as_ref(), 0o777, Kind::Symlink(target.into()))
    }

    /// Adds one more name for the entry at `existing`, which must not be a directory.
    pub fn add_hard_link(
        &mut self,
        path: impl AsRef<Path>,
        existing: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let id = self.find(existing.as_ref())?;
        if self.entry(id).kind.is_directory() {
            return Err(invalid(path, "a directory cannot have two names"));
        }
        self.link(path, |_| id)?;
        self.entries[id.index()].links += 1;
        Ok(())
    }

    /// Adds an entry with all its attributes, and its parent directories. A directory is added
    /// empty. If the directory exists already (as the root does), it keeps its entries and gets
    /// these attributes.
    pub fn add_entry(&mut self, path: impl AsRef<Path>, entry: Entry) -> Result<(), Error> {
        let path = path.as_ref();
        let (mode, uid, gid, mtime) = (entry.mode & 0o7777, entry.uid, entry.gid, entry.mtime);
        let id = match entry.kind {
            Kind::Directory(_) => {
                let names = normal_names(path)?;
                self.make_directories(path, &names)?
            }
            kind => {
                if let Kind::Symlink(target) = &kind {
                    check_target(path, target)?;
                }
                self.add(path, mode, kind)?;
                EntryId(self.entries.len() as u32 - 1)
            }
        };
        let entry = &mut self.entries[id.index()];
        (entry.mode, entry.uid, entry.gid, entry.mtime) = (mode, uid, gid, mtime);
        Ok(())
    }

    fn add(&mut self, path: &Path, mode: u16, kind: Kind) -> Result<(), Error> {
        self.link(path, |tree| tree.push(mode, kind))
    }

    fn link(&mut self, path: &Path, entry: impl FnOnce(&mut Tree) -> EntryId) -> Result<(), Error> {
        let names = normal_names(path)?;
        let Some((name, parents)) = names.split_last() else {
            return Err(invalid(path, "it has no name"));
        };
        let parent = self.make_directories(path, parents)?;
        let Err(position) = self.position(parent, name) else {
            return Err(invalid(path, "it is there already"));
        };
        let id = entry(self);
        self.insert_child(parent, position, name, id);
        Ok(())
    }

    /// Removes the entry at this path, and everything in it if it is a directory.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let names = normal_names(path)?;
        let Some((name, parents)) = names.split_last() else {
            return Err(invalid(path, "the root cannot be removed"));
        };
        let parent = self.find_names(path, parents)?;
        let position = self.position(parent, name).map_err(|_| not_found(path))?;
        self.remove_child(parent, position);
        Ok(())
    }

    fn remove_child(&mut self, parent: EntryId, position: usize) {
        let child = self.children_mut(parent).remove(position);
        if self.entry(child.id).kind.is_directory() {
            self.entries[parent.index()].links -= 1;
        }
        self.unlink(child.id);
    }

    /// Removes one name of an entry, and all names below it. The entry itself stays in the tree
    /// without a name.
    fn unlink(&mut self, id: EntryId) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let entry = &mut self.entries[id.index()];
            entry.links = entry.links.saturating_sub(1);
            if let Kind::Directory(children) = &mut entry.kind {
                pending.extend(std::mem::take(children).iter().map(|child| child.id));
            }
        }
    }

    /// Returns counts of the entries.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        let mut seen = vec![false; self.entries.len()];
        let mut pending = vec![EntryId::ROOT];
        while let Some(id) = pending.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            match &self.entry(id).kind {
                Kind::Directory(children) => {
                    summary.directories += 1;
                    pending.extend(children.iter().map(|child| child.id));
                }
                Kind::File { size, .. } => {
                    summary.files += 1;
                    summary.bytes += size;
                }
                Kind::Symlink(_) => summary.symlinks += 1,
                _ => summary.others += 1,
            }
        }
        summary
    }

    /// Returns an iterator over every name in the tree with its entry, sorted, with a directory
    /// before its entries. The path of the root is empty.
    pub fn walk(&self) -> impl Iterator<Item = (PathBuf, &Entry)> {
        self.walk_ids().map(|(path, id)| (path, self.entry(id)))
    }

    pub(crate) fn walk_ids(&self) -> impl Iterator<Item = (PathBuf, EntryId)> {
        let mut pending = vec![(PathBuf::new(), EntryId::ROOT)];
        std::iter::from_fn(move || {
            let (path, id) = pending.pop()?;
            if let Kind::Directory(children) = &self.entry(id).kind {
                pending.extend(
                    children
                        .iter()
                        .rev()
                        .map(|child| (path.join(child.name()), child.id)),
                );
            }
            Some((path, id))
        })
    }

    pub(crate) fn entry_mut(&mut self, id: EntryId) -> &mut Entry {
        &mut self.entries[id.index()]
    }

    /// Sets sorted extended attributes of an entry that another tree or a scan has checked.
    pub(crate) fn set_xattrs_of(&mut self, id: EntryId, xattrs: Vec<Xattr>) {
        if xattrs.is_empty() {
            self.xattrs.remove(&id);
        } else {
            self.xattrs.insert(id, xattrs.into());
        }
    }

    pub(crate) fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id.index()]
    }

    /// Returns the size and the source of a regular file.
    pub(crate) fn file(&self, id: EntryId) -> (u64, &Source) {
        match &self.entry(id).kind {
            Kind::File { size, source } => (*size, source),
            _ => unreachable!("callers have found the file"),
        }
    }

    /// Returns the number of entries, including those without a name.
    pub(crate) fn capacity(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn find(&self, path: &Path) -> Result<EntryId, Error> {
        self.find_names(path, &normal_names(path)?)
    }

    fn find_names(&self, path: &Path, names: &[&[u8]]) -> Result<EntryId, Error> {
        names.iter().try_fold(EntryId::ROOT, |directory, name| {
            self.position(directory, name)
                .map(|at| self.children(directory)[at].id)
                .map_err(|_| not_found(path))
        })
    }

    fn make_directories(&mut self, path: &Path, names: &[&[u8]]) -> Result<EntryId, Error> {
        let mut directory = EntryId::ROOT;
        for (depth, name) in names.iter().enumerate() {
            directory = match self.position(directory, name) {
                Ok(at) => self.children(directory)[at].id,
                Err(at) => {
                    let id = self.push(0o755, Kind::Directory(Vec::new()));
                    self.insert_child(directory, at, name, id);
                    id
                }
            };
            if !self.entry(directory).kind.is_directory() {
                let above = OsString::from_vec(names[..=depth].join(&b'/'));
                return Err(invalid(
                    path,
                    &format!("`{}` is not a directory", above.display()),
                ));
            }
        }
        Ok(directory)
    }

    fn push(&mut self, mode: u16, kind: Kind) -> EntryId {
        let id = EntryId(
            u32::try_from(self.entries.len())
                .expect("a tree in memory has fewer than 2^32 entries"),
        );
        let links = if kind.is_directory() { 2 } else { 1 };
        self.entries.push(Entry {
            mode,
            uid: 0,
            gid: 0,
            mtime: self.mtime,
            links,
            kind,
        });
        id
    }

    /// Returns the position of a name in a directory, or the position at which to insert it.
    fn position(&self, directory: EntryId, name: &[u8]) -> Result<usize, usize> {
        let children = self.children(directory);
        // Most callers add names in their order.
        match children.last().map(|last| (*last.name).cmp(name)) {
            Some(Ordering::Less) => Err(children.len()),
            Some(Ordering::Equal) => Ok(children.len() - 1),
            _ => children.binary_search_by(|child| (*child.name).cmp(name)),
        }
    }

    /// Returns the names in a directory, sorted. Other entries have none.
    pub(crate) fn children(&self, id: EntryId) -> &[Child] {
        match &self.entry(id).kind {
            Kind::Directory(children) => children,
            _ => &[],
        }
    }

    fn children_mut(&mut self, directory: EntryId) -> &mut Vec<Child> {
        match &mut self.entries[directory.index()].kind {
            Kind::Directory(children) => children,
            _ => unreachable!("callers have found the directory"),
        }
    }

    /// Inserts a name at its position in a directory.
    fn insert_child(&mut self, parent: EntryId, position: usize, name: &[u8], id: EntryId) {
        if self.entry(id).kind.is_directory() {
            self.entries[parent.index()].links += 1;
        }
        let name = name.into();
        let children = self.children_mut(parent);
        children.insert(position, Child { name, id });
    }
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

/// Splits a path into names. A leading `/` and `.` are ignored.
fn normal_names(path: &Path) -> Result<Vec<&[u8]>, Error> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                check_name(path, name.as_bytes())?;
                names.push(name.as_bytes());
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(invalid(path, "`..` has no meaning here"));
            }
        }
    }
    Ok(names)
}

pub(crate) fn check_name(path: &Path, name: &[u8]) -> Result<(), Error> {
    if name.len() > NAME_MAX {
        return Err(invalid(
            path,
            &format!("a name has more than {NAME_MAX} bytes"),
        ));
    }
    if name.contains(&0) {
        return Err(invalid(path, "a name has a zero byte"));
    }
    Ok(())
}

pub(crate) fn check_target(path: &Path, target: &[u8]) -> Result<(), Error> {
    if target.is_empty() || target.len() > TARGET_MAX {
        return Err(invalid(
            path,
            &format!("a symlink's target has 1 to {TARGET_MAX} bytes"),
        ));
    }
    Ok(())
}

fn invalid(path: &Path, problem: &str) -> Error {
    Error::InvalidEntry {
        path: path.to_path_buf(),
        problem: problem.to_owned(),
    }
}

fn not_found(path: &Path) -> Error {
    Error::NotFound {
        path: path.to_path_buf(),
        container: PathBuf::from("the tree"),
    }
}
