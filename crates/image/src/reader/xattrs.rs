//! Responsible for reading the extended attributes of a node.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::Reader;
use super::metadata::{Cursor, METADATA_LEN, Position};
use super::node::Node;
use crate::Error;
use crate::xattr::{NAME_MAX, PREFIXES, VALUE_MAX, Xattr};

/// Size of an entry in the lookup table of attribute sets, in bytes, defined by the format.
const ENTRY_LEN: u64 = 16;
/// Flag in the type of an attribute whose value is stored at another position, which several
/// attributes share.
const ELSEWHERE: u16 = 0x0100;
/// Maximum size of all attributes of one node, in bytes. File systems give a node a few pages.
const ALL_MAX: usize = 1 << 20;

impl Reader {
    /// Returns the extended attributes of a node, in the order of the image.
    pub fn xattrs(&self, node: &Node) -> Result<Vec<Xattr>, Error> {
        if !node.has_xattrs {
            return Ok(Vec::new());
        }
        let Some(table) = self.superblock.xattr_table else {
            return Err(self.corrupt("it has no table of extended attributes"));
        };
        // The table begins with the position of names and values and with the number of attribute
        // sets. The positions of the lookup table's blocks follow.
        let start = self.blocks.u64_at(table)?;
        let mut count = [0; 4];
        self.blocks.window.read_exact(&mut count, table + 8)?;
        if node.xattrs >= u32::from_le_bytes(count) {
            return Err(self.corrupt(format!("there are no extended attributes {}", node.xattrs)));
        }
        let per_block = METADATA_LEN as u64 / ENTRY_LEN;
        let index = u64::from(node.xattrs);
        let place = Position {
            block: self.blocks.u64_at(table + 16 + index / per_block * 8)?,
            offset: (index % per_block * ENTRY_LEN) as u16,
        };
        let mut place = Cursor::new(&self.blocks, place, table);
        let reference = place.u64()?;
        let count = place.u32()?;
        let mut cursor = self.xattr_cursor(start, reference);
        let mut xattrs = Vec::new();
        let mut bytes = 0;
        for _ in 0..count {
            let xattr = self.load_xattr(&mut cursor, start)?;
            bytes += xattr.name.len() + xattr.value.len();
            if bytes > ALL_MAX {
                return Err(self.corrupt(format!(
                    "inode {} has more than {ALL_MAX} bytes of extended attributes",
                    node.inode
                )));
            }
            xattrs.push(xattr);
        }
        Ok(xattrs)
    }

    fn xattr_cursor(&self, start: u64, reference: u64) -> Cursor<'_> {
        let position = Position {
            block: start.saturating_add(reference >> 16),
            offset: (reference & 0xffff) as u16,
        };
        let end = self.superblock.xattr_table.unwrap_or(start);
        Cursor::new(&self.blocks, position, end)
    }

    fn load_xattr(&self, cursor: &mut Cursor<'_>, start: u64) -> Result<Xattr, Error> {
        let kind = cursor.u16()?;
        let number = kind & !ELSEWHERE;
        let Some(prefix) = PREFIXES.get(usize::from(number)) else {
            return Err(self.corrupt(format!(
                "an extended attribute has the unknown type {number}"
            )));
        };
        let len = usize::from(cursor.u16()?);
        if len == 0 || len > NAME_MAX {
            return Err(self.corrupt(format!("an extended attribute's name claims {len} bytes")));
        }
        let mut name = vec![0; len];
        cursor.read(&mut name)?;
        if name.contains(&0) {
            return Err(self.corrupt("an extended attribute's name has a zero byte"));
        }
        let value = if kind & ELSEWHERE == 0 {
            self.load_value(cursor)?
        } else {
            let _len_of_reference = cursor.u32()?;
            let reference = cursor.u64()?;
            self.load_value(&mut self.xattr_cursor(start, reference))?
        };
        let mut full_name = prefix.to_vec();
        full_name.extend_from_slice(&name);
        Ok(Xattr {
            name: OsString::from_vec(full_name),
            value,
        })
    }

    fn load_value(&self, cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Error> {
        let len = cursor.u32()? as usize;
        if len > VALUE_MAX {
            return Err(self.corrupt(format!("an extended attribute's value claims {len} bytes")));
        }
        let mut value = vec![0; len];
        cursor.read(&mut value)?;
        Ok(value)
    }
}
