//! Responsible for digests of a file's blocks that are known before the file is packed: known
//! blocks are found by them without reading the file.

use std::sync::{Arc, OnceLock};

use crate::digest::BlockDigest;

/// Digests of the whole blocks of a file, whose maker has compared them with the contents. The last
/// block of a file has one only if it is whole.
#[derive(Debug, Clone)]
pub struct BlockDigests {
    bytes: Arc<[u8]>,
    first: usize,
}

impl BlockDigests {
    /// Number of bytes of a file that have one digest: the default size of blocks.
    pub const BLOCK_BYTES: usize = 128 << 10;
    /// Number of bytes of a digest: BLAKE3, and XXH3 with 128 bits as a little-endian number.
    pub const DIGEST_BYTES: usize = 48;

    /// Returns the digest of a block.
    pub fn compute(block: &[u8]) -> [u8; Self::DIGEST_BYTES] {
        let mut digest = [0; Self::DIGEST_BYTES];
        digest[..32].copy_from_slice(blake3::hash(block).as_bytes());
        digest[32..].copy_from_slice(&BlockDigest::compute(block).to_bytes());
        digest
    }

    /// Returns whether a digest is that of a block of zeros, for which an image stores nothing.
    pub fn is_of_zeros(digest: &[u8]) -> bool {
        static ZEROS: OnceLock<[u8; BlockDigests::DIGEST_BYTES]> = OnceLock::new();
        digest == ZEROS.get_or_init(|| Self::compute(&vec![0; Self::BLOCK_BYTES]))
    }

    /// Creates the digests of a file. They lie one behind the other in `bytes`, with those of other
    /// files; `first` is the number of the file's first one.
    pub fn new(bytes: Arc<[u8]>, first: usize) -> BlockDigests {
        BlockDigests { bytes, first }
    }

    /// Returns the digest of the block with this number in the file.
    pub(crate) fn get(&self, number: u64) -> Option<KnownDigest<'_>> {
        let number = usize::try_from(number).ok()?.checked_add(self.first)?;
        let at = number.checked_mul(Self::DIGEST_BYTES)?;
        self.bytes
            .get(at..at.checked_add(Self::DIGEST_BYTES)?)
            .map(KnownDigest)
    }
}

/// Digest of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownDigest<'a>(&'a [u8]);

impl KnownDigest<'_> {
    /// Returns the BLAKE3 digest.
    pub(crate) fn strong(self) -> [u8; 32] {
        self.0[..32].try_into().expect("a digest has 48 bytes")
    }

    /// Returns the digest by which contents of files are compared.
    pub(crate) fn content(self) -> BlockDigest {
        BlockDigest::from_bytes(self.0[32..].try_into().expect("a digest has 48 bytes"))
    }

    pub(crate) fn is_of_zeros(self) -> bool {
        BlockDigests::is_of_zeros(self.0)
    }
}
