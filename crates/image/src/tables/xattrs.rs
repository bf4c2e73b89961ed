//! Responsible for writing the tables of extended attributes.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

use super::metadata::Metadata;
use crate::reader::Xattr;
use crate::{Error, Tree};

/// Prefixes that the format supports, in the order of their numbers.
const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
/// Maximum length of a name without its prefix, and of a value, in bytes, defined by the kernel.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 64 << 10;

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
        mut table: Metadata,
        places: Metadata,
        output: &mut crate::output::Output,
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
        places.write_lookup_behind(&list, &head, output)
    }
}

fn render(xattr: &Xattr, bytes: &mut Vec<u8>) {
    let (prefix, name) = split(xattr).expect("checked when it was given");
    bytes.extend((prefix as u16).to_le_bytes());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend((xattr.value.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&xattr.value);
}

/// Returns the number of an attribute's prefix, and the name without the prefix.
fn split(xattr: &Xattr) -> Option<(usize, &[u8])> {
    let name = xattr.name.as_bytes();
    PREFIXES
        .iter()
        .enumerate()
        .find_map(|(number, prefix)| Some((number, name.strip_prefix(*prefix)?)))
}

/// Checks that the format can hold these attributes of one entry, which are sorted. The error is
/// the reason why it cannot.
pub(crate) fn check_xattrs(xattrs: &[Xattr]) -> Result<(), String> {
    for (at, xattr) in xattrs.iter().enumerate() {
        let shown = xattr.name.display();
        let Some((_, name)) = split(xattr) else {
            return Err(format!(
                "the extended attribute `{shown}` is not of `user.`, `trusted.` or `security.`"
            ));
        };
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
            return Err(format!(
                "`{shown}` is not the name of an extended attribute"
            ));
        }
        if xattr.value.len() > VALUE_MAX {
            return Err(format!(
                "the extended attribute `{shown}` has more than {VALUE_MAX} bytes"
            ));
        }
        if at > 0 && xattrs[at - 1].name == xattr.name {
            return Err(format!("the extended attribute `{shown}` is given twice"));
        }
    }
    Ok(())
}

/// Returns the extended attributes of an entry, or `None` if it has none.
pub(super) fn of(tree: &Tree, id: crate::tree::EntryId) -> Option<&[Xattr]> {
    Some(tree.xattrs_of(id)).filter(|xattrs| !xattrs.is_empty())
}
