//! Responsible for writing the metadata of an image: superblock and options block in front of the
//! contents, and the tables of inodes, directories, fragments, export, owners and extended
//! attributes behind them.
//!
//! All integers are little-endian. A table is a sequence of blocks of 8 KiB, each compressed
//! separately.

mod inodes;
mod table_writer;
mod xattrs;

use crate::codec::encode::Encoder;
use crate::format::Format;
use crate::output::Output;
use crate::placement::PackedContents;
use crate::plan::Plan;
use crate::tree::EntryId;
use crate::zone::RECORD_BYTES;
use crate::{Compression, Error, Tree};
use inodes::Inodes;
use table_writer::TableWriter;

/// Length of the superblock in bytes.
const SUPERBLOCK_BYTES: usize = 96;

/// Bits of the superblock's flags.
mod flags {
    pub(super) const STORED_INODES: u16 = 0x0001;
    pub(super) const STORED_DATA: u16 = 0x0002;
    pub(super) const STORED_FRAGMENTS: u16 = 0x0008;
    pub(super) const NO_FRAGMENTS: u16 = 0x0010;
    pub(super) const DEDUPLICATED: u16 = 0x0040;
    pub(super) const EXPORTABLE: u16 = 0x0080;
    pub(super) const NO_XATTRS: u16 = 0x0200;
    pub(super) const OPTIONS: u16 = 0x0400;
    pub(super) const STORED_OWNERS: u16 = 0x0800;
}

/// Returns the number of bytes before the record of the hot zone, or before the contents if there
/// is none.
pub(crate) fn head_bytes(format: &Format) -> u64 {
    (SUPERBLOCK_BYTES + format.options.as_ref().map_or(0, Vec::len)) as u64
}

/// Writes the bytes before the contents: room for the superblock, and the options block if the
/// codec needs one. Only then comes room for the record of the hot zone, if there will be one.
pub(crate) fn write_head(
    output: &mut Output,
    format: &Format,
    has_zone: bool,
) -> Result<(), Error> {
    output.write(&[0; SUPERBLOCK_BYTES])?;
    output.write(format.options.as_deref().unwrap_or_default())?;
    output.write(&[0; RECORD_BYTES][..if has_zone { RECORD_BYTES } else { 0 }])
}

/// Writes the tables behind the contents. Returns the superblock.
pub(crate) fn write_tables(
    tree: &Tree,
    plan: &Plan<'_>,
    contents: &PackedContents,
    output: &mut Output,
    format: &Format,
) -> Result<Vec<u8>, Error> {
    let new_table = || Encoder::new(format).map(TableWriter::new);
    let mut inodes = Inodes::new(tree, contents, new_table()?, new_table()?);
    inodes.add_all(plan.inodes + 1)?;
    let root = inodes.reference(EntryId::ROOT);
    let references = inodes.references_by_number(plan.inodes);
    let (inodes, directories, owners, xattrs) = inodes.into_tables();

    let inode_table = output.position();
    output.write(&inodes.finish()?)?;
    let directory_table = output.position();
    output.write(&directories.finish()?)?;

    let mut bytes = Vec::new();
    for (start, size) in &contents.fragments {
        bytes.extend(start.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
    }
    let fragment_table = new_table()?.write_lookup(&bytes, output)?;
    let bytes: Vec<u8> = references.iter().flat_map(|at| at.to_le_bytes()).collect();
    let export_table = new_table()?.write_lookup(&bytes, output)?;
    let bytes: Vec<u8> = owners.iter().flat_map(|id| id.to_le_bytes()).collect();
    let owner_table = new_table()?.write_lookup(&bytes, output)?;
    // Readers assume that these tables come last.
    let xattr_table = xattrs.write(new_table()?, new_table()?, output)?;
    let block_size = format.block_size;

    let mut superblock = Vec::with_capacity(SUPERBLOCK_BYTES);
    superblock.extend(b"hsqs");
    superblock.extend(plan.inodes.to_le_bytes());
    // The creation time is the time of the newest entry, because the clock must not influence the
    // bytes of an image.
    superblock.extend(plan.newest_mtime.to_le_bytes());
    superblock.extend(block_size.bytes().to_le_bytes());
    superblock.extend((contents.fragments.len() as u32).to_le_bytes());
    for value in [
        format.compression.codec().id(),
        block_size.bytes().ilog2() as u16,
        flags(format, contents, xattr_table),
        owners.len() as u16,
        4,
        0,
    ] {
        superblock.extend(value.to_le_bytes());
    }
    for value in [
        root,
        output.position(),
        owner_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    ] {
        superblock.extend(value.to_le_bytes());
    }
    Ok(superblock)
}

fn flags(format: &Format, contents: &PackedContents, xattr_table: u64) -> u16 {
    let mut flags = flags::DEDUPLICATED | flags::EXPORTABLE;
    if xattr_table == u64::MAX {
        flags |= flags::NO_XATTRS;
    }
    if contents.fragments.is_empty() {
        flags |= flags::NO_FRAGMENTS;
    }
    if format.options.is_some() {
        flags |= flags::OPTIONS;
    }
    if format.compression == Compression::None && !format.is_mixed {
        flags |= flags::STORED_INODES
            | flags::STORED_DATA
            | flags::STORED_FRAGMENTS
            | flags::STORED_OWNERS;
    }
    flags
}
