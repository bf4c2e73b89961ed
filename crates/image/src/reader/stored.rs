//! Responsible for the space that files take in an image, from its tables alone.

use super::Reader;
use super::node::Node;
use crate::{Error, format::STORED};

/// Space that the content of a file takes in its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Number of bytes in the image. For the end of a file in a fragment this is the part of the
    /// compressed fragment in proportion to the length.
    pub bytes: u64,
    /// Position of the content. Files with equal content that is stored once have the same
    /// position. `None` if nothing is stored, because the file is empty or consists of holes.
    pub place: Option<(u64, Option<(u32, u32)>)>,
}

impl Reader {
    /// Returns the space that the content of a regular file takes. Nothing is decompressed.
    ///
    /// # Errors
    /// Returns an error if the node is no regular file, or if the image is damaged.
    pub fn stored(&self, file: &Node) -> Result<Stored, Error> {
        let layout = self.layout(file)?;
        let mut bytes = layout.stored_bytes();
        let in_blocks = bytes;
        if let Some((index, _)) = layout.fragment {
            let (_, size) = self.fragment_place(index)?;
            let block_size = u64::from(self.superblock.block_size.bytes());
            let tail = file.size % block_size;
            // The last fragment may hold less than a block, so this is a lower bound for it.
            bytes += u64::from(size & !STORED) * tail / block_size;
        }
        let is_somewhere = in_blocks > 0 || layout.fragment.is_some();
        let start = if in_blocks > 0 { layout.start } else { 0 };
        Ok(Stored {
            bytes,
            place: is_somewhere.then_some((start, layout.fragment)),
        })
    }
}
