//! Responsible for reading the record of the hot zone, and for finding the files that lie in it.

use super::Reader;
use super::node::Node;
use super::superblock::Superblock;
use crate::Error;
use crate::format::STORED;
use crate::zone::{HotZone, RECORD_BYTES};

impl Reader {
    /// Returns the hot zone of the image, if it has one. A record that leads out of the contents
    /// counts as none.
    ///
    /// # Errors
    /// Returns an error if the image is damaged or cannot be read.
    pub fn hot_zone(&self) -> Result<Option<HotZone>, Error> {
        let options = self.options_block()?;
        let options_bytes = options.map_or(0, |options| options.raw.len());
        let at = (Superblock::LEN + options_bytes) as u64;
        let contents_at = at + RECORD_BYTES as u64;
        let tables = self.superblock.inode_table;
        if contents_at > tables {
            return Ok(None);
        }
        let mut record = [0; RECORD_BYTES];
        self.window().read_exact(&mut record, at)?;
        let zone = HotZone::parse(&record);
        Ok(zone.filter(|zone| contents_at <= zone.start && zone.end() <= tables))
    }

    /// Returns whether the content of a regular file lies in the zone as a whole. Files without
    /// content do not.
    ///
    /// # Errors
    /// Returns an error if the image is damaged.
    pub fn is_in_zone(&self, file: &Node, zone: HotZone) -> Result<bool, Error> {
        let runs = self.runs(file)?;
        let is_in = |(from, end): &(u64, u64)| zone.contains(*from, *end);
        Ok(!runs.is_empty() && runs.iter().all(is_in))
    }

    /// Returns the parts of the image that hold the content of a regular file, each with its start
    /// and its end: its own blocks, and the block that it shares.
    ///
    /// # Errors
    /// Returns an error if the node is no regular file, or if the image is damaged.
    pub fn runs(&self, file: &Node) -> Result<Vec<(u64, u64)>, Error> {
        let layout = self.layout(file)?;
        let stored = layout.stored_bytes();
        let mut runs = Vec::new();
        if stored > 0 {
            runs.push((layout.start, layout.start + stored));
        }
        if let Some((index, _)) = layout.fragment {
            let (at, size) = self.fragment_place(index)?;
            runs.push((at, at.saturating_add(u64::from(size & !STORED))));
        }
        Ok(runs)
    }

    /// Returns the position of the tables, which are behind all contents.
    pub fn tables_start(&self) -> u64 {
        self.superblock.inode_table
    }
}
