//! Responsible for blocks that need no compressing, because their compressed form is known: their
//! keys, where it is found, and the record of an image's blocks that others can find them by.
//!
//! Positions and sizes of blocks in an image follow from the tree and the options alone. A known
//! block is the one that the codec would have made, so the image is the same with and without it.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::block_digests::KnownDigest;
use crate::codec::encode::Encoder;
use crate::format::{Format, STORED};
use crate::{BlockSize, Compression, Error, Image};

/// Number of the rules that decide a block's bytes. It changes whenever a block may come out
/// different although codec, options and content are the same.
const RULES: u32 = 2;
/// Versions of the crates with the codecs' libraries, which are a part of the keys.
const LIBRARIES: [(&str, &str); 4] = [
    ("libdeflate-sys", "1.26.1"),
    ("liblzma-sys", "0.4.9"),
    ("lz4-sys", "1.11.1+lz4-1.10.0"),
    ("zstd-sys", "2.1.2+zstd.1.5.7"),
];

/// Key of a block: a digest of its bytes before compression, of the codec and of every option that
/// changes the result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey(pub [u8; 32]);

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockKey({})", hex::encode(&self.0[..8]))
    }
}

/// Form in which a known block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBlock {
    /// The compressed bytes, which were appended to the buffer.
    Compressed,
    /// The compressed bytes, which were appended to the buffer, and which were decompressed and
    /// compared with the content before. Reading an image back compares them, and does not
    /// decompress them again.
    Verified,
    /// The bytes as they are, because compressing makes them no shorter. Nothing was appended.
    Stored,
}

/// Source of blocks in their compressed form.
///
/// An implementation must return what the codec made of exactly the block with that key. It is
/// called by several threads at a time. Whatever goes wrong in it is a block that is not found.
pub trait KnownBlocks: Send + Sync {
    /// Looks for a block with the bytes `block`, and appends its compressed bytes to `out`.
    fn find(&self, key: &BlockKey, block: &[u8], out: &mut Vec<u8>) -> Option<KnownBlock>;

    /// Looks for a block of `length` bytes whose content was not read, and appends its compressed
    /// bytes to `out`. They must be [`KnownBlock::Verified`]. Returns whether there is one.
    fn find_unread(&self, key: &BlockKey, length: usize, out: &mut Vec<u8>) -> bool {
        let _ = (key, length, out);
        false
    }
}

/// Place of a block in an image, and the key that others find it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedBlock {
    /// Key of the block.
    pub key: BlockKey,
    /// Position in the image, in bytes.
    pub position: u64,
    /// Length in the image, in bytes.
    pub packed: u32,
    /// Length before compression, in bytes.
    pub length: u32,
    /// Whether the block is in the image as it is, without compression.
    pub is_stored: bool,
    /// XXH3 hash of the bytes in the image.
    pub checksum: u64,
    /// Whether the block came from [`PackOptions::known`](crate::PackOptions::known).
    pub was_known: bool,
    /// Whether the bytes in the image are known to give the content: see [`KnownBlock::Verified`].
    pub is_verified: bool,
}

/// Function from blocks to keys, for one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockKeys {
    key: [u8; 32],
}

impl BlockKeys {
    /// Creates the function for images without a donor.
    ///
    /// # Errors
    /// Returns [`Error::InvalidOption`] or another error if the codec cannot compress.
    pub fn of_format(compression: Compression, block_size: BlockSize) -> Result<Self, Error> {
        Self::new(&Format::new(compression, block_size))
    }

    /// Creates the function for a format. The versions of the libraries and the compressed form of
    /// a whole block of text are a part of it, so that another version of a codec's library does
    /// not find the blocks of this one.
    pub(crate) fn new(format: &Format) -> Result<BlockKeys, Error> {
        let sample = sample(format.block_size.bytes() as usize);
        let mut made = Vec::new();
        let size = Encoder::new(format)?.append(&sample, &mut made)?;
        let mut hasher = blake3::Hasher::new_derive_key("condense 2026 compressed blocks");
        let Format {
            compression,
            block_size,
            xz,
            ..
        } = format;
        let parameters = format!(
            "{RULES} {compression} {} {xz:?} {size} {} {LIBRARIES:?} ",
            block_size.bytes(),
            zstd_safe::version_number()
        );
        hasher.update(parameters.as_bytes());
        hasher.update(&made);
        let key = *hasher.finalize().as_bytes();
        Ok(BlockKeys { key })
    }

    /// Returns the function whose [`Self::bytes`] these are.
    pub(crate) fn from_bytes(key: [u8; 32]) -> BlockKeys {
        BlockKeys { key }
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        self.key
    }

    pub(crate) fn of(&self, block: &[u8]) -> BlockKey {
        self.of_digest(blake3::hash(block).as_bytes())
    }

    /// Returns the key of the block with this BLAKE3 digest.
    pub fn of_digest(&self, digest: &[u8; 32]) -> BlockKey {
        BlockKey(*blake3::keyed_hash(&self.key, digest).as_bytes())
    }
}

/// Returns text that can be compressed, of the given length: always the same.
fn sample(length: usize) -> Vec<u8> {
    let mut sample = Vec::with_capacity(length + 16);
    let mut number = 1_u32;
    while sample.len() < length {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        sample.extend_from_slice(format!("{:x}", number >> 21).as_bytes());
        sample.push((number >> 8) as u8 & 0x3f);
    }
    sample.truncate(length);
    sample
}

/// Record of one block by the worker that made or found it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockRecord {
    pub(crate) key: BlockKey,
    pub(crate) length: u32,
    pub(crate) checksum: u64,
    pub(crate) was_known: bool,
    pub(crate) is_verified: bool,
}

impl BlockRecord {
    /// Returns the record with the block's place. `size` is its size field in the image.
    pub(crate) fn at(self, position: u64, size: u32) -> PackedBlock {
        PackedBlock {
            key: self.key,
            position,
            packed: size & !STORED,
            length: self.length,
            is_stored: size & STORED != 0,
            checksum: self.checksum,
            was_known: self.was_known,
            is_verified: self.is_verified,
        }
    }
}

/// Maker of blocks in their compressed form: they are looked for before they are compressed.
pub(crate) struct BlockMaker<'a> {
    encoder: Encoder,
    /// Keys, if blocks are looked for or recorded.
    keys: Option<BlockKeys>,
    known: Option<&'a dyn KnownBlocks>,
}

impl<'a> BlockMaker<'a> {
    pub(crate) fn new(
        format: &Format,
        keys: Option<BlockKeys>,
        known: Option<&'a dyn KnownBlocks>,
    ) -> Result<BlockMaker<'a>, Error> {
        Ok(BlockMaker {
            encoder: Encoder::new(format)?,
            keys,
            known,
        })
    }

    /// Appends a block in the form in which it is written. Returns its size field in the image, and
    /// its record if blocks are recorded.
    pub(crate) fn append(
        &mut self,
        block: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(u32, Option<BlockRecord>), Error> {
        let Some(keys) = self.keys else {
            return Ok((self.encoder.append(block, out)?, None));
        };
        let key = keys.of(block);
        let start = out.len();
        let found = self.known.and_then(|known| find(known, &key, block, out));
        let (size, is_verified) = match found {
            Some(found) => found,
            None => (self.encoder.append(block, out)?, false),
        };
        let record = BlockRecord {
            key,
            length: block.len() as u32,
            checksum: xxh3_64(&out[start..]),
            was_known: found.is_some(),
            is_verified,
        };
        Ok((size, Some(record)))
    }
}

impl BlockMaker<'_> {
    /// Appends a block of `length` bytes with a known digest in the form in which it is written,
    /// without its content. Returns nothing if only its content leads to that form.
    pub(crate) fn append_unread(
        &mut self,
        digest: KnownDigest<'_>,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Option<(u32, BlockRecord)> {
        let (keys, known) = (self.keys?, self.known?);
        let key = keys.of_digest(&digest.strong());
        let start = out.len();
        let is_found = known.find_unread(&key, length, out);
        let packed = out.len() - start;
        if !is_found || !(1..length).contains(&packed) {
            out.truncate(start);
            return None;
        }
        let record = BlockRecord {
            key,
            length: length as u32,
            checksum: xxh3_64(&out[start..]),
            was_known: true,
            is_verified: true,
        };
        Some((packed as u32, record))
    }
}

/// Looks for a block, and appends it as it is written. Returns its size field in the image, and
/// whether its bytes are known to give the content.
fn find(
    known: &dyn KnownBlocks,
    key: &BlockKey,
    block: &[u8],
    out: &mut Vec<u8>,
) -> Option<(u32, bool)> {
    let start = out.len();
    match known.find(key, block, out) {
        // The codec never makes a block that is no shorter.
        Some(found @ (KnownBlock::Compressed | KnownBlock::Verified))
            if (1..block.len()).contains(&(out.len() - start)) =>
        {
            Some(((out.len() - start) as u32, found == KnownBlock::Verified))
        }
        Some(KnownBlock::Stored) => {
            out.truncate(start);
            out.extend_from_slice(block);
            Some((block.len() as u32 | STORED, true))
        }
        _ => {
            out.truncate(start);
            None
        }
    }
}

/// Blocks of a finished image, for packing another one that shares content with it.
pub struct ImageBlocks {
    file: File,
    /// Start of the image in the file, in bytes.
    offset: u64,
    blocks: HashMap<BlockKey, PackedBlock>,
}

impl ImageBlocks {
    /// Opens an image that was packed with [`PackOptions::record_blocks`]. Its file may be removed
    /// or renamed afterwards.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be opened.
    ///
    /// [`PackOptions::record_blocks`]: crate::PackOptions::record_blocks
    pub fn new(image: &Image) -> Result<ImageBlocks, Error> {
        let file = File::open(&image.path).map_err(Error::io("open", &image.path))?;
        Ok(ImageBlocks {
            file,
            offset: image.offset_bytes,
            blocks: image.blocks.iter().map(|it| (it.key, *it)).collect(),
        })
    }
}

impl ImageBlocks {
    /// Creates the set of these blocks of an image that begins with the file.
    pub(crate) fn of(file: File, blocks: Vec<PackedBlock>) -> ImageBlocks {
        ImageBlocks {
            file,
            offset: 0,
            blocks: blocks.into_iter().map(|it| (it.key, it)).collect(),
        }
    }

    /// Returns the number of blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Returns whether there are no blocks.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Returns the blocks as a value of [`PackOptions::known`](crate::PackOptions::known).
    pub fn shared(self) -> Arc<dyn KnownBlocks> {
        Arc::new(self)
    }
}

/// Blocks of two sources, which are looked for in the first one first.
pub(crate) struct InOrder(
    pub(crate) Arc<dyn KnownBlocks>,
    pub(crate) Arc<dyn KnownBlocks>,
);

impl KnownBlocks for InOrder {
    fn find(&self, key: &BlockKey, block: &[u8], out: &mut Vec<u8>) -> Option<KnownBlock> {
        let start = out.len();
        let found = self.0.find(key, block, out);
        if found.is_none() {
            out.truncate(start);
        }
        found.or_else(|| self.1.find(key, block, out))
    }

    fn find_unread(&self, key: &BlockKey, length: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if self.0.find_unread(key, length, out) {
            return true;
        }
        out.truncate(start);
        self.1.find_unread(key, length, out)
    }
}

impl fmt::Debug for ImageBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageBlocks({})", self.blocks.len())
    }
}

impl KnownBlocks for ImageBlocks {
    fn find(&self, key: &BlockKey, content: &[u8], out: &mut Vec<u8>) -> Option<KnownBlock> {
        let block = self.blocks.get(key)?;
        if block.length as usize != content.len() {
            return None;
        }
        if block.is_stored {
            return Some(KnownBlock::Stored);
        }
        let start = out.len();
        out.resize(start + block.packed as usize, 0);
        self.file
            .read_exact_at(&mut out[start..], self.offset + block.position)
            .ok()?;
        (xxh3_64(&out[start..]) == block.checksum).then_some(KnownBlock::Compressed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_versions_in_the_keys_are_those_of_the_lock() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = fs_err::read_to_string(lock).unwrap();
        for (name, version) in LIBRARIES {
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{name} is not {version}");
        }
        assert_eq!(sample(4096), sample(1 << 20)[..4096]);
    }
}
