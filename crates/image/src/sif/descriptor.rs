//! Responsible for the entries of a SIF's table.

use super::arch::Arch;
use super::data_kind::DataKind;
use super::object::NewObject;
use super::partition::{FileSystem, Partition, PartitionRole};

const NAME_AT: usize = 73;
const EXTRA_AT: usize = 201;

/// What an object is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// Nothing else.
    None,
    /// The object with this number.
    Object(u32),
    /// All objects of this group.
    Group(u32),
}

impl Link {
    /// Tells groups from objects.
    pub(super) const GROUP_MARK: u32 = 0xf000_0000;

    fn from_raw(raw: u32) -> Link {
        match raw {
            0 => Link::None,
            raw if raw & Self::GROUP_MARK == Self::GROUP_MARK => {
                Link::Group(raw & !Self::GROUP_MARK)
            }
            id => Link::Object(id),
        }
    }

    fn raw(self) -> u32 {
        match self {
            Link::None => 0,
            Link::Object(id) => id,
            Link::Group(group) => Self::GROUP_MARK | group,
        }
    }
}

/// An object's entry in the table of a SIF.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// What the object is.
    pub kind: DataKind,
    /// Its number, from 1.
    pub id: u32,
    /// The group it belongs to; objects of a group are signed together.
    pub group: Option<u32>,
    /// What it is about.
    pub link: Link,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// When it was last changed, in seconds since 1970.
    pub modified: i64,
    /// Its name, often none.
    pub name: String,
    /// The entry as it is in the file: what is not understood is kept, and signatures cover bytes.
    raw: Box<[u8; Descriptor::LEN]>,
}

impl Descriptor {
    /// An entry's size in bytes.
    pub(super) const LEN: usize = 585;

    /// The entry in a slot of the table, if one is there.
    pub(super) fn parse(slot: &[u8; Self::LEN]) -> Result<Option<Descriptor>, String> {
        let i64_at = |at: usize| {
            let bytes = slot[at..at + 8].try_into().expect("eight bytes");
            i64::from_le_bytes(bytes)
        };
        if slot[4] == 0 {
            return Ok(None);
        }
        let id = u32::from_le_bytes(four(slot, 5));
        let size =
            |at: usize| u64::try_from(i64_at(at)).map_err(|_| format!("object {id} lies nowhere"));
        let (offset, size) = (size(17)?, size(25)?);
        if offset.checked_add(size).is_none() {
            return Err(format!("object {id} lies nowhere"));
        }
        let name = &slot[NAME_AT..EXTRA_AT];
        let name_len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        let group = u32::from_le_bytes(four(slot, 9)) & !Link::GROUP_MARK;
        Ok(Some(Descriptor {
            kind: DataKind::from_id(i32::from_le_bytes(four(slot, 0))),
            id,
            group: (group != 0).then_some(group),
            link: Link::from_raw(u32::from_le_bytes(four(slot, 13))),
            offset,
            size,
            created: i64_at(41),
            modified: i64_at(49),
            name: String::from_utf8_lossy(&name[..name_len]).into_owned(),
            raw: Box::new(*slot),
        }))
    }

    /// The entry of a new object of `size` bytes at `offset`, `gap` bytes behind the one before.
    pub(super) fn of(
        object: &NewObject,
        id: u32,
        (gap, offset, size): (u64, u64, u64),
        time: i64,
    ) -> Descriptor {
        let mut raw = [0; Self::LEN];
        raw[..4].copy_from_slice(&object.kind.id().to_le_bytes());
        raw[4] = 1;
        raw[5..9].copy_from_slice(&id.to_le_bytes());
        let group = Link::GROUP_MARK | object.group.unwrap_or(0);
        raw[9..13].copy_from_slice(&group.to_le_bytes());
        raw[13..17].copy_from_slice(&object.link.raw().to_le_bytes());
        for (at, number) in [(17, offset), (25, size), (33, gap + size)] {
            raw[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        for at in [41, 49] {
            raw[at..at + 8].copy_from_slice(&time.to_le_bytes());
        }
        raw[NAME_AT..NAME_AT + object.name.len()].copy_from_slice(object.name.as_bytes());
        raw[EXTRA_AT..EXTRA_AT + object.extra.len()].copy_from_slice(&object.extra);
        Self::parse(&raw)
            .ok()
            .flatten()
            .expect("a place in a file has a positive offset and size")
    }

    /// The entry as it is in the file.
    pub(super) fn raw(&self) -> &[u8; Self::LEN] {
        &self.raw
    }

    /// What is known of the object beyond its kind; how to read it depends on that.
    pub(super) fn extra(&self) -> &[u8] {
        &self.raw[EXTRA_AT..]
    }

    /// Where the object ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.size
    }

    /// The file system that the object is, if it is one.
    pub fn partition(&self) -> Option<Partition> {
        let extra = self.extra();
        (self.kind == DataKind::Partition).then(|| Partition {
            offset: self.offset,
            size: self.size,
            file_system: FileSystem::from_id(i32::from_le_bytes(four(extra, 0))),
            role: PartitionRole::from_id(i32::from_le_bytes(four(extra, 4))),
            arch: Arch::from_sif([extra[8], extra[9]]),
        })
    }

    /// The bytes that a signature covers, for an object whose group begins with the number
    /// `group_start`. Where the object lies and when it was changed are not among them.
    #[cfg(feature = "signatures")]
    pub(super) fn signed_bytes(&self, group_start: u32) -> Vec<u8> {
        let raw = &self.raw;
        let relative_id = self.id.wrapping_sub(group_start).to_le_bytes();
        [
            &raw[..5],
            &relative_id,
            &raw[13..17],
            &raw[25..33],
            &raw[41..49],
            &raw[57..],
        ]
        .concat()
    }
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes[at..at + 4].try_into().expect("four bytes")
}
