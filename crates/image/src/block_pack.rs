//! Responsible for files of blocks in their compressed form, which are found by their keys. A file
//! is written once, and never changed.
//!
//! ```text
//! magic `condblk2`, codec (2 bytes), 6 zeros, digest of the format (32 bytes)
//! blocks, one behind the other
//! index: for each block its key (32 bytes), position, packed and full length, checksum
//! end: number of blocks, XXH3 hash of the index, magic `condend1`, XXH3 hash of head and end
//! ```
//!
//! All numbers are little-endian. A block that is stored as it is has a packed length of 0 and no
//! bytes, since whoever looks for it has them. A file that ends early has no end, and an index is
//! never larger than the file says and is.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::blocks::{BlockKey, BlockKeys, PackedBlock};
use crate::codec::decode::Decoder;
use crate::{BlockSize, Codec};

const MAGIC: [u8; 8] = *b"condblk2";
const END_MAGIC: [u8; 8] = *b"condend1";
const HEAD_BYTES: usize = 48;
const ENTRY_BYTES: usize = 56;
const END_BYTES: usize = 32;
/// Maximum number of blocks in a file: 40 GB of usual ones. The index of as many has 56 MB.
const BLOCKS_MAX: u64 = 1 << 20;

/// Reason for which a file is no file of blocks.
#[derive(Debug, thiserror::Error)]
pub enum PackFault {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is damaged or not complete.
    #[error("{0}")]
    Damaged(&'static str),
}

/// Open file of blocks.
#[derive(Debug)]
pub struct BlockPack {
    file: File,
    codec: Codec,
    format: [u8; 32],
    size: u64,
}

/// Head of an index entry in the file, and the block it stands for.
fn entry(block: &PackedBlock) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    let packed = if block.is_stored { 0 } else { block.packed };
    bytes[..32].copy_from_slice(&block.key.0);
    bytes[32..40].copy_from_slice(&block.position.to_le_bytes());
    bytes[40..44].copy_from_slice(&packed.to_le_bytes());
    bytes[44..48].copy_from_slice(&block.length.to_le_bytes());
    bytes[48..].copy_from_slice(&block.checksum.to_le_bytes());
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn digest_at(bytes: &[u8], at: usize) -> [u8; 32] {
    bytes[at..at + 32].try_into().expect("32 bytes")
}

/// Hash of the fixed parts of a file.
fn hash_of_ends(head: &[u8], end: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(head);
    hash.update(end);
    hash.digest()
}

impl BlockPack {
    /// Opens a file, and returns it with the blocks of its index. Memory is bounded by the size of
    /// the file.
    ///
    /// # Errors
    /// Returns [`PackFault`] for a file that cannot be read, is damaged, or is something else.
    pub fn open(file: File) -> Result<(BlockPack, Vec<PackedBlock>), PackFault> {
        let size = file.metadata()?.len();
        if size < (HEAD_BYTES + END_BYTES) as u64 {
            return Err(PackFault::Damaged("it is too short"));
        }
        let (mut head, mut end) = ([0; HEAD_BYTES], [0; END_BYTES]);
        file.read_exact_at(&mut head, 0)?;
        file.read_exact_at(&mut end, size - END_BYTES as u64)?;
        if head[..8] != MAGIC {
            return Err(PackFault::Damaged("it holds something else"));
        }
        if end[16..24] != END_MAGIC || u64_at(&end, 24) != hash_of_ends(&head, &end[..24]) {
            return Err(PackFault::Damaged("its end is missing or damaged"));
        }
        let codec = Codec::from_id(u16::from_le_bytes([head[8], head[9]]));
        let codec = codec.ok_or(PackFault::Damaged("its codec is unknown"))?;
        let count = u64_at(&end, 0);
        let room = size - (HEAD_BYTES + END_BYTES) as u64;
        if count > BLOCKS_MAX || count * ENTRY_BYTES as u64 > room {
            return Err(PackFault::Damaged("its index is larger than the file"));
        }
        let index_bytes = count * ENTRY_BYTES as u64;
        let index_at = size - END_BYTES as u64 - index_bytes;
        let mut index = vec![0; index_bytes as usize];
        file.read_exact_at(&mut index, index_at)?;
        if xxh3_64(&index) != u64_at(&end, 8) {
            return Err(PackFault::Damaged("its index is damaged"));
        }
        let mut blocks = Vec::with_capacity(count as usize);
        for entry in index.chunks_exact(ENTRY_BYTES) {
            blocks.push(parse(entry, index_at)?);
        }
        let format = digest_at(&head, 16);
        let pack = BlockPack {
            file,
            codec,
            format,
            size,
        };
        Ok((pack, blocks))
    }

    /// Returns the digest of the options with which the blocks were made.
    pub fn format(&self) -> [u8; 32] {
        self.format
    }

    /// Returns the codec with which the blocks were made.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Returns the size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Appends the bytes of a compressed block. Returns false, and appends nothing, if they cannot
    /// be read or are not those that were written.
    pub fn read(&self, block: &PackedBlock, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.resize(start + block.packed as usize, 0);
        let read = self.file.read_exact_at(&mut out[start..], block.position);
        let is_whole = read.is_ok() && xxh3_64(&out[start..]) == block.checksum;
        if !is_whole {
            out.truncate(start);
        }
        is_whole
    }

    /// Decompresses the bytes of a block, and returns whether they are those of `content`.
    pub fn is_content(&self, packed: &[u8], content: &[u8]) -> bool {
        let mut full = vec![0; content.len()];
        let decoded = Decoder::new(self.codec).decode(packed, &mut full);
        matches!(decoded, Ok(length) if length == content.len()) && full == content
    }

    /// Decompresses a block and compares its digest with the key. A block without bytes has nothing
    /// that could be wrong.
    pub fn verify(&self, block: &PackedBlock) -> bool {
        if block.is_stored {
            return true;
        }
        let (mut packed, mut full) = (Vec::new(), vec![0; block.length as usize]);
        if !self.read(block, &mut packed) {
            return false;
        }
        let decoded = Decoder::new(self.codec).decode(&packed, &mut full);
        matches!(decoded, Ok(length) if length == full.len())
            && BlockKeys::from_bytes(self.format).of(&full) == block.key
    }
}

fn parse(entry: &[u8], index_at: u64) -> Result<PackedBlock, PackFault> {
    let packed = u32_at(entry, 40);
    let block = PackedBlock {
        key: BlockKey(digest_at(entry, 0)),
        position: u64_at(entry, 32),
        packed,
        length: u32_at(entry, 44),
        is_stored: packed == 0,
        checksum: u64_at(entry, 48),
        was_known: false,
        is_verified: false,
    };
    let end = block.position.checked_add(u64::from(packed));
    let is_within = end.is_some_and(|end| end <= index_at);
    let is_possible = block.length <= BlockSize::MAX.bytes()
        && (block.is_stored || packed < block.length)
        && (block.is_stored || block.position >= HEAD_BYTES as u64);
    if is_within && is_possible {
        return Ok(block);
    }
    Err(PackFault::Damaged("its index is impossible"))
}

/// Blocks that are copied into a new file.
#[derive(Debug)]
pub struct PackSource<'a> {
    /// File with the blocks.
    pub file: &'a File,
    /// Number of bytes in front of position 0.
    pub offset: u64,
    /// Blocks to copy.
    pub blocks: Vec<PackedBlock>,
}

/// Writes a file of blocks, which must be empty. Blocks whose bytes are not those that were
/// recorded are left out. Returns the number of blocks, and the hash of the index. Stops soon after
/// `cancel` is set.
///
/// # Errors
/// Returns the error of writing, such as a full disk, or one of the kind
/// [`Interrupted`](std::io::ErrorKind::Interrupted).
pub fn write_block_pack(
    file: &File,
    codec: Codec,
    format: [u8; 32],
    sources: &[PackSource<'_>],
    cancel: &AtomicBool,
) -> std::io::Result<(u64, u64)> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..10].copy_from_slice(&codec.id().to_le_bytes());
    head[16..].copy_from_slice(&format);
    out.write_all(&head)?;
    let mut position = HEAD_BYTES as u64;
    let (mut index, mut bytes) = (Vec::new(), Vec::new());
    let mut count = 0;
    for source in sources {
        for block in &source.blocks {
            if cancel.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let packed = if block.is_stored { 0 } else { block.packed };
            bytes.resize(packed as usize, 0);
            let read = source
                .file
                .read_exact_at(&mut bytes, source.offset + block.position);
            let is_whole = read.is_ok() && xxh3_64(&bytes) == block.checksum;
            if count == BLOCKS_MAX || !(block.is_stored || is_whole) {
                continue;
            }
            out.write_all(&bytes)?;
            let place = PackedBlock { position, ..*block };
            index.extend_from_slice(&entry(&place));
            position += u64::from(packed);
            count += 1;
        }
    }
    out.write_all(&index)?;
    let hash = xxh3_64(&index);
    let mut end = [0; END_BYTES];
    end[..8].copy_from_slice(&count.to_le_bytes());
    end[8..16].copy_from_slice(&hash.to_le_bytes());
    end[16..24].copy_from_slice(&END_MAGIC);
    let ends = hash_of_ends(&head, &end[..24]);
    end[24..].copy_from_slice(&ends.to_le_bytes());
    out.write_all(&end)?;
    out.flush()?;
    Ok((count, hash))
}
