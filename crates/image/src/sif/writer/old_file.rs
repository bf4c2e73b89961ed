//! Responsible for a SIF that is changed where it lies: whatever fails, its table tells of what is there.

use std::fs::File;
use std::io;

use super::calls;
use super::write_table;
use crate::sif::table::Table;

/// A file with the table that it had. Dropped before that is changed, it shrinks to what it was.
#[derive(Debug)]
pub(super) struct OldFile {
    file: File,
    len: u64,
    table: Table,
    /// Which objects there are on disk is known, and none of them lies behind the old end.
    is_old: bool,
}

impl OldFile {
    pub(super) fn new(file: File, table: &Table) -> io::Result<OldFile> {
        Ok(OldFile {
            len: file.metadata()?.len(),
            file,
            table: table.clone(),
            is_old: true,
        })
    }

    pub(super) fn as_file(&self) -> &File {
        &self.file
    }

    pub(super) fn inner(&mut self) -> &mut File {
        &mut self.file
    }

    /// Lets the file tell of new objects, whose bytes are in it. Should the machine stop meanwhile, the old table still tells
    /// the truth, or the new one does.
    ///
    /// # Errors
    /// Those of the system. The old table is there again then, as far as the system lets it be written.
    pub(super) fn change_table(&mut self, table: &Table) -> io::Result<()> {
        calls::sync(&self.file)?;
        self.is_old = false;
        let changed = write_table(&self.file, table).and_then(|()| calls::sync(&self.file));
        let Err(error) = changed else {
            return Ok(());
        };
        // The new objects stay where they are unless nothing tells of them, on disk either.
        self.is_old = write_table(&self.file, &self.table)
            .and_then(|()| calls::sync(&self.file))
            .is_ok();
        Err(error)
    }
}

impl Drop for OldFile {
    fn drop(&mut self) {
        if self.is_old {
            // The error that led here is told. Bytes behind the last object are seen by nobody, but they take room.
            let _ = self.file.set_len(self.len);
        }
    }
}
