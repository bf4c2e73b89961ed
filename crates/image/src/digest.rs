//! Responsible for the digest of a file's content. The digest is computed while the file is packed,
//! and again when the image is read back.

use xxhash_rust::xxh3::xxh3_128;

/// Digest of a file's content. It is computed from digests of blocks, so that each block can be
/// hashed by the worker that compresses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ContentDigest(u128);

impl ContentDigest {
    /// Adds the digest of the next block.
    pub(crate) fn push(&mut self, block: BlockDigest) {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.0.to_le_bytes());
        bytes[16..].copy_from_slice(&block.0.to_le_bytes());
        self.0 = xxh3_128(&bytes);
    }
}

/// Evidence that the content of a file in an image is the content that was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentFingerprint {
    /// The content must have this digest.
    Digest(ContentDigest),
    /// The blocks must be those of the donor image's file with this inode reference.
    Donor(u64),
}

impl Default for ContentFingerprint {
    fn default() -> ContentFingerprint {
        ContentFingerprint::Digest(ContentDigest::default())
    }
}

/// Digest of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockDigest(u128);

impl BlockDigest {
    pub(crate) fn compute(block: &[u8]) -> BlockDigest {
        BlockDigest(xxh3_128(block))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> BlockDigest {
        BlockDigest(u128::from_le_bytes(bytes))
    }

    /// Returns whether this content ends a shared block that is at least half full. One content in
    /// eight does: images grow by a thousandth, and after a change almost all shared blocks away
    /// from it are known. Changing this rule changes every image.
    pub(crate) fn is_end(self) -> bool {
        self.0.trailing_zeros() >= 3
    }
}
