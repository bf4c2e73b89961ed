//! Responsible for the tables behind the data: inodes, directories with their index, fragments, export, ids; and the
//! superblock in front of it.
//!
//! Layout: https://dr-emann.github.io/squashfs/ and the kernel's `squashfs_fs.h`. All integers are little-endian.

use std::collections::HashMap;

use crate::{
    BlockSize, Compression, Error,
    codec::encode::Encoder,
    output::Output,
    sequence::{Data, Placed},
    tree::{Entry, EntryId, Kind, Tree},
};

/// Bytes of metadata that are compressed together; fixed by the format.
const METADATA_BLOCK: usize = 8192;
/// Set in a metadata block's length where it is stored as it is.
const METADATA_STORED: u16 = 1 << 15;
/// Entries under one directory header; fixed by the format.
const HEADER_ENTRIES: usize = 256;
/// No such table, no fragment, no xattrs.
const NONE: u64 = u64::MAX;
const NO_FRAGMENT: u32 = u32::MAX;
const NO_XATTRS: u32 = u32::MAX;
/// A directory's size in its inode counts `.` and `..` with three bytes.
const DIRECTORY_EXTRA: u32 = 3;

/// Superblock's flags: no xattrs, duplicates removed, exportable.
const FLAGS: u16 = 0x0200 | 0x0040 | 0x0080;
const FLAG_OPTIONS: u16 = 0x0400;
const FLAGS_UNCOMPRESSED: u16 = 0x0001 | 0x0002 | 0x0008 | 0x0800;
const MAGIC: u32 = 0x7371_7368;
/// Bytes of the superblock, which data and options follow.
pub(crate) const SUPERBLOCK_BYTES: usize = 96;

/// What the codec wants readers to know: only where it differs from what they assume.
pub(crate) fn options_block(compression: Compression) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match compression {
        Compression::Zstd { level } => bytes.extend(u32::from(level).to_le_bytes()),
        Compression::Lz4 { high } => {
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(u32::from(high).to_le_bytes());
        }
        // Level 9 and a window of 15 bits are assumed, and all that matters to a reader is the window.
        _ => return None,
    }
    let mut block = (METADATA_STORED | bytes.len() as u16)
        .to_le_bytes()
        .to_vec();
    block.extend(bytes);
    Some(block)
}

/// A stream of metadata blocks.
struct Metadata {
    encoder: Encoder,
    raw: Vec<u8>,
    out: Vec<u8>,
    scratch: Vec<u8>,
}

impl Metadata {
    fn new(compression: Compression) -> Result<Metadata, Error> {
        let encoder = Encoder::new(compression, METADATA_BLOCK as u32)?;
        Ok(Metadata {
            encoder,
            raw: Vec::with_capacity(METADATA_BLOCK),
            out: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Offset of the block under way, and the offset in it.
    fn position(&self) -> (u32, u16) {
        (self.out.len() as u32, self.raw.len() as u16)
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let length = (METADATA_BLOCK - self.raw.len()).min(bytes.len());
            self.raw.extend_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
            if self.raw.len() == METADATA_BLOCK {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if self.raw.is_empty() {
            return;
        }
        if let Some(used) = self.encoder.encode(&self.raw, &mut self.scratch) {
            self.out.extend((used as u16).to_le_bytes());
            self.out.extend_from_slice(&self.scratch[..used]);
        } else {
            self.out
                .extend((METADATA_STORED | self.raw.len() as u16).to_le_bytes());
            self.out.extend_from_slice(&self.raw);
        }
        self.raw.clear();
    }
}

/// Writes a table of metadata blocks and the list of their offsets; returns where that list begins.
fn write_indexed(
    output: &mut Output,
    compression: Compression,
    bytes: &[u8],
) -> Result<u64, Error> {
    let mut blocks = Metadata::new(compression)?;
    let mut offsets = Vec::new();
    for chunk in bytes.chunks(METADATA_BLOCK) {
        offsets.push(output.position() + blocks.out.len() as u64);
        blocks.put(chunk);
        blocks.flush();
    }
    output.write(&blocks.out)?;
    let at = output.position();
    for offset in offsets {
        output.write(&offset.to_le_bytes())?;
    }
    Ok(at)
}

struct Tables<'a> {
    tree: &'a Tree,
    data: &'a Data,
    /// Inode numbers by entry, from 1; 0 for entries without a name.
    numbers: Vec<u32>,
    /// Inode references by entry: block offset and offset in it.
    references: Vec<u64>,
    ids: Vec<u32>,
    id_indices: HashMap<u32, u16>,
    inodes: Metadata,
    directories: Metadata,
}

/// Writes all tables and returns the superblock and the number of inodes. Directory trees may be deep: no recursion.
pub(crate) fn write(
    tree: &Tree,
    data: &Data,
    output: &mut Output,
    compression: Compression,
    block_size: BlockSize,
    mkfs_time: u32,
) -> Result<(Vec<u8>, u32), Error> {
    let (numbers, count) = number(tree);
    let mut tables = Tables {
        tree,
        data,
        references: vec![NONE; numbers.len()],
        numbers,
        ids: Vec::new(),
        id_indices: HashMap::new(),
        inodes: Metadata::new(compression)?,
        directories: Metadata::new(compression)?,
    };
    tables.write_tree(count)?;
    tables.inodes.flush();
    tables.directories.flush();
    let inodes_at = output.position();
    output.write(&tables.inodes.out)?;
    let directories_at = output.position();
    output.write(&tables.directories.out)?;
    let mut fragments = Vec::new();
    for (start, word) in &data.fragments {
        fragments.extend(start.to_le_bytes());
        fragments.extend(word.to_le_bytes());
        fragments.extend(0_u32.to_le_bytes());
    }
    let fragments_at = if fragments.is_empty() {
        NONE
    } else {
        write_indexed(output, compression, &fragments)?
    };
    let mut export = vec![0; count as usize * 8];
    for (entry, number) in tables
        .numbers
        .iter()
        .enumerate()
        .filter(|(_, number)| **number > 0)
    {
        let at = (*number as usize - 1) * 8;
        export[at..at + 8].copy_from_slice(&tables.references[entry].to_le_bytes());
    }
    let export_at = write_indexed(output, compression, &export)?;
    let ids: Vec<u8> = tables.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let ids_at = write_indexed(output, compression, &ids)?;

    let has_options = options_block(compression).is_some();
    let uncompressed = if compression == Compression::None {
        FLAGS_UNCOMPRESSED
    } else {
        0
    };
    let mut block = Vec::with_capacity(SUPERBLOCK_BYTES);
    block.extend(MAGIC.to_le_bytes());
    block.extend(count.to_le_bytes());
    block.extend(mkfs_time.to_le_bytes());
    block.extend(block_size.bytes().to_le_bytes());
    block.extend((data.fragments.len() as u32).to_le_bytes());
    block.extend(compression.codec().id().to_le_bytes());
    block.extend((block_size.bytes().ilog2() as u16).to_le_bytes());
    block.extend((FLAGS | uncompressed | if has_options { FLAG_OPTIONS } else { 0 }).to_le_bytes());
    block.extend((tables.ids.len() as u16).to_le_bytes());
    block.extend(4_u16.to_le_bytes());
    block.extend(0_u16.to_le_bytes());
    block.extend(tables.references[EntryId::ROOT.index()].to_le_bytes());
    for offset in [
        output.position(),
        ids_at,
        NONE,
        inodes_at,
        directories_at,
        fragments_at,
        export_at,
    ] {
        block.extend(offset.to_le_bytes());
    }
    Ok((block, count))
}

/// Numbers inodes so that the children of one directory follow each other: their differences are 16 bits wide.
fn number(tree: &Tree) -> (Vec<u32>, u32) {
    let mut numbers = vec![0; tree.capacity()];
    numbers[EntryId::ROOT.index()] = 1;
    let mut next = 2;
    let mut pending = vec![EntryId::ROOT];
    while let Some(directory) = pending.pop() {
        let Kind::Directory(children) = &tree.entry(directory).kind else {
            continue;
        };
        for child in children {
            if numbers[child.id.index()] == 0 {
                numbers[child.id.index()] = next;
                next += 1;
            }
        }
        pending.extend(
            children
                .iter()
                .rev()
                .map(|child| child.id)
                .filter(|id| tree.entry(*id).kind.is_directory()),
        );
    }
    (numbers, next - 1)
}

impl Tables<'_> {
    /// Writes every inode, those of a directory's children before its own.
    fn write_tree(&mut self, count: u32) -> Result<(), Error> {
        // The root's parent is a number that no inode has.
        let mut pending = vec![(EntryId::ROOT, count + 1, false)];
        while let Some((directory, parent, children_done)) = pending.pop() {
            let tree = self.tree;
            let Kind::Directory(children) = &tree.entry(directory).kind else {
                continue;
            };
            if children_done {
                for child in children
                    .iter()
                    .filter(|child| !tree.entry(child.id).kind.is_directory())
                {
                    self.write_leaf(child.id)?;
                }
                self.write_directory(directory, parent)?;
                continue;
            }
            pending.push((directory, parent, true));
            let number = self.numbers[directory.index()];
            let directories = children
                .iter()
                .rev()
                .filter(|child| tree.entry(child.id).kind.is_directory());
            pending.extend(directories.map(|child| (child.id, number, false)));
        }
        Ok(())
    }

    fn head(&mut self, kind: u16, id: EntryId) -> Result<Vec<u8>, Error> {
        let Entry {
            mode,
            uid,
            gid,
            mtime,
            ..
        } = *self.tree.entry(id);
        let (uid, gid) = (self.id_index(uid)?, self.id_index(gid)?);
        let mut bytes = Vec::with_capacity(64);
        for word in [kind, mode, uid, gid] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(mtime.to_le_bytes());
        bytes.extend(self.numbers[id.index()].to_le_bytes());
        Ok(bytes)
    }

    fn id_index(&mut self, id: u32) -> Result<u16, Error> {
        if let Some(index) = self.id_indices.get(&id) {
            return Ok(*index);
        }
        let index = u16::try_from(self.ids.len())
            .ok()
            .filter(|index| *index < u16::MAX)
            .ok_or_else(|| Error::InvalidEntry {
                path: "/".into(),
                problem: "more than 65,535 different owners and groups".to_owned(),
            })?;
        self.ids.push(id);
        self.id_indices.insert(id, index);
        Ok(index)
    }

    fn write_inode(&mut self, id: EntryId, bytes: &[u8]) {
        let (block, offset) = self.inodes.position();
        self.references[id.index()] = u64::from(block) << 16 | u64::from(offset);
        self.inodes.put(bytes);
    }

    fn write_leaf(&mut self, id: EntryId) -> Result<(), Error> {
        if self.references[id.index()] != NONE {
            return Ok(());
        }
        let tree = self.tree;
        let entry = tree.entry(id);
        let bytes = match &entry.kind {
            Kind::File { size, .. } => self.file(id, *size)?,
            Kind::Symlink(target) => {
                let mut bytes = self.head(3, id)?;
                bytes.extend(entry.links.to_le_bytes());
                bytes.extend((target.len() as u32).to_le_bytes());
                bytes.extend_from_slice(target);
                bytes
            }
            Kind::BlockDevice(number) | Kind::CharacterDevice(number) => {
                let kind = if matches!(entry.kind, Kind::BlockDevice(_)) {
                    4
                } else {
                    5
                };
                let mut bytes = self.head(kind, id)?;
                bytes.extend(entry.links.to_le_bytes());
                bytes.extend(number.to_le_bytes());
                bytes
            }
            Kind::Fifo | Kind::Socket => {
                let kind = if matches!(entry.kind, Kind::Fifo) {
                    6
                } else {
                    7
                };
                let mut bytes = self.head(kind, id)?;
                bytes.extend(entry.links.to_le_bytes());
                bytes
            }
            Kind::Directory(_) => return Ok(()),
        };
        self.write_inode(id, &bytes);
        Ok(())
    }

    fn file(&mut self, id: EntryId, size: u64) -> Result<Vec<u8>, Error> {
        let empty = Placed::default();
        let data = self.data;
        let placed = data.placed.get(&id.index()).unwrap_or(&empty);
        let links = self.tree.entry(id).links;
        let (fragment, offset) = placed.fragment.unwrap_or((NO_FRAGMENT, 0));
        let small = (u32::try_from(placed.start), u32::try_from(size));
        let mut bytes;
        if let (Ok(start), Ok(size)) = small
            && links == 1
            && placed.sparse == 0
        {
            bytes = self.head(2, id)?;
            for word in [start, fragment, offset, size] {
                bytes.extend(word.to_le_bytes());
            }
        } else {
            bytes = self.head(9, id)?;
            // A file of nothing but zeros would have no bytes left; the kernel wants one.
            for word in [
                placed.start,
                size,
                placed.sparse.min(size.saturating_sub(1)),
            ] {
                bytes.extend(word.to_le_bytes());
            }
            for word in [links, fragment, offset, NO_XATTRS] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.extend(placed.blocks.iter().flat_map(|word| word.to_le_bytes()));
        Ok(bytes)
    }

    /// Writes a directory's listing, with an index where it is long, and its inode.
    fn write_directory(&mut self, id: EntryId, parent: u32) -> Result<(), Error> {
        let tree = self.tree;
        let Kind::Directory(children) = &tree.entry(id).kind else {
            return Ok(());
        };
        let (block, offset) = self.directories.position();
        let mut index = Vec::new();
        let (mut index_count, mut length, mut indexed_at) = (0_u16, 0_usize, 0_usize);
        let mut at = 0;
        while at < children.len() {
            let first_reference = self.references[children[at].id.index()];
            let base = self.numbers[children[at].id.index()];
            let mut body = Vec::new();
            let mut end = at;
            while end < children.len() && end - at < HEADER_ENTRIES {
                let child = &children[end];
                let reference = self.references[child.id.index()];
                let difference = i64::from(self.numbers[child.id.index()]) - i64::from(base);
                let Ok(difference) = i16::try_from(difference) else {
                    break;
                };
                let full =
                    length + 12 + body.len() + 8 + child.name.len() - indexed_at > METADATA_BLOCK;
                if reference >> 16 != first_reference >> 16 || (end > at && full) {
                    break;
                }
                body.extend(((reference & 0xffff) as u16).to_le_bytes());
                body.extend(difference.to_le_bytes());
                body.extend(type_word(&tree.entry(child.id).kind).to_le_bytes());
                body.extend((child.name.len() as u16 - 1).to_le_bytes());
                body.extend_from_slice(&child.name);
                end += 1;
            }
            if length > 0 && length + 12 + body.len() - indexed_at > METADATA_BLOCK {
                let name = &children[at].name;
                index.extend((length as u32).to_le_bytes());
                index.extend(self.directories.position().0.to_le_bytes());
                index.extend((name.len() as u32 - 1).to_le_bytes());
                index.extend_from_slice(name);
                index_count += 1;
                indexed_at = length;
            }
            self.directories.put(&((end - at) as u32 - 1).to_le_bytes());
            self.directories
                .put(&((first_reference >> 16) as u32).to_le_bytes());
            self.directories.put(&base.to_le_bytes());
            self.directories.put(&body);
            length += 12 + body.len();
            at = end;
        }
        let links = tree.entry(id).links;
        let size = length as u32 + DIRECTORY_EXTRA;
        let bytes = if let Ok(size) = u16::try_from(size)
            && index_count == 0
        {
            let mut bytes = self.head(1, id)?;
            bytes.extend(block.to_le_bytes());
            bytes.extend(links.to_le_bytes());
            bytes.extend(size.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend(parent.to_le_bytes());
            bytes
        } else {
            let mut bytes = self.head(8, id)?;
            for word in [links, size, block, parent] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(index_count.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend(NO_XATTRS.to_le_bytes());
            bytes.extend(index);
            bytes
        };
        self.write_inode(id, &bytes);
        Ok(())
    }
}

/// The basic type that a directory entry names.
fn type_word(kind: &Kind) -> u16 {
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
