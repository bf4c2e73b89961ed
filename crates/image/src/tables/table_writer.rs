//! Responsible for writing a table as a sequence of compressed blocks.

use crate::Error;
use crate::codec::encode::Encoder;
use crate::format::{METADATA_STORED, STORED};
use crate::output::Output;

/// Size of a table's block before compression, in bytes.
pub(super) const METADATA_BYTES: usize = 8192;

/// Table that is being built.
pub(super) struct TableWriter {
    encoder: Encoder,
    /// Block that is being filled.
    block: Vec<u8>,
    packed: Vec<u8>,
}

impl TableWriter {
    pub(super) fn new(encoder: Encoder) -> TableWriter {
        TableWriter {
            encoder,
            block: Vec::with_capacity(METADATA_BYTES),
            packed: Vec::new(),
        }
    }

    /// Returns the place of the next byte: position of its block in the table, and offset in the
    /// block.
    pub(super) fn position(&self) -> (u32, u16) {
        (self.packed.len() as u32, self.block.len() as u16)
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = METADATA_BYTES - self.block.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == METADATA_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.flush()?;
        Ok(self.packed)
    }

    /// Writes these bytes as a table with lookup by index: its blocks, then the position of each
    /// block. Returns the position of the list of positions, or all ones for an empty table.
    pub(super) fn write_lookup(self, bytes: &[u8], output: &mut Output) -> Result<u64, Error> {
        if bytes.is_empty() {
            return Ok(u64::MAX);
        }
        self.write_lookup_with_header(bytes, &[], output)
    }

    /// Writes a table like [`TableWriter::write_lookup`], with `header` before the list of
    /// positions.
    pub(super) fn write_lookup_with_header(
        mut self,
        bytes: &[u8],
        header: &[u8],
        output: &mut Output,
    ) -> Result<u64, Error> {
        let mut positions = Vec::new();
        for block in bytes.chunks(METADATA_BYTES) {
            let position = output.position() + self.packed.len() as u64;
            positions.extend(position.to_le_bytes());
            self.append(block)?;
            self.flush()?;
        }
        output.write(&self.packed)?;
        let at = output.position();
        output.write(header)?;
        output.write(&positions)?;
        Ok(at)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        let header = self.packed.len();
        self.packed.extend([0; 2]);
        let size = self.encoder.append(&self.block, &mut self.packed)?;
        let stored = if size & STORED == 0 {
            0
        } else {
            METADATA_STORED
        };
        let size = (size & !STORED) as u16 | stored;
        self.packed[header..header + 2].copy_from_slice(&size.to_le_bytes());
        self.block.clear();
        Ok(())
    }
}
