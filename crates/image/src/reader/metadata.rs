//! Responsible for decompressing blocks, and for reading metadata blocks as one contiguous sequence
//! of bytes.

use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Cache;
use super::window::Window;
use crate::codec::decode::Decoder;
use crate::format::METADATA_STORED;
use crate::{Codec, Error};

/// Size of a metadata block before compression, in bytes, defined by the format.
pub(super) const METADATA_LEN: usize = 8192;
/// Size of the cache for decompressed metadata, in bytes. It holds the directories and inodes of
/// some 50,000 files, so that a walk through an image decompresses each block about once.
const METADATA_CACHE_BYTES: usize = 4 << 20;

/// Decompressor of the blocks in a window, for use by any thread.
pub(super) struct Blocks {
    pub(super) window: Window,
    codec: Codec,
    decoders: Mutex<Vec<Decoder>>,
    metadata: Cache<MetadataBlock>,
}

/// Metadata block after decompression.
#[derive(Debug)]
pub(super) struct MetadataBlock {
    pub(super) bytes: Vec<u8>,
    /// Position of the next block.
    pub(super) next: u64,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks")
            .field("window", &self.window)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl Blocks {
    pub(super) fn new(window: Window, codec: Codec) -> Blocks {
        Blocks {
            window,
            codec,
            decoders: Mutex::default(),
            metadata: Cache::new(METADATA_CACHE_BYTES),
        }
    }

    /// Decompresses `block`, which is at position `at`, into `output`: at most `len_max` bytes.
    pub(super) fn decompress(
        &self,
        block: &[u8],
        len_max: usize,
        at: u64,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut decoder = self
            .lock_decoders()
            .pop()
            .unwrap_or_else(|| Decoder::new(self.codec));
        output.resize(len_max, 0);
        let result = decoder.decode(block, output);
        self.lock_decoders().push(decoder);
        let len = result.map_err(|problem| {
            self.window.corrupt(format!(
                "its {} block at {at} does not decompress: {problem}",
                self.codec
            ))
        })?;
        output.truncate(len);
        Ok(())
    }

    fn lock_decoders(&self) -> std::sync::MutexGuard<'_, Vec<Decoder>> {
        self.decoders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the little-endian number at position `at`, outside of any block.
    pub(super) fn u64_at(&self, at: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.window.read_exact(&mut bytes, at)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn metadata_block(&self, at: u64) -> Result<Arc<MetadataBlock>, Error> {
        self.metadata.get(at, || {
            // The header and the most bytes that may follow it are read at once, because on a
            // network file system each read is a round trip.
            let mut bytes = [0; 2 + METADATA_LEN];
            let rest = self.window.len().saturating_sub(at);
            let bytes = &mut bytes[..rest.min(2 + METADATA_LEN as u64) as usize];
            if bytes.len() < 2 {
                return Err(self.window.corrupt(format!("there is no metadata at {at}")));
            }
            self.window.read_exact(bytes, at)?;
            let header = u16::from_le_bytes([bytes[0], bytes[1]]);
            let len = usize::from(header & !METADATA_STORED);
            let Some(block) = bytes.get(2..2 + len).filter(|_| len > 0) else {
                return Err(self
                    .window
                    .corrupt(format!("its metadata at {at} claims {len} bytes")));
            };
            let mut contents = Vec::new();
            if header & METADATA_STORED == 0 {
                self.decompress(block, METADATA_LEN, at, &mut contents)?;
            } else if len <= METADATA_LEN {
                contents.extend_from_slice(block);
            }
            if contents.is_empty() {
                return Err(self
                    .window
                    .corrupt(format!("its metadata at {at} is empty")));
            }
            let bytes = contents.len();
            let block = MetadataBlock {
                bytes: contents,
                next: at + 2 + len as u64,
            };
            Ok((block, bytes))
        })
    }
}

/// Position in a table of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Position {
    /// Position of the block, relative to the start of the image.
    pub(super) block: u64,
    /// Offset in the decompressed block, in bytes.
    pub(super) offset: u16,
}

/// Reader of metadata from a position forwards, across blocks, up to the end of the table.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'b> {
    blocks: &'b Blocks,
    at: Position,
    current: Option<Arc<MetadataBlock>>,
    table_end: u64,
}

impl<'b> Cursor<'b> {
    pub(super) fn new(blocks: &'b Blocks, at: Position, table_end: u64) -> Cursor<'b> {
        Cursor {
            blocks,
            at,
            current: None,
            table_end,
        }
    }

    pub(super) fn position(&self) -> Position {
        self.at
    }

    /// Fills `buffer` with the next bytes.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.load()?;
            let block = self.current.as_deref().expect("loaded above");
            let rest = block
                .bytes
                .get(usize::from(self.at.offset)..)
                .unwrap_or_default();
            if rest.is_empty() {
                let beyond = usize::from(self.at.offset) > block.bytes.len();
                if beyond {
                    return Err(self.blocks.window.corrupt(format!(
                        "its metadata at {} ends before byte {}",
                        self.at.block, self.at.offset
                    )));
                }
                self.at = Position {
                    block: block.next,
                    offset: 0,
                };
                self.current = None;
                continue;
            }
            let take = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + take].copy_from_slice(&rest[..take]);
            filled += take;
            self.at.offset += take as u16;
        }
        Ok(())
    }

    /// Skips the next `len` bytes.
    pub(super) fn skip(&mut self, mut len: u32) -> Result<(), Error> {
        let mut buffer = [0; 256];
        while len > 0 {
            let take = len.min(buffer.len() as u32);
            self.read(&mut buffer[..take as usize])?;
            len -= take;
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.bytes()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn load(&mut self) -> Result<(), Error> {
        if self.current.is_some() {
            return Ok(());
        }
        if self.at.block >= self.table_end {
            return Err(self.blocks.window.corrupt(format!(
                "its metadata is referred to at {}, behind the table's end",
                self.at.block
            )));
        }
        self.current = Some(self.blocks.metadata_block(self.at.block)?);
        Ok(())
    }
}
