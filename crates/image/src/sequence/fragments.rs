//! Responsible for the blocks that several files share, and for the records of all blocks.
//!
//! A shared block ends where the content says so, not only where it is full. After a file that is
//! new, gone, or hot, the blocks therefore soon hold the same files again as without it, and are
//! found among the known ones.

use super::{FullFragment, Sequencer};
use crate::Error;
use crate::blocks::BlockRecord;
use crate::digest::BlockDigest;
use crate::format::STORED;
use crate::pool::{CompressedBlocks, CompressedFragment, Job};

impl Sequencer<'_> {
    /// Appends bytes with this digest to the current shared block. Returns the index of the block
    /// and the offset in it.
    pub(super) fn append_to_fragment(&mut self, bytes: &[u8], digest: BlockDigest) -> (u32, u32) {
        let block_size = self.context.format.block_size.bytes() as usize;
        if self.fragment.len() + bytes.len() > block_size {
            self.submit_fragment();
        }
        let index = self.contents.fragments.len() + self.full_fragments.len();
        let place = (index as u32, self.fragment.len() as u32);
        self.fragment.extend_from_slice(bytes);
        if self.fragment.len() >= block_size / 2 && digest.is_end() {
            self.submit_fragment();
        }
        place
    }

    pub(super) fn submit_fragment(&mut self) {
        let bytes = std::mem::replace(&mut self.fragment, self.context.blocks.take());
        let result = self
            .queue
            .submit(|reply| Job::CompressFragment { bytes, reply });
        self.full_fragments.push_back(FullFragment {
            result,
            full_at: self.sequenced,
        });
    }

    /// Writes the shared blocks that became full when at most `until` bytes had been sequenced.
    pub(super) fn write_fragments(&mut self, until: Option<u64>) -> Result<(), Error> {
        while let Some(first) = self.full_fragments.front()
            && until.is_some_and(|until| first.full_at <= until)
            && let Some(fragment) = self.full_fragments.pop_front()
        {
            let CompressedFragment {
                block,
                size,
                record,
            } = self.queue.wait(&fragment.result)?;
            let position = self.output.position();
            self.contents.fragments.push((position, size));
            self.output.write(&block)?;
            if let Some(record) = record {
                self.record_at(record, position, size);
            }
        }
        Ok(())
    }

    /// Records the blocks of a large file, which are written next.
    pub(super) fn record(&mut self, blocks: &CompressedBlocks) {
        let mut position = self.output.position();
        let sizes = blocks.sizes.iter().filter(|size| **size != 0);
        for (record, size) in blocks.records.iter().zip(sizes) {
            self.record_at(*record, position, *size);
            position += u64::from(size & !STORED);
        }
    }

    /// Records the block with this size field at a position.
    fn record_at(&mut self, record: BlockRecord, position: u64, size: u32) {
        let block = record.at(position, size);
        self.contents.blocks.push(block);
        if let Some(listener) = self.listener {
            listener(block);
        }
    }
}
