//! Responsible for the entries in the table of a SIF file.

use super::arch::Arch;
use super::data_kind::DataKind;
use super::link::Link;
use super::object::NewObject;
use super::partition::{FileSystem, Partition, PartitionRole};

const NAME_AT: usize = 73;
const EXTRA_AT: usize = 201;

/// Part of the file that a new object takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ObjectExtent {
    /// Number of bytes between the object before and this object.
    pub(super) gap: u64,
    /// Position of the object in the file, in bytes.
    pub(super) offset: u64,
    /// Size of the object in bytes.
    pub(super) size: u64,
}

/// Entry of an object in the table of a SIF file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// Kind of the object.
    pub kind: DataKind,
    /// Number of the object, from 1.
    pub id: u32,
    /// Group of the object. The objects of a group are signed together.
    pub group: Option<u32>,
    /// Relation to another object or group.
    pub link: Link,
    /// Position of the object in the file, in bytes.
    pub offset: u64,
    /// Size of the object in bytes.
    pub size: u64,
    /// Time when the object was added, in seconds since 1970.
    pub created: i64,
    /// Time when the object was last changed, in seconds since 1970.
    pub modified: i64,
    /// Name of the object, often empty.
    pub name: String,
    /// Bytes of the entry in the file. They are kept because they may have fields that this crate
    /// does not know, and because signatures cover bytes.
    raw: Box<[u8; Descriptor::LEN]>,
}

impl Descriptor {
    /// Size of an entry in bytes.
    pub(super) const LEN: usize = 585;

    /// Reads the entry in a slot of the table. Returns `None` for an unused slot.
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

    /// Creates the entry of a new object.
    pub(super) fn new(object: &NewObject, id: u32, extent: ObjectExtent, time: i64) -> Descriptor {
        let ObjectExtent { gap, offset, size } = extent;
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

    /// Returns the bytes of the entry in the file.
    pub(super) fn raw(&self) -> &[u8; Self::LEN] {
        &self.raw
    }

    /// Returns the fields that depend on the kind of the object.
    pub(super) fn extra(&self) -> &[u8] {
        &self.raw[EXTRA_AT..]
    }

    /// Returns the end of the object in the file, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.size
    }

    /// Returns the file system in the object, if the object is a partition.
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

    /// Returns the bytes that a signature covers, for an object of a group whose first object has
    /// the number `group_start`. The position of the object and the time of its last change are not
    /// covered.
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
