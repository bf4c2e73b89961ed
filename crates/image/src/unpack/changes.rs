//! Responsible for reading a directory back after programs have changed it.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Stamp, Unpacked};
use crate::content::Content;
use crate::source::LastDirectory;
use crate::tree::{Entry, EntryId, Kind};
use crate::{Error, Modes, ScanOptions, Tree};

/// Number of bytes that are compared at a time.
const COMPARE_BYTES: u64 = 128 << 10;
/// Permissions without which the owner can neither list a directory nor enter it.
const DIRECTORY_MIN: u32 = 0o700;
/// Permission without which the owner cannot read a file.
const FILE_MIN: u32 = 0o400;

/// Name of the attribute with the capabilities of a program.
const CAPABILITIES: &str = "security.capability";
/// Bits of the first number of capabilities that say which form they have.
const REVISION: u32 = 0xff00_0000;
/// Form of capabilities that root has set.
const OF_ROOT: u32 = 0x0200_0000;
const OF_ROOT_BYTES: usize = 20;
/// Form of capabilities that root of a user namespace has set: the number of its user follows.
const OF_NAMESPACE: u32 = 0x0300_0000;
const OF_NAMESPACE_BYTES: usize = 24;

/// Counts of what programs have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Number of files that are new or have another content.
    pub files: u64,
    /// Size of these files in bytes.
    pub bytes: u64,
}

impl Unpacked {
    /// Makes everything readable for the user who owns it, and returns the modes that were changed
    /// for that. No program may still run in the directory.
    ///
    /// # Errors
    /// Returns [`Error::Io`].
    fn make_readable(&self) -> Result<HashMap<PathBuf, u16>, Error> {
        let mut modes = HashMap::new();
        if rustix::process::geteuid().is_root() {
            return Ok(modes);
        }
        let mut pending = vec![PathBuf::new()];
        while let Some(directory) = pending.pop() {
            let full = self.root.join(&directory);
            raise(&full, &directory, DIRECTORY_MIN, &mut modes)?;
            for entry in std::fs::read_dir(&full).map_err(Error::io("list", &full))? {
                let entry = entry.map_err(Error::io("list", &full))?;
                let path = directory.join(entry.file_name());
                let kind = entry
                    .file_type()
                    .map_err(Error::io("read the attributes of", entry.path()))?;
                if kind.is_dir() {
                    pending.push(path);
                } else if kind.is_file() {
                    raise(&entry.path(), &path, FILE_MIN, &mut modes)?;
                }
            }
        }
        Ok(modes)
    }

    /// Reads the directory back into a tree. Files that are as they were keep their source, so that
    /// the blocks of a donor are reused. Everything that was there before keeps its owner, and all
    /// else belongs to root. Times after `latest`, in seconds since 1970, become that time for what
    /// is new or changed.
    ///
    /// No program may still run in the directory, which must stay as it is while the tree is used.
    ///
    /// # Errors
    /// Returns the errors of [`Tree::scan`].
    pub fn read_back(self, latest: Option<u32>) -> Result<(Tree, Changes), Error> {
        let modes = self.make_readable()?;
        let options = ScanOptions {
            modes: Modes::Keep,
            xattrs: true,
            ..ScanOptions::default()
        };
        let mut new = Tree::scan(&self.root, &options)?;
        for (path, mode) in modes {
            let id = new.find(&path)?;
            new.entry_mut(id).mode = mode;
        }
        for index in 0..new.capacity() {
            without_namespace(&mut new, EntryId(index as u32));
        }
        for path in &self.unwritten {
            // A file takes the place of some entries, and nothing that of others.
            let _ = new.remove(path);
        }
        let mut comparison = Comparison {
            old: &self,
            known: vec![false; new.capacity()],
            last_directories: Default::default(),
        };
        comparison.compare(&mut new)?;
        let changes = comparison.count_and_date(&mut new, latest);
        self.restore_unwritten(&mut new)?;
        Ok((new, changes))
    }

    /// Adds the entries that were not written, where their directories are still there.
    fn restore_unwritten(&self, new: &mut Tree) -> Result<(), Error> {
        for path in &self.unwritten {
            let Some(old) = self.tree.entry_at(path) else {
                continue;
            };
            let parent = path.parent().unwrap_or(Path::new(""));
            let is_there = new
                .entry_at(parent)
                .is_some_and(|entry| entry.kind.is_directory());
            if is_there && new.entry_at(path).is_none() {
                new.add_entry(path, old.clone())?;
                new.set_xattrs(path, self.tree.xattrs(path)?.to_vec())?;
            }
        }
        Ok(())
    }
}

/// Makes capabilities of a file those of root, if root of a namespace has set them: the kernel adds
/// the user to them who that root is, and who is another user elsewhere.
fn without_namespace(tree: &mut Tree, id: EntryId) {
    let mut xattrs = tree.xattrs_of(id).to_vec();
    let mut is_changed = false;
    for xattr in &mut xattrs {
        let revision = xattr.value.get(..4).and_then(|bytes| bytes.try_into().ok());
        let Some(revision) = revision.map(u32::from_le_bytes) else {
            continue;
        };
        if xattr.name == CAPABILITIES
            && xattr.value.len() == OF_NAMESPACE_BYTES
            && revision & REVISION == OF_NAMESPACE
        {
            let of_root = revision & !REVISION | OF_ROOT;
            xattr.value[..4].copy_from_slice(&of_root.to_le_bytes());
            xattr.value.truncate(OF_ROOT_BYTES);
            is_changed = true;
        }
    }
    if is_changed {
        tree.set_xattrs_of(id, xattrs);
    }
}

/// Sets the permissions `least` of a file, and notes its mode if that is a change.
fn raise(
    full: &Path,
    path: &Path,
    least: u32,
    modes: &mut HashMap<PathBuf, u16>,
) -> Result<(), Error> {
    let found =
        std::fs::symlink_metadata(full).map_err(Error::io("read the attributes of", full))?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & least != least {
        modes.insert(path.to_owned(), mode as u16);
        let raised = std::fs::Permissions::from_mode(mode | least);
        std::fs::set_permissions(full, raised).map_err(Error::io("set the attributes of", full))?;
    }
    Ok(())
}

/// Comparison of a tree that was written with the one that was read back.
struct Comparison<'u> {
    old: &'u Unpacked,
    /// Entries of the new tree that are as they were.
    known: Vec<bool>,
    last_directories: [LastDirectory; 2],
}

impl Comparison<'_> {
    /// Walks both trees side by side.
    fn compare(&mut self, new: &mut Tree) -> Result<(), Error> {
        let mut pending = vec![(EntryId::ROOT, EntryId::ROOT, PathBuf::new())];
        while let Some((new_id, old_id, path)) = pending.pop() {
            let is_same = self.compare_entry(new, new_id, old_id, &path)?;
            self.known[new_id.index()] |= is_same;
            let old = &self.old.tree;
            let mut others = old.children(old_id).iter().peekable();
            for child in new.children(new_id) {
                while others.next_if(|other| other.name < child.name).is_some() {}
                if let Some(same) = others.next_if(|other| other.name == child.name) {
                    pending.push((child.id, same.id, path.join(child.name())));
                }
            }
        }
        Ok(())
    }

    /// Gives an entry what it had before, and returns whether it is unchanged.
    fn compare_entry(
        &mut self,
        new: &mut Tree,
        new_id: EntryId,
        old_id: EntryId,
        path: &Path,
    ) -> Result<bool, Error> {
        let tree = &self.old.tree;
        let before = tree.entry(old_id);
        let now = new.entry(new_id);
        if std::mem::discriminant(&now.kind) != std::mem::discriminant(&before.kind) {
            return Ok(false);
        }
        let has_same_content = match (&now.kind, &before.kind) {
            (Kind::Directory(_), Kind::Directory(_)) => {
                self.has_same_names(new, new_id, old_id, path)
            }
            (Kind::Symlink(target), Kind::Symlink(other)) => target == other,
            (Kind::File { size, .. }, Kind::File { size: other, .. }) => {
                let full = self.old.root.join(path);
                if self.old.stamps.get(&old_id) == Some(&Stamp::read(&full)?) {
                    // A file whose mode was raised for reading has another stamp.
                    Self::restore(new, new_id, before, tree.xattrs_of(old_id));
                    return Ok(true);
                }
                size == other && self.has_same_bytes(new, new_id, old_id)?
            }
            _ => true,
        };
        let is_same = has_same_content && now_mode(new, new_id) == before.mode;
        let entry = new.entry_mut(new_id);
        (entry.uid, entry.gid) = (before.uid, before.gid);
        if has_same_content && let Kind::File { source, .. } = &before.kind {
            new.set_source(new_id, source.clone());
        }
        if is_same {
            new.entry_mut(new_id).mtime = before.mtime;
        }
        let is_file = matches!(before.kind, Kind::File { .. });
        // A new mode changes no other attribute. A program may have given a file its capabilities
        // anew.
        if is_same || is_file && has_same_content {
            let xattrs = tree.xattrs_of(old_id).to_vec();
            if !is_file || new.xattrs_of(new_id).is_empty() {
                new.set_xattrs_of(new_id, xattrs);
            }
        }
        Ok(is_same)
    }

    fn restore(new: &mut Tree, id: EntryId, before: &Entry, xattrs: &[crate::reader::Xattr]) {
        let entry = new.entry_mut(id);
        (entry.mode, entry.uid, entry.gid) = (before.mode, before.uid, before.gid);
        entry.mtime = before.mtime;
        if let Kind::File { source, .. } = &before.kind {
            new.set_source(id, source.clone());
        }
        new.set_xattrs_of(id, xattrs.to_vec());
    }

    /// Returns whether a directory has the names that it had, besides those that were not written.
    fn has_same_names(&self, new: &Tree, new_id: EntryId, old_id: EntryId, path: &Path) -> bool {
        let is_written = |name: &[u8]| {
            let name = std::ffi::OsStr::from_bytes(name);
            !self.old.unwritten.contains(&path.join(name))
        };
        let old = self.old.tree.children(old_id).iter();
        let old = old
            .map(|child| &*child.name)
            .filter(|name| is_written(name));
        let now = new.children(new_id).iter().map(|child| &*child.name);
        now.eq(old)
    }

    fn has_same_bytes(
        &mut self,
        new: &Tree,
        new_id: EntryId,
        old_id: EntryId,
    ) -> Result<bool, Error> {
        let (size, source) = new.file(new_id);
        let (_, old_source) = self.old.tree.file(old_id);
        let [first, second] = &mut self.last_directories;
        let (now, before) = (
            Content::open(source, first)?,
            Content::open(old_source, second)?,
        );
        let mut buffers = [
            vec![0; COMPARE_BYTES as usize],
            vec![0; COMPARE_BYTES as usize],
        ];
        let mut at = 0;
        while at < size {
            let length = (size - at).min(COMPARE_BYTES) as usize;
            let [one, other] = &mut buffers;
            if now.read(&mut one[..length], at)? != before.read(&mut other[..length], at)? {
                return Ok(false);
            }
            at += length as u64;
        }
        Ok(true)
    }

    /// Counts the changed files, and limits the times of everything that has changed.
    fn count_and_date(&self, new: &mut Tree, latest: Option<u32>) -> Changes {
        let mut changes = Changes::default();
        for index in 0..new.capacity() {
            if self.known[index] {
                continue;
            }
            let entry = new.entry_mut(EntryId(index as u32));
            if entry.links == 0 {
                continue;
            }
            entry.mtime = entry.mtime.min(latest.unwrap_or(u32::MAX));
            if let Kind::File { size, source } = &entry.kind
                && matches!(source, crate::Source::Disk(_))
            {
                changes.files += 1;
                changes.bytes += size;
            }
        }
        changes
    }
}

fn now_mode(tree: &Tree, id: EntryId) -> u16 {
    tree.entry(id).mode
}
