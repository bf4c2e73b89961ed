//! Responsible for changing a SIF file in place. If any call fails, the table in the file still
//! describes the objects in the file.

use std::fs::File;
use std::io;

use super::calls;
use super::write_table;
use crate::sif::table::Table;

/// Open file with its length and table before the change. If the value is dropped while the table
/// on disk is still the old one, the file is cut to its old length.
#[derive(Debug)]
pub(super) struct OldFile {
    file: File,
    len: u64,
    table: Table,
    /// Whether the table on disk is known to be the old one, so that no object in it is behind the
    /// old end of the file.
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

    /// Writes a table that lists new objects, whose bytes are already in the file. If the machine
    /// stops during the call, the file has either the old table or the new one, and both describe
    /// the file correctly.
    ///
    /// # Errors
    /// Returns any error of the operating system. The old table is then written back, as far as the
    /// system allows it.
    pub(super) fn change_table(&mut self, table: &Table) -> io::Result<()> {
        calls::sync(&self.file)?;
        self.is_old = false;
        let changed = write_table(&self.file, table).and_then(|()| calls::sync(&self.file));
        let Err(error) = changed else {
            return Ok(());
        };
        // The bytes of the new objects may be cut off only if no table on disk lists them.
        self.is_old = write_table(&self.file, &self.table)
            .and_then(|()| calls::sync(&self.file))
            .is_ok();
        Err(error)
    }
}

impl Drop for OldFile {
    fn drop(&mut self) {
        if self.is_old {
            // The caller gets the error that led to this drop, so an error of this call is ignored.
            // The bytes behind the last object belong to no object, but they take space.
            let _ = self.file.set_len(self.len);
        }
    }
}
