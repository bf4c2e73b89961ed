//! Responsible for what surrounds the contents: superblock and options in front, and the tables of inodes, directories,
//! fragments, export and owners behind.
//!
//! All integers are little-endian. A table is a sequence of blocks of 8 KiB, each compressed by itself.

mod inodes;
mod metadata;

use crate::codec::encode::{self, Encoder};
use crate::output::Output;
use crate::plan::Plan;
use crate::sequence::Contents;
use crate::tree::EntryId;
use crate::{BlockSize, Compression, Error, Tree};
use inodes::Inodes;
use metadata::{METADATA_STORED, Metadata};

/// The superblock's length in bytes.
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

/// Writes what comes before the contents: room for the superblock, and the codec's options where it needs them.
pub(crate) fn write_head(output: &mut Output, compression: Compression) -> Result<(), Error> {
    output.write(&[0; SUPERBLOCK_BYTES])?;
    if let Some(options) = encode::options(compression) {
        output.write(&(METADATA_STORED | options.len() as u16).to_le_bytes())?;
        output.write(&options)?;
    }
    Ok(())
}

/// Writes what comes after the contents. Returns the superblock.
pub(crate) fn write_tables(
    tree: &Tree,
    plan: &Plan,
    contents: &Contents,
    output: &mut Output,
    compression: Compression,
    block_size: BlockSize,
) -> Result<Vec<u8>, Error> {
    let new_table = || Encoder::new(compression, block_size).map(Metadata::new);
    let mut inodes = Inodes::new(tree, contents, new_table()?, new_table()?);
    inodes.add_all(plan.inodes + 1)?;
    let root = inodes.reference(EntryId::ROOT);
    let references = inodes.references_by_number(plan.inodes);
    let (inodes, directories, owners) = inodes.into_tables();

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

    let mut superblock = Vec::with_capacity(SUPERBLOCK_BYTES);
    superblock.extend(b"hsqs");
    superblock.extend(plan.inodes.to_le_bytes());
    // When it was made: the newest entry's time, for the clock must not reach an image's bytes.
    superblock.extend(plan.newest.to_le_bytes());
    superblock.extend(block_size.bytes().to_le_bytes());
    superblock.extend((contents.fragments.len() as u32).to_le_bytes());
    for value in [
        compression.codec().id(),
        block_size.bytes().ilog2() as u16,
        flags(compression, contents),
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
        // There are no extended attributes.
        u64::MAX,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    ] {
        superblock.extend(value.to_le_bytes());
    }
    Ok(superblock)
}

fn flags(compression: Compression, contents: &Contents) -> u16 {
    let mut flags = flags::DEDUPLICATED | flags::EXPORTABLE | flags::NO_XATTRS;
    if contents.fragments.is_empty() {
        flags |= flags::NO_FRAGMENTS;
    }
    if encode::options(compression).is_some() {
        flags |= flags::OPTIONS;
    }
    if compression == Compression::None {
        flags |= flags::STORED_INODES
            | flags::STORED_DATA
            | flags::STORED_FRAGMENTS
            | flags::STORED_OWNERS;
    }
    flags
}
