//! Responsible for reading the content of files, block by block.

use super::Reader;
use super::metadata::{Cursor, METADATA_LEN, Position};
use super::node::{Body, Node};
use crate::Error;
use crate::format::STORED;

/// Size of an entry of the fragment table, in bytes, defined by the format.
const FRAGMENT_ENTRY_LEN: u32 = 16;
/// Number of entries in a full block of the fragment table.
const FRAGMENTS_PER_BLOCK: u32 = METADATA_LEN as u32 / FRAGMENT_ENTRY_LEN;
/// Maximum number of fragment table blocks whose positions are kept in memory, enough for four
/// million fragments.
const FRAGMENT_TABLES_MAX: u32 = 8192;

/// Reader of a file's content from front to back. It holds only one block in memory.
#[derive(Debug)]
pub struct Contents<'r> {
    reader: &'r Reader,
    block_sizes: Cursor<'r>,
    blocks_left: u64,
    bytes_left: u64,
    next_block: u64,
    fragment: Option<(u32, u32)>,
    /// Buffer for the block as it is stored in the image, reused for all blocks.
    stored: Vec<u8>,
    current: Vec<u8>,
}

/// Next bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'c> {
    /// Hole of this number of zero bytes, for which the image stores nothing.
    Hole(usize),
    /// Bytes stored in the image.
    Bytes(&'c [u8]),
}

impl<'r> Contents<'r> {
    pub(super) fn new(reader: &'r Reader, node: &Node) -> Result<Contents<'r>, Error> {
        let Body::File {
            start,
            block_count,
            block_sizes,
            fragment,
        } = node.body
        else {
            return Err(reader.corrupt(format!("inode {} is not a regular file", node.inode)));
        };
        Ok(Contents {
            reader,
            block_sizes: Cursor::new(
                &reader.blocks,
                block_sizes,
                reader.superblock.directory_table,
            ),
            blocks_left: block_count,
            bytes_left: node.size,
            next_block: start,
            fragment,
            stored: Vec::new(),
            current: Vec::new(),
        })
    }

    /// Returns the next bytes of the file, at most one block, or `None` at its end.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>, Error> {
        match self.load()? {
            None => return Ok(None),
            Some(Loaded::Bytes) => {}
            Some(Loaded::Hole(len)) => {
                self.current.clear();
                self.current.resize(len, 0);
            }
        }
        Ok(Some(&self.current))
    }

    /// Returns the next bytes like [`Contents::next_block`], but distinguishes holes from stored
    /// bytes.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, Error> {
        Ok(self.load()?.map(|loaded| match loaded {
            Loaded::Hole(len) => Piece::Hole(len),
            Loaded::Bytes => Piece::Bytes(&self.current),
        }))
    }

    /// Skips the next `blocks` blocks of the file, fewer at its end, and returns a reader for them.
    pub(crate) fn split_front(&mut self, blocks: u64) -> Result<Contents<'r>, Error> {
        let mut front = Contents {
            reader: self.reader,
            block_sizes: self.block_sizes.clone(),
            blocks_left: self.blocks_left.min(blocks),
            bytes_left: self.bytes_left,
            next_block: self.next_block,
            fragment: None,
            stored: Vec::new(),
            current: Vec::new(),
        };
        for _ in 0..front.blocks_left {
            let Some((_, size, len)) = self.next_listed()? else {
                break;
            };
            self.skip_listed(size, len);
        }
        if front.blocks_left < blocks {
            front.fragment = self.fragment.take();
            self.bytes_left = 0;
        }
        front.bytes_left -= self.bytes_left;
        Ok(front)
    }

    /// Returns the position of the next block that the inode lists, its size field, and the number
    /// of bytes it decompresses to. Holes have the size 0.
    pub(crate) fn next_listed(&mut self) -> Result<Option<(u64, u32, usize)>, Error> {
        if self.blocks_left == 0 || self.bytes_left == 0 {
            return Ok(None);
        }
        let size = self.block_sizes.u32()?;
        self.blocks_left -= 1;
        Ok(Some((self.next_block, size, self.expected())))
    }

    /// Skips the block that [`Contents::next_listed`] returned, without reading it.
    pub(crate) fn skip_listed(&mut self, size: u32, len: usize) {
        self.next_block = self.next_block.saturating_add(u64::from(size & !STORED));
        self.bytes_left -= len as u64;
    }

    /// Returns the fragment with the last part of the file, the offset in the fragment, and the
    /// length of that part. To be called when all blocks are skipped.
    pub(crate) fn listed_fragment(&self) -> Option<(u32, u32, u64)> {
        let (index, offset) = self.fragment?;
        Some((index, offset, self.bytes_left))
    }

    /// Returns the number of bytes of the file that were neither read nor skipped.
    pub(crate) fn bytes_left(&self) -> u64 {
        self.bytes_left
    }

    /// Returns the number of bytes in the next block after decompression.
    fn expected(&self) -> usize {
        let block_size = u64::from(self.reader.superblock.block_size.bytes());
        self.bytes_left.min(block_size) as usize
    }

    fn load(&mut self) -> Result<Option<Loaded>, Error> {
        if self.bytes_left == 0 {
            return Ok(None);
        }
        let expected = self.expected();
        let mut loaded = Loaded::Bytes;
        if let Some((at, size, _)) = self.next_listed()? {
            let Contents {
                stored, current, ..
            } = self;
            if size & !STORED == 0 {
                loaded = Loaded::Hole(expected);
            } else {
                self.reader
                    .load_block(at, size, expected, stored, current)?;
                if self.current.len() != expected {
                    return Err(self.reader.corrupt(format!(
                        "a block has {} bytes instead of {expected}",
                        self.current.len()
                    )));
                }
            }
            self.next_block = self.next_block.saturating_add(u64::from(size & !STORED));
        } else {
            let (index, offset) = self
                .fragment
                .take()
                .ok_or_else(|| self.reader.corrupt("a file has fewer blocks than bytes"))?;
            let fragment = self.reader.load_fragment(index)?;
            let start = offset as usize;
            let tail = start
                .checked_add(expected)
                .and_then(|end| fragment.get(start..end))
                .ok_or_else(|| {
                    self.reader.corrupt(format!(
                        "fragment {index} ends before the file that it holds"
                    ))
                })?;
            self.current.clear();
            self.current.extend_from_slice(tail);
        }
        self.bytes_left -= expected as u64;
        Ok(Some(loaded))
    }
}

/// Kind of the next bytes of a file.
enum Loaded {
    Hole(usize),
    /// Bytes, which are in `current`.
    Bytes,
}

impl Reader {
    /// Reads and decompresses the block at position `at` into `output`. `size` is the size field as
    /// in an inode.
    pub(crate) fn load_block(
        &self,
        at: u64,
        size: u32,
        len_max: usize,
        stored: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let len = size & !STORED;
        if len > self.superblock.block_size.bytes() {
            return Err(self.corrupt(format!("a block at {at} claims {len} bytes")));
        }
        if len == 0 {
            output.clear();
            output.resize(len_max, 0);
            return Ok(());
        }
        let is_stored = size & STORED != 0;
        let target = if is_stored {
            &mut *output
        } else {
            &mut *stored
        };
        target.resize(len as usize, 0);
        self.blocks.window.read_exact(target, at)?;
        if is_stored {
            return Ok(());
        }
        self.blocks.decompress(stored, len_max, at, output)
    }

    pub(super) fn load_fragment(&self, index: u32) -> Result<std::sync::Arc<Vec<u8>>, Error> {
        let (at, size) = self.fragment_place(index)?;
        let len_max = self.superblock.block_size.bytes() as usize;
        self.fragments.get(at, || {
            let mut block = Vec::new();
            self.load_block(at, size, len_max, &mut Vec::new(), &mut block)?;
            let bytes = block.len();
            Ok((block, bytes))
        })
    }

    /// Returns the position of a fragment and its size field, which has the form of a block's size
    /// field in an inode.
    pub(crate) fn fragment_place(&self, index: u32) -> Result<(u64, u32), Error> {
        let table = self
            .superblock
            .fragment_table
            .filter(|_| index < self.superblock.fragment_count)
            .ok_or_else(|| self.corrupt(format!("there is no fragment {index}")))?;
        let number = (index / FRAGMENTS_PER_BLOCK) as usize;
        let block = match self.fragment_tables(table)?.get(number) {
            Some(block) => *block,
            None => self
                .blocks
                .u64_at(table.saturating_add(8 * number as u64))?,
        };
        let position = Position {
            block,
            offset: (index % FRAGMENTS_PER_BLOCK * FRAGMENT_ENTRY_LEN) as u16,
        };
        let mut cursor = Cursor::new(&self.blocks, position, self.blocks.window.len());
        let at = cursor.u64()?;
        let size = cursor.u32()?;
        if size & !STORED == 0 {
            return Err(self.corrupt(format!("fragment {index} is empty")));
        }
        Ok((at, size))
    }

    /// Returns the positions of the blocks of the fragment table, up to a limit, because there may
    /// be too many to keep in memory.
    fn fragment_tables(&self, table: u64) -> Result<&[u64], Error> {
        if let Some(known) = self.fragment_tables.get() {
            return Ok(known);
        }
        let count = self.superblock.fragment_count.div_ceil(FRAGMENTS_PER_BLOCK);
        let mut bytes = vec![0; 8 * count.min(FRAGMENT_TABLES_MAX) as usize];
        self.blocks.window.read_exact(&mut bytes, table)?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let tables = numbers.iter().map(|number| u64::from_le_bytes(*number));
        Ok(self.fragment_tables.get_or_init(|| tables.collect()))
    }
}
