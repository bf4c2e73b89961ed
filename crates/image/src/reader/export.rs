//! Responsible for the export table, which gives the position of the inode with a given number.

use super::Reader;
use super::metadata::{Cursor, METADATA_LEN, Position};
use crate::Error;

/// Iterator over the references of all inodes, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct ExportTable<'r> {
    reader: &'r Reader,
    /// Position of the list of the table's blocks.
    block_list: u64,
    cursor: Option<Cursor<'r>>,
    left: usize,
}

impl Reader {
    /// Returns the export table, positioned at its beginning, if the image has one.
    pub(crate) fn export_table(&self) -> Option<ExportTable<'_>> {
        let block_list = self.superblock.export_table?;
        Some(ExportTable {
            reader: self,
            block_list,
            cursor: None,
            left: 0,
        })
    }
}

impl ExportTable<'_> {
    pub(crate) fn next_reference(&mut self) -> Result<u64, Error> {
        if self.left == 0 {
            let block = self.reader.blocks.u64_at(self.block_list)?;
            let position = Position { block, offset: 0 };
            let end = self.reader.blocks.window.len();
            self.cursor = Some(Cursor::new(&self.reader.blocks, position, end));
            self.block_list += 8;
            self.left = METADATA_LEN / 8;
        }
        self.left -= 1;
        let cursor = self.cursor.as_mut().expect("set where there are none left");
        cursor.u64()
    }
}
