//! Responsible for the positions of files' blocks, for callers that copy blocks without
//! decompressing them, and for reading a file from any position.

use std::sync::Arc;

use super::Reader;
use super::metadata::Cursor;
use super::node::{Body, Node};
use super::superblock::Superblock;
use super::window::Window;
use crate::Error;
use crate::format::STORED;

/// Flag of a superblock whose image has an options block.
const HAS_OPTIONS: u16 = 0x0400;

/// Positions of the content of a regular file.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    /// Position of the first block.
    pub(crate) start: u64,
    /// Size fields of the blocks as in the inode. The size is 0 for a hole.
    pub(crate) sizes: Box<[u32]>,
    /// Fragment with the last part of the file, and the offset in the fragment.
    pub(crate) fragment: Option<(u32, u32)>,
    /// Number of bytes in holes, as recorded by the writer of the image.
    pub(crate) hole_bytes: u64,
}

impl Layout {
    /// Returns the size of all blocks in the image, in bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.sizes
            .iter()
            .map(|size| u64::from(size & !STORED))
            .sum()
    }
}

/// Options block, which holds the settings of the codec for readers.
#[derive(Debug)]
pub(crate) struct OptionsBlock {
    /// Bytes of the block in the image, including the header.
    pub(crate) raw: Vec<u8>,
    /// Content of the block after decompression.
    pub(crate) content: Vec<u8>,
}

/// Most recently read block of a file. It is kept because the next read is likely to need the same
/// block.
#[derive(Debug, Default)]
pub(crate) struct LastBlock {
    /// Index of the block in the file, and position of the block after it.
    next: Option<(usize, u64)>,
    bytes: Vec<u8>,
    stored: Vec<u8>,
}

impl LastBlock {
    /// Forgets the block, because the next read is of another file.
    pub(crate) fn forget(&mut self) {
        self.next = None;
    }
}

impl Reader {
    /// Returns the part of a file that holds this image.
    pub(crate) fn window(&self) -> &Window {
        &self.blocks.window
    }

    /// Returns whether both values are the same open image.
    pub(crate) fn is(self: &Arc<Self>, other: &Arc<Reader>) -> bool {
        Arc::ptr_eq(self, other)
    }

    /// Returns the options block, if the image has one.
    pub(crate) fn options_block(&self) -> Result<Option<OptionsBlock>, Error> {
        if self.superblock.flags & HAS_OPTIONS == 0 {
            return Ok(None);
        }
        let at = Superblock::LEN as u64;
        let block = self.blocks.metadata_block(at)?;
        let mut raw = vec![0; (block.next - at) as usize];
        self.blocks.window.read_exact(&mut raw, at)?;
        let content = block.bytes.clone();
        Ok(Some(OptionsBlock { raw, content }))
    }

    /// Returns the positions of the content of a regular file.
    pub(crate) fn layout(&self, file: &Node) -> Result<Layout, Error> {
        let Body::File {
            start,
            block_count,
            block_sizes,
            fragment,
        } = file.body
        else {
            return Err(self.corrupt(format!("inode {} is not a regular file", file.inode)));
        };
        let mut cursor = Cursor::new(&self.blocks, block_sizes, self.superblock.directory_table);
        // The list grows with the data that is read, not to the claimed length.
        let mut sizes = Vec::new();
        let mut bytes = [0; 256];
        let mut left = block_count as usize;
        while left > 0 {
            let bytes = &mut bytes[..(left * 4).min(256)];
            cursor.read(bytes)?;
            let (numbers, _) = bytes.as_chunks::<4>();
            sizes.extend(numbers.iter().map(|size| u32::from_le_bytes(*size)));
            left -= bytes.len() / 4;
        }
        let layout = Layout {
            size: file.size,
            start,
            sizes: sizes.into(),
            fragment,
            hole_bytes: file.hole_bytes,
        };
        let max = self.superblock.block_size.bytes();
        let too_large = |size: &u32| size & !STORED > max;
        let end = start.checked_add(layout.stored_bytes());
        if layout.sizes.iter().any(too_large) || end.is_none_or(|end| end > self.window().len()) {
            return Err(self.corrupt(format!(
                "the blocks of inode {} lie outside of it",
                file.inode
            )));
        }
        Ok(layout)
    }

    /// Fills the buffer with bytes of a file from position `at` on. A sequence of reads from front
    /// to back decompresses each block once.
    pub(crate) fn read_at(
        &self,
        layout: &Layout,
        last_block: &mut LastBlock,
        mut buffer: &mut [u8],
        mut at: u64,
    ) -> Result<(), Error> {
        let block_size = u64::from(self.superblock.block_size.bytes());
        while !buffer.is_empty() {
            if at >= layout.size {
                return Err(self.corrupt("a file has fewer bytes than were asked for"));
            }
            let index = (at / block_size) as usize;
            let within = (at % block_size) as usize;
            let expected = (layout.size - index as u64 * block_size).min(block_size) as usize;
            let take = buffer.len().min(expected - within);
            let (now, later) = buffer.split_at_mut(take);
            if let Some(size) = layout.sizes.get(index) {
                if size & !STORED == 0 {
                    now.fill(0);
                } else {
                    let block = self.block_of(layout, last_block, index, expected)?;
                    now.copy_from_slice(&block[within..within + take]);
                }
            } else {
                let (number, offset) = layout
                    .fragment
                    .ok_or_else(|| self.corrupt("a file has fewer blocks than bytes"))?;
                let fragment = self.load_fragment(number)?;
                let from = offset as usize + within;
                let part = fragment.get(from..from + take).ok_or_else(|| {
                    self.corrupt(format!(
                        "fragment {number} ends before the file that it holds"
                    ))
                })?;
                now.copy_from_slice(part);
            }
            buffer = later;
            at += take as u64;
        }
        Ok(())
    }

    fn block_of<'r>(
        &self,
        layout: &Layout,
        last_block: &'r mut LastBlock,
        index: usize,
        expected: usize,
    ) -> Result<&'r [u8], Error> {
        if last_block.next.is_none_or(|(number, _)| number != index) {
            let (from, mut at) = match last_block.next {
                Some((number, next)) if number < index => (number + 1, next),
                _ => (0, layout.start),
            };
            at += layout.sizes[from..index]
                .iter()
                .map(|size| u64::from(size & !STORED))
                .sum::<u64>();
            let size = layout.sizes[index];
            // The buffer is marked as empty until the block is loaded.
            last_block.next = None;
            self.load_block(
                at,
                size,
                expected,
                &mut last_block.stored,
                &mut last_block.bytes,
            )?;
            if last_block.bytes.len() != expected {
                return Err(self.corrupt(format!(
                    "a block has {} bytes instead of {expected}",
                    last_block.bytes.len()
                )));
            }
            last_block.next = Some((index, at + u64::from(size & !STORED)));
        }
        Ok(&last_block.bytes)
    }

    /// Returns the length of a fragment after decompression, in bytes.
    pub(crate) fn fragment_len(&self, index: u32) -> Result<usize, Error> {
        Ok(self.load_fragment(index)?.len())
    }
}
