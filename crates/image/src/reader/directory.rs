//! Responsible for reading the entries of directories, in order.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Reader;
use super::metadata::Cursor;
use super::node::{Body, Node, NodeKind};
use crate::Error;

/// Maximum number of entries that share a header, defined by the format.
const RUN_LEN_MAX: u32 = 256;

/// Entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Name without a path. It is neither empty nor `.` or `..`, and has no slash.
    pub name: OsString,
    /// Kind of the node that the entry refers to.
    pub kind: NodeKind,
    /// Reference of the inode: its position in the inode table.
    pub(super) reference: u64,
}

/// Iterator over the entries of a directory. The names ascend in byte order.
#[derive(Debug)]
pub struct Entries<'r> {
    reader: &'r Reader,
    cursor: Cursor<'r>,
    left: u32,
    run_left: u32,
    run_start: u32,
    last_name: Vec<u8>,
}

impl<'r> Entries<'r> {
    /// Creates the iterator, which is empty if `node` is not a directory.
    pub(super) fn new(reader: &'r Reader, node: &Node) -> Entries<'r> {
        let (listing, left) = match node.body {
            Body::Directory {
                listing,
                listing_len,
            } => (listing, listing_len),
            _ => (reader.root_position(), 0),
        };
        Entries {
            reader,
            cursor: Cursor::new(
                &reader.blocks,
                listing,
                reader.superblock.directory_table_end,
            ),
            left,
            run_left: 0,
            run_start: 0,
            last_name: Vec::new(),
        }
    }

    /// Returns the number of bytes of the listing that were not read yet.
    pub(super) fn bytes_left(&self) -> u32 {
        self.left
    }

    /// Returns the position of the metadata block that was read last.
    pub(super) fn block(&self) -> u64 {
        self.cursor.position().block
    }

    fn take(&mut self, bytes: u32) -> Result<(), Error> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| self.reader.corrupt("a directory ends within an entry"))?;
        Ok(())
    }

    fn load_entry(&mut self) -> Result<Entry, Error> {
        if self.run_left == 0 {
            self.take(12)?;
            let count = self.cursor.u32()?.saturating_add(1);
            if count > RUN_LEN_MAX {
                return Err(self
                    .reader
                    .corrupt(format!("a directory claims {count} entries in one run")));
            }
            self.run_left = count;
            self.run_start = self.cursor.u32()?;
            let _inode_base = self.cursor.u32()?;
        }
        self.take(8)?;
        let offset = self.cursor.u16()?;
        let _inode_delta = self.cursor.u16()?;
        let kind = self.cursor.u16()?;
        let len = u32::from(self.cursor.u16()?) + 1;
        if len > 256 {
            return Err(self.reader.corrupt(format!("a name claims {len} bytes")));
        }
        self.take(len)?;
        let mut name = vec![0; len as usize];
        self.cursor.read(&mut name)?;
        self.run_left -= 1;

        let shown = || OsStr::from_bytes(&name).display().to_string();
        if matches!(&name[..], b"." | b"..") || name.iter().any(|&b| b == b'/' || b == 0) {
            return Err(self
                .reader
                .corrupt(format!("`{}` is not a name", shown().escape_debug())));
        }
        if self.last_name >= name {
            return Err(self.reader.corrupt(format!(
                "`{}` is out of order in its directory",
                shown().escape_debug()
            )));
        }
        let kind = NodeKind::from_id(kind).ok_or_else(|| {
            self.reader
                .corrupt(format!("`{}` has the unknown type {kind}", shown()))
        })?;
        self.last_name.clone_from(&name);
        Ok(Entry {
            name: OsString::from_vec(name),
            kind,
            reference: u64::from(self.run_start) << 16 | u64::from(offset),
        })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let entry = self.load_entry();
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}
