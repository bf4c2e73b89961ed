//! Responsible for blocks of an image that earlier builds have decompressed and compared with their
//! content: their bytes are compared in the compressed form.

use std::{
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use xxhash_rust::xxh3::xxh3_64;

use super::differs;
use crate::{
    Error, Image, PackedBlock, Reader, format::STORED, placement::Positions, reader::Node,
    tree::EntryId,
};

/// Number of blocks that one worker takes at a time. Neighbouring blocks follow each other.
const BLOCKS_AT_A_TIME: usize = 16;

/// Blocks that need no decompressing, which any number of threads compare with their checksums.
pub(super) struct VerifiedBlocks<'i> {
    image: &'i Image,
    file: fs_err::File,
    positions: Option<&'i Positions>,
    /// Blocks in the order of their positions.
    blocks: Vec<&'i PackedBlock>,
    next: AtomicUsize,
}

impl<'i> VerifiedBlocks<'i> {
    pub(super) fn new(image: &'i Image, file: fs_err::File) -> VerifiedBlocks<'i> {
        let positions = image.positions.as_deref();
        let all = image.blocks.iter();
        let blocks = all.filter(|block| positions.is_some() && block.is_verified);
        let mut blocks: Vec<_> = blocks.collect();
        blocks.sort_unstable_by_key(|block| block.position);
        VerifiedBlocks {
            image,
            file,
            positions,
            blocks,
            next: AtomicUsize::new(0),
        }
    }

    /// Compares blocks until there are none left.
    pub(super) fn compare(&self) -> Result<(), Error> {
        let mut buffer = Vec::new();
        loop {
            let from = self.next.fetch_add(BLOCKS_AT_A_TIME, Ordering::Relaxed);
            let end = self.blocks.len().min(from + BLOCKS_AT_A_TIME);
            let Some(part) = self.blocks.get(from..end).filter(|part| !part.is_empty()) else {
                return Ok(());
            };
            for block in part {
                buffer.resize(block.packed as usize, 0);
                self.file
                    .file()
                    .read_exact_at(&mut buffer, self.image.offset_bytes + block.position)
                    .map_err(Error::io("read", &self.image.path))?;
                if xxh3_64(&buffer) != block.checksum {
                    self.stop();
                    let entry = format!("the block at {}", block.position);
                    let problem = "its bytes are not those that were written".to_owned();
                    return Err(differs(self.image, Path::new(&entry), problem));
                }
            }
        }
    }

    /// Stops all threads from beginning another part.
    pub(super) fn stop(&self) {
        self.next.store(self.blocks.len(), Ordering::Relaxed);
    }

    /// Returns whether all content of a file is in such blocks, at the places that packing has
    /// given it.
    pub(super) fn are_all_of(
        &self,
        id: EntryId,
        node: &Node,
        reader: &Reader,
    ) -> Result<bool, Error> {
        let Some(positions) = self.positions else {
            return Ok(false);
        };
        let (packed, found) = (&positions.placements[id.index()], reader.layout(node)?);
        let is_in_place = (found.stored_bytes() == 0 || found.start == packed.start)
            && (&found.sizes, found.fragment) == (&packed.sizes, packed.fragment);
        if !is_in_place {
            return Ok(false);
        }
        if let Some((index, _)) = found.fragment {
            let (at, size) = reader.fragment_place(index)?;
            let is_packed = positions.fragments.get(index as usize) == Some(&(at, size));
            if !is_packed || !self.has(at, size) {
                return Ok(false);
            }
        }
        let mut at = found.start;
        Ok(found.sizes.iter().filter(|size| **size != 0).all(|size| {
            let is_known = self.has(at, *size);
            at += u64::from(size & !STORED);
            is_known
        }))
    }

    /// Returns whether there is a block with this position and size field.
    fn has(&self, position: u64, size: u32) -> bool {
        let found = self
            .blocks
            .binary_search_by_key(&position, |block| block.position);
        found.is_ok_and(|at| {
            let block = self.blocks[at];
            (block.packed, block.is_stored) == (size & !STORED, size & STORED != 0)
        })
    }
}
