//! Responsible for the tables of inodes and of directories, which refer to each other.

use std::collections::HashMap;

use super::table_writer::{METADATA_BYTES, TableWriter};
use super::xattrs::{self, Xattrs};
use crate::placement::{PackedContents, Placement};
use crate::tree::{Child, Entry, EntryId, Kind};
use crate::{Error, Tree};

/// Maximum number of names that share a header in a directory.
const NAMES_PER_HEADER: usize = 256;
/// Value that means "no part in a shared block" for a file, or "no extended attributes" for an
/// entry.
const NONE: u32 = u32::MAX;
/// Difference between the type number of an extended inode and that of the basic one.
const EXTENDED: u16 = 7;
/// Reference of an entry whose inode has not been added.
const NOT_YET: u64 = u64::MAX;

/// Both tables while they are built. The listing of a directory needs the positions of its
/// children's inodes, and the directory's inode needs the position of the listing. Children are
/// therefore added first.
pub(super) struct Inodes<'a> {
    tree: &'a Tree,
    contents: &'a PackedContents,
    /// Inode numbers, indexed by entry, from 1. The number is 0 for an entry without a name.
    numbers: Vec<u32>,
    /// Positions of inodes, indexed by entry: position of the block and offset in the block.
    references: Vec<u64>,
    owners: Owners,
    xattrs: Xattrs<'a>,
    table: TableWriter,
    listings: TableWriter,
}

/// Owners and groups. Inodes hold an index into this list.
#[derive(Default)]
struct Owners {
    list: Vec<u32>,
    indices: HashMap<u32, u16>,
}

/// Place of a directory's listing.
struct Listing {
    position: (u32, u16),
    /// Length of the listing in bytes.
    length: usize,
    /// Index for each part of a long listing except the first: its offset, block and first name.
    index: Vec<u8>,
    index_entries: u16,
}

impl<'a> Inodes<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        contents: &'a PackedContents,
        table: TableWriter,
        listings: TableWriter,
    ) -> Inodes<'a> {
        Inodes {
            tree,
            contents,
            numbers: number(tree),
            references: vec![NOT_YET; tree.capacity()],
            owners: Owners::default(),
            xattrs: Xattrs::default(),
            table,
            listings,
        }
    }

    /// Returns the position of an entry's inode.
    pub(super) fn reference(&self, id: EntryId) -> u64 {
        self.references[id.index()]
    }

    /// Returns the positions of `inodes` inodes, in the order of their numbers.
    pub(super) fn references_by_number(&self, inodes: u32) -> Vec<u64> {
        let mut sorted = vec![0; inodes as usize];
        for (number, reference) in self.numbers.iter().zip(&self.references) {
            if *number > 0 {
                sorted[*number as usize - 1] = *reference;
            }
        }
        sorted
    }

    /// Returns the tables of inodes and directories, the list of owners, and the extended
    /// attributes.
    pub(super) fn into_tables(self) -> (TableWriter, TableWriter, Vec<u32>, Xattrs<'a>) {
        (self.table, self.listings, self.owners.list, self.xattrs)
    }

    /// Adds all entries of the tree. `root_parent` is the parent's number of the root, which no
    /// inode has.
    pub(super) fn add_all(&mut self, root_parent: u32) -> Result<(), Error> {
        // The walk is depth first without recursion, because a tree may be deeper than the stack.
        // Each directory is visited twice, the second time after everything below it has been
        // added.
        let mut pending = vec![(EntryId::ROOT, root_parent, false)];
        while let Some((id, parent, below_added)) = pending.pop() {
            let children = self.tree.children(id);
            if below_added {
                self.add_directory(id, children, parent)?;
                continue;
            }
            pending.push((id, parent, true));
            let number = self.numbers[id.index()];
            let directories = directories(self.tree, children).rev();
            pending.extend(directories.map(|child| (child, number, false)));
        }
        Ok(())
    }

    fn add_directory(&mut self, id: EntryId, children: &[Child], parent: u32) -> Result<(), Error> {
        for child in children {
            if self.reference(child.id) == NOT_YET {
                self.add_other(child.id)?;
            }
        }
        let listing = self.add_listing(children)?;
        let entry = self.tree.entry(id);
        let (block, offset) = listing.position;
        // The format counts three bytes for `.` and `..`, which are not stored.
        let length = u32::try_from(listing.length + 3).map_err(|_| Error::InvalidEntry {
            path: "/".into(),
            problem: "a directory's names have more than 4 GiB".to_owned(),
        })?;
        let xattrs = self.xattrs_of(id);
        let mut inode;
        if let Ok(length) = u16::try_from(length)
            && listing.index_entries == 0
            && xattrs == NONE
        {
            inode = self.header(entry, 1, id)?;
            inode.extend(block.to_le_bytes());
            inode.extend(entry.links.to_le_bytes());
            inode.extend(length.to_le_bytes());
            inode.extend(offset.to_le_bytes());
            inode.extend(parent.to_le_bytes());
        } else {
            inode = self.header(entry, 8, id)?;
            inode.extend(entry.links.to_le_bytes());
            inode.extend(length.to_le_bytes());
            inode.extend(block.to_le_bytes());
            inode.extend(parent.to_le_bytes());
            inode.extend(listing.index_entries.to_le_bytes());
            inode.extend(offset.to_le_bytes());
            inode.extend(xattrs.to_le_bytes());
            inode.extend(listing.index);
        }
        self.add(id, &inode)
    }

    fn add_listing(&mut self, children: &[Child]) -> Result<Listing, Error> {
        let mut listing = Listing {
            position: self.listings.position(),
            length: 0,
            index: Vec::new(),
            index_entries: 0,
        };
        let mut indexed_at = 0;
        let mut rest = children;
        while let Some(first) = rest.first() {
            let (names, count) = self.names_of_one_header(rest, listing.length - indexed_at);
            let is_due = listing.length + names.len() - indexed_at > METADATA_BYTES;
            if is_due && listing.length > 0 {
                // Readers do not need the index. If the index has too many entries for its counter,
                // the rest is left out.
                if listing.index_entries < u16::MAX {
                    let (block, _) = self.listings.position();
                    listing.index.extend((listing.length as u32).to_le_bytes());
                    listing.index.extend(block.to_le_bytes());
                    let length = first.name.len() as u32 - 1;
                    listing.index.extend(length.to_le_bytes());
                    listing.index.extend_from_slice(&first.name);
                    listing.index_entries += 1;
                }
                indexed_at = listing.length;
            }
            self.listings.append(&names)?;
            listing.length += names.len();
            rest = &rest[count..];
        }
        Ok(listing)
    }

    /// Returns a header with the names after it, as many as can share the header, and the number of
    /// these names. Their inodes are in one block, and their numbers are close to the first one's.
    fn names_of_one_header(&self, children: &[Child], since_index: usize) -> (Vec<u8>, usize) {
        let block = self.reference(children[0].id) >> 16;
        let number = self.numbers[children[0].id.index()];
        let mut bytes = vec![0; 12];
        let mut count = 0;
        for child in children.iter().take(NAMES_PER_HEADER) {
            let reference = self.reference(child.id);
            let distance = i64::from(self.numbers[child.id.index()]) - i64::from(number);
            let Ok(distance) = i16::try_from(distance) else {
                break;
            };
            let is_full = since_index + bytes.len() + 8 + child.name.len() > METADATA_BYTES;
            if reference >> 16 != block || (is_full && count > 0) {
                break;
            }
            bytes.extend(((reference & 0xffff) as u16).to_le_bytes());
            bytes.extend(distance.to_le_bytes());
            bytes.extend(basic_type(&self.tree.entry(child.id).kind).to_le_bytes());
            bytes.extend((child.name.len() as u16 - 1).to_le_bytes());
            bytes.extend_from_slice(&child.name);
            count += 1;
        }
        bytes[..4].copy_from_slice(&(count as u32 - 1).to_le_bytes());
        bytes[4..8].copy_from_slice(&(block as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&number.to_le_bytes());
        (bytes, count)
    }

    fn add_other(&mut self, id: EntryId) -> Result<(), Error> {
        let entry = self.tree.entry(id);
        let mut inode;
        match &entry.kind {
            Kind::Directory(_) => unreachable!("added before its parent"),
            Kind::File { size, .. } => inode = self.file(entry, *size, id)?,
            kind => {
                let xattrs = self.xattrs_of(id);
                let basic = basic_type(kind);
                let inode_type = if xattrs == NONE {
                    basic
                } else {
                    basic + EXTENDED
                };
                inode = self.header(entry, inode_type, id)?;
                inode.extend(entry.links.to_le_bytes());
                match kind {
                    Kind::Symlink(target) => {
                        inode.extend((target.len() as u32).to_le_bytes());
                        inode.extend_from_slice(target);
                    }
                    Kind::BlockDevice(number) | Kind::CharacterDevice(number) => {
                        inode.extend(number.to_le_bytes());
                    }
                    _ => {}
                }
                if xattrs != NONE {
                    inode.extend(xattrs.to_le_bytes());
                }
            }
        }
        self.add(id, &inode)
    }

    fn file(&mut self, entry: &Entry, size: u64, id: EntryId) -> Result<Vec<u8>, Error> {
        let Placement {
            start,
            sizes,
            fragment,
            sparse,
        } = &self.contents.placements[id.index()];
        let (fragment, offset) = fragment.unwrap_or((NONE, 0));
        let xattrs = self.xattrs_of(id);
        let mut inode;
        if let (Ok(start), Ok(size)) = (u32::try_from(*start), u32::try_from(size))
            && entry.links == 1
            && *sparse == 0
            && xattrs == NONE
        {
            inode = self.header(entry, 2, id)?;
            for value in [start, fragment, offset, size] {
                inode.extend(value.to_le_bytes());
            }
        } else {
            inode = self.header(entry, 9, id)?;
            // For a file that consists of one hole, the recorded number is one byte less than the
            // size, as `mksquashfs` does.
            let sparse = (*sparse).min(size.saturating_sub(1));
            for value in [*start, size, sparse] {
                inode.extend(value.to_le_bytes());
            }
            for value in [entry.links, fragment, offset, xattrs] {
                inode.extend(value.to_le_bytes());
            }
        }
        inode.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        Ok(inode)
    }

    /// Returns the index of an entry's extended attributes.
    fn xattrs_of(&mut self, id: EntryId) -> u32 {
        xattrs::of_entry(self.tree, id).map_or(NONE, |set| self.xattrs.index(set))
    }

    fn header(&mut self, entry: &Entry, inode_type: u16, id: EntryId) -> Result<Vec<u8>, Error> {
        let mut inode = Vec::with_capacity(64);
        let (owner, group) = (self.owners.index(entry.uid)?, self.owners.index(entry.gid)?);
        for value in [inode_type, entry.mode, owner, group] {
            inode.extend(value.to_le_bytes());
        }
        inode.extend(entry.mtime.to_le_bytes());
        inode.extend(self.numbers[id.index()].to_le_bytes());
        Ok(inode)
    }

    fn add(&mut self, id: EntryId, inode: &[u8]) -> Result<(), Error> {
        let (block, offset) = self.table.position();
        self.references[id.index()] = u64::from(block) << 16 | u64::from(offset);
        self.table.append(inode)
    }
}

impl Owners {
    fn index(&mut self, id: u32) -> Result<u16, Error> {
        if let Some(index) = self.indices.get(&id) {
            return Ok(*index);
        }
        let index = u16::try_from(self.list.len()).ok();
        let index = index.filter(|index| *index < u16::MAX);
        let index = index.ok_or_else(|| Error::InvalidEntry {
            path: "/".into(),
            problem: "there are more than 65535 different owners and groups".to_owned(),
        })?;
        self.list.push(id);
        self.indices.insert(id, index);
        Ok(index)
    }
}

/// Numbers the inodes from 1. The children of a directory get consecutive numbers, because a
/// listing stores the difference between a child's number and the first one in 16 bits.
fn number(tree: &Tree) -> Vec<u32> {
    let mut numbers = vec![0; tree.capacity()];
    numbers[EntryId::ROOT.index()] = 1;
    let mut next = 2;
    let mut pending = vec![EntryId::ROOT];
    while let Some(id) = pending.pop() {
        let children = tree.children(id);
        for child in children {
            let number = &mut numbers[child.id.index()];
            if *number == 0 {
                *number = next;
                next += 1;
            }
        }
        pending.extend(directories(tree, children).rev());
    }
    numbers
}

fn directories<'a>(
    tree: &'a Tree,
    children: &'a [Child],
) -> impl DoubleEndedIterator<Item = EntryId> {
    let ids = children.iter().map(|child| child.id);
    ids.filter(|id| tree.entry(*id).kind.is_directory())
}

/// Returns the type number in listings and in basic inodes.
fn basic_type(kind: &Kind) -> u16 {
    match kind {
        Kind::Directory(_) => 1,
        Kind::File { .. } => 2,
        Kind::Symlink(_) => 3,
        Kind::BlockDevice(_) => 4,
        Kind::CharacterDevice(_) => 5,
        Kind::Fifo => 6,
        Kind::Socket => 7,
    }
}
