//! Responsible for writing the tables of extended attributes.

use std::collections::HashMap;

use super::table_writer::TableWriter;
use crate::output::Output;
use crate::tree::EntryId;
use crate::xattr::Xattr;
use crate::{Error, Tree};

/// Tables that are being built. Each set of attributes is stored once.
#[derive(Default)]
pub(super) struct Xattrs<'a> {
    known: HashMap<&'a [Xattr], u32>,
    sets: Vec<&'a [Xattr]>,
}

impl<'a> Xattrs<'a> {
    /// Returns the index of a set of attributes, and adds the set if it is new.
    pub(super) fn index(&mut self, set: &'a [Xattr]) -> u32 {
        *self.known.entry(set).or_insert_with(|| {
            self.sets.push(set);
            self.sets.len() as u32 - 1
        })
    }

    /// Writes all sets and the lookup table of their positions. Returns the position of the lookup
    /// table, or all ones if there are no sets.
    pub(super) fn write(
        self,
        mut table: TableWriter,
        lookup: TableWriter,
        output: &mut Output,
    ) -> Result<u64, Error> {
        if self.sets.is_empty() {
            return Ok(u64::MAX);
        }
        let mut list = Vec::new();
        for set in &self.sets {
            let (block, offset) = table.position();
            let mut bytes = Vec::new();
            for xattr in *set {
                render(xattr, &mut bytes);
            }
            list.extend((u64::from(block) << 16 | u64::from(offset)).to_le_bytes());
            list.extend((set.len() as u32).to_le_bytes());
            list.extend((bytes.len() as u32).to_le_bytes());
            table.append(&bytes)?;
        }
        let start = output.position();
        output.write(&table.finish()?)?;
        let mut head = start.to_le_bytes().to_vec();
        head.extend((self.sets.len() as u32).to_le_bytes());
        head.extend(0_u32.to_le_bytes());
        lookup.write_lookup_with_header(&list, &head, output)
    }
}

fn render(xattr: &Xattr, bytes: &mut Vec<u8>) {
    let (prefix, name) = xattr.split_name().expect("checked when it was given");
    bytes.extend((prefix as u16).to_le_bytes());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend((xattr.value.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&xattr.value);
}

/// Returns the extended attributes of an entry, or `None` if it has none.
pub(super) fn of_entry(tree: &Tree, id: EntryId) -> Option<&[Xattr]> {
    Some(tree.xattrs_of(id)).filter(|xattrs| !xattrs.is_empty())
}
