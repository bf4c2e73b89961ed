//! Responsible for the superblock: the first 96 bytes of an image, which hold the parameters for
//! reading the rest.

use super::window::Window;
use crate::{BlockSize, Codec, Error};

const MAGIC: [u8; 4] = *b"hsqs";
/// Table position that means "no table".
const NO_TABLE: u64 = u64::MAX;

/// Parameters in the superblock of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Superblock {
    /// Codec of the blocks.
    pub codec: Codec,
    /// Number of bytes that are compressed together.
    pub block_size: BlockSize,
    /// Number of inodes. Hard links share one inode.
    pub inode_count: u32,
    /// Number of fragments, which are blocks with small files and the ends of larger files.
    pub fragment_count: u32,
    /// Number of different owners and groups.
    pub id_count: u16,
    /// Time when the image was created, in seconds since 1970.
    pub created: u32,
    /// Flags as in the format.
    pub flags: u16,
    /// Size of the image in bytes, without the padding at the end.
    pub bytes_used: u64,
    pub(super) root: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) directory_table_end: u64,
    pub(super) fragment_table: Option<u64>,
    pub(super) id_table: u64,
    pub(super) xattr_table: Option<u64>,
    pub(super) export_table: Option<u64>,
}

impl Superblock {
    /// Size of the superblock in bytes.
    pub(super) const LEN: usize = 96;

    /// Returns whether a file that begins with these bytes claims to be an image.
    pub fn recognises(head: &[u8]) -> bool {
        head.starts_with(&MAGIC)
    }

    /// Returns whether inodes can be found by their numbers, which network file systems need.
    pub fn has_export_table(&self) -> bool {
        self.export_table.is_some()
    }

    /// Returns whether the image has a table of extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.xattr_table.is_some()
    }

    /// Reads and checks the superblock. A valid superblock has all tables inside the image, in the
    /// order that all writers and the kernel use.
    pub(super) fn load(window: &Window) -> Result<Superblock, Error> {
        let mut bytes = [0; Self::LEN];
        let mut magic = [0; MAGIC.len()];
        if window.len() >= magic.len() as u64 {
            window.read_exact(&mut magic, 0)?;
        }
        if magic != MAGIC {
            return Err(window.corrupt("it does not begin as a SquashFS image"));
        }
        if window.len() < Self::LEN as u64 {
            return Err(window.corrupt("it ends within its first 96 bytes"));
        }
        window.read_exact(&mut bytes, 0)?;
        parse(&bytes).map_err(|problem| window.corrupt(problem))
    }
}

fn parse(bytes: &[u8; Superblock::LEN]) -> Result<Superblock, String> {
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;

    let version = (u16_at(28), u16_at(30));
    if version != (4, 0) {
        return Err(format!(
            "its version is {}.{}, not 4.0",
            version.0, version.1
        ));
    }
    let codec = Codec::from_id(u16_at(20))
        .ok_or_else(|| format!("its compressor has the unknown number {}", u16_at(20)))?;
    let block_size = BlockSize::new(u32_at(12))
        .filter(|size| size.bytes().trailing_zeros() == u32::from(u16_at(22)))
        .ok_or_else(|| format!("its block size is {} bytes", u32_at(12)))?;

    let bytes_used = u64_at(40);
    let [id_table, xattr_table, inode_table] = [u64_at(48), u64_at(56), u64_at(64)];
    let [directory_table, fragment_table, export_table] = [u64_at(72), u64_at(80), u64_at(88)];
    let fragment_count = u32_at(16);
    let optional =
        [fragment_table, export_table, xattr_table].map(|at| (at != NO_TABLE).then_some(at));
    let after_directories = [Some(id_table)]
        .into_iter()
        .chain(optional)
        .flatten()
        .min()
        .unwrap_or(id_table);
    let in_order = Superblock::LEN as u64 <= inode_table
        && inode_table < directory_table
        && directory_table <= after_directories
        && [Some(id_table)]
            .into_iter()
            .chain(optional)
            .flatten()
            .all(|at| at < bytes_used);
    if !in_order {
        return Err("its tables are out of order".to_owned());
    }
    if u16_at(26) == 0 {
        return Err("it has no table of owners".to_owned());
    }
    if fragment_count > 0 && fragment_table == NO_TABLE {
        return Err("it has no table of fragments".to_owned());
    }
    Ok(Superblock {
        codec,
        block_size,
        inode_count: u32_at(4),
        fragment_count,
        id_count: u16_at(26),
        created: u32_at(8),
        flags: u16_at(24),
        bytes_used,
        root: u64_at(32),
        inode_table,
        directory_table,
        directory_table_end: after_directories,
        fragment_table: (fragment_count > 0).then_some(fragment_table),
        id_table,
        xattr_table: (xattr_table != NO_TABLE).then_some(xattr_table),
        export_table: (export_table != NO_TABLE).then_some(export_table),
    })
}
