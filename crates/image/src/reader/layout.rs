//! Responsible for where files' blocks lie, for those who take them as they are, and for reading a
//! file from any place on.

use std::sync::Arc;

use super::Reader;
use super::contents::STORED;
use super::metadata::Cursor;
use super::node::{Body, Node};
use super::superblock::Superblock;
use super::window::Window;
use crate::Error;

/// Set in the flags of an image that has an options block.
const HAS_OPTIONS: u16 = 0x0400;

/// Where the contents of a regular file lie.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) size: u64,
    /// Where its first block lies.
    pub(crate) start: u64,
    /// Its blocks' sizes as the inode has them; 0 for a hole.
    pub(crate) sizes: Box<[u32]>,
    /// The fragment that holds its end, and where in it.
    pub(crate) fragment: Option<(u32, u32)>,
    /// Bytes in holes, as its writer counted.
    pub(crate) hole_bytes: u64,
}

impl Layout {
    /// How many bytes its blocks take, all together.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.sizes
            .iter()
            .map(|size| u64::from(size & !STORED))
            .sum()
    }
}

/// What a codec's readers have to know.
#[derive(Debug)]
pub(crate) struct OptionsBlock {
    /// As it is in the image, with its header.
    pub(crate) raw: Vec<u8>,
    /// What it says.
    pub(crate) told: Vec<u8>,
}

/// The block that was read last, for the next read is likely to want it too.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Its number, and where the one after it begins.
    next: Option<(usize, u64)>,
    bytes: Vec<u8>,
    stored: Vec<u8>,
}

impl Recent {
    /// The next read is of another file.
    pub(crate) fn forget(&mut self) {
        self.next = None;
    }
}

impl Reader {
    /// The part of a file that this image is.
    pub(crate) fn window(&self) -> &Window {
        &self.blocks.window
    }

    /// Whether another reader reads the same.
    pub(crate) fn is(self: &Arc<Self>, other: &Arc<Reader>) -> bool {
        Arc::ptr_eq(self, other)
    }

    /// The options block.
    pub(crate) fn options_block(&self) -> Result<Option<OptionsBlock>, Error> {
        if self.superblock.flags & HAS_OPTIONS == 0 {
            return Ok(None);
        }
        let at = Superblock::LEN as u64;
        let block = self.blocks.metadata_block(at)?;
        let mut raw = vec![0; (block.next - at) as usize];
        self.blocks.window.read_exact(&mut raw, at)?;
        let told = block.bytes.clone();
        Ok(Some(OptionsBlock { raw, told }))
    }

    /// Where the contents of a regular file lie.
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
        // Grows with what is there, not with what is claimed.
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
        let most = self.superblock.block_size.bytes();
        let too_large = |size: &u32| size & !STORED > most;
        let end = start.checked_add(layout.stored_bytes());
        if layout.sizes.iter().any(too_large) || end.is_none_or(|end| end > self.window().len()) {
            return Err(self.corrupt(format!(
                "the blocks of inode {} lie outside of it",
                file.inode
            )));
        }
        Ok(layout)
    }

    /// Fills the buffer with a file's bytes from `at` on. Reading forwards costs each block once.
    pub(crate) fn read_at(
        &self,
        layout: &Layout,
        recent: &mut Recent,
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
                    let block = self.block_of(layout, recent, index, expected)?;
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
        recent: &'r mut Recent,
        index: usize,
        expected: usize,
    ) -> Result<&'r [u8], Error> {
        if recent.next.is_none_or(|(number, _)| number != index) {
            let (from, mut at) = match recent.next {
                Some((number, next)) if number < index => (number + 1, next),
                _ => (0, layout.start),
            };
            at += layout.sizes[from..index]
                .iter()
                .map(|size| u64::from(size & !STORED))
                .sum::<u64>();
            let size = layout.sizes[index];
            // Until it is there, nothing is.
            recent.next = None;
            self.load_block(at, size, expected, &mut recent.stored, &mut recent.bytes)?;
            if recent.bytes.len() != expected {
                return Err(self.corrupt(format!(
                    "a block has {} bytes instead of {expected}",
                    recent.bytes.len()
                )));
            }
            recent.next = Some((index, at + u64::from(size & !STORED)));
        }
        Ok(&recent.bytes)
    }

    /// How many bytes a fragment holds, decompressed.
    pub(crate) fn fragment_len(&self, index: u32) -> Result<usize, Error> {
        Ok(self.load_fragment(index)?.len())
    }
}
