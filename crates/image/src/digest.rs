//! Responsible for the digest by which a file's content is recognised: once while it is packed,
//! once when it is read back.

use xxhash_rust::xxh3::xxh3_128;

/// Digest of a file's content, taken block by block so that blocks can be hashed where they are
/// compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ContentDigest(u128);

impl ContentDigest {
    /// Adds the next block.
    pub(crate) fn push(&mut self, block: BlockDigest) {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.0.to_le_bytes());
        bytes[16..].copy_from_slice(&block.0.to_le_bytes());
        self.0 = xxh3_128(&bytes);
    }
}

/// How a file in an image is known to be what was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It has this digest.
    Digest(ContentDigest),
    /// Its blocks are those of the donor's file with this inode.
    Donor(u64),
}

impl Default for Proof {
    fn default() -> Proof {
        Proof::Digest(ContentDigest::default())
    }
}

/// Digest of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockDigest(u128);

impl BlockDigest {
    pub(crate) fn of(block: &[u8]) -> BlockDigest {
        BlockDigest(xxh3_128(block))
    }
}
