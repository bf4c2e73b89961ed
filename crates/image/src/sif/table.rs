//! Responsible for the header and the table of a SIF file together, and for the positions of new
//! objects.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::descriptor::{Descriptor, ObjectExtent};
use super::header::{Header, MAGIC, MAGIC_AT};
use super::object::NewObject;
use super::partition::PartitionRole;
use crate::Error;

/// Header and table. Each slot of the table keeps its place.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) header: Header,
    pub(super) slots: Vec<Option<Descriptor>>,
    /// Position in bytes behind which new objects are added. The objects that the old table on disk
    /// lists stay intact until the new table is written.
    floor: u64,
}

/// Slot and position of a new object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    slot: usize,
    /// Number of bytes between the previous object and this one.
    pub(super) gap: u64,
    pub(super) offset: u64,
}

impl Table {
    pub(super) fn new(header: Header) -> Table {
        let slots = vec![None; header.descriptors_total as usize];
        let floor = header.data_offset;
        Table {
            header,
            slots,
            floor,
        }
    }

    /// Reads the header and the table, and checks that every object is inside the file and does not
    /// overlap another object.
    pub(super) fn load(file: &File, path: &Path) -> Result<Table, Error> {
        let corrupt = |problem: String| Error::Corrupt {
            path: path.to_owned(),
            problem,
        };
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(Error::io("read", path)(source));
        }
        let file_len = metadata.len();
        let read = |buffer: &mut [u8], at: u64| {
            file.read_exact_at(buffer, at)
                .map_err(Error::io("read", path))
        };
        let truncated = |expected: u64| Error::Truncated {
            path: path.to_owned(),
            expected,
            found: file_len,
        };

        let mut head = [0; Header::LEN];
        let head_len = file_len.min(Header::LEN as u64) as usize;
        read(&mut head[..head_len], 0)?;
        if head.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) != Some(&MAGIC) {
            return Err(corrupt("it does not begin as a SIF".to_owned()));
        }
        Header::check_version(&head).map_err(|problem| Error::Unsupported {
            path: path.to_owned(),
            problem,
        })?;
        if head_len < Header::LEN {
            return Err(truncated(Header::LEN as u64));
        }
        let header = Header::parse(&head).map_err(corrupt)?;

        let table_end = header
            .descriptors_offset
            .checked_add(header.table_len())
            .ok_or_else(|| corrupt("its table lies nowhere".to_owned()))?;
        if header.descriptors_offset < Header::LEN as u64 {
            return Err(corrupt("its table lies over its header".to_owned()));
        }
        if header.data_offset < table_end {
            return Err(corrupt("its objects lie over its table".to_owned()));
        }
        if table_end > file_len {
            return Err(truncated(table_end));
        }
        let mut bytes = vec![0; header.table_len() as usize];
        read(&mut bytes, header.descriptors_offset)?;
        let mut slots = Vec::new();
        for slot in bytes.as_chunks::<{ Descriptor::LEN }>().0 {
            slots.push(Descriptor::parse(slot).map_err(corrupt)?);
        }
        let floor = header.data_offset;
        let table = Table {
            header,
            slots,
            floor,
        };
        // If several objects are outside the file, the end of the last one shows how many bytes are
        // missing.
        if let Some(end) = table.objects().map(Descriptor::end).max()
            && end > file_len
        {
            return Err(truncated(end));
        }
        table.check().map_err(corrupt)?;
        Ok(table)
    }

    /// Checks that the numbers of objects are unique and that no byte belongs to two objects.
    fn check(&self) -> Result<(), String> {
        let mut objects: Vec<&Descriptor> = self.objects().collect();
        objects.sort_by_key(|object| object.id);
        for pair in objects.windows(2) {
            if pair[0].id == pair[1].id {
                return Err(format!("two objects have the number {}", pair[0].id));
            }
        }
        objects.retain(|object| object.size > 0);
        objects.sort_by_key(|object| object.offset);
        if let Some(first) = objects.first()
            && first.offset < self.header.data_offset
        {
            return Err(format!("object {} lies over its table", first.id));
        }
        for pair in objects.windows(2) {
            if pair[0].end() > pair[1].offset {
                let (one, other) = (pair[0].id, pair[1].id);
                return Err(format!("objects {one} and {other} overlap"));
            }
        }
        Ok(())
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &Descriptor> {
        self.slots.iter().flatten()
    }

    /// Returns whether an object is the root file system.
    pub(super) fn is_primary(object: &Descriptor) -> bool {
        object
            .partition()
            .is_some_and(|partition| partition.role == PartitionRole::PrimarySystem)
    }

    /// Returns the end of the last object in bytes.
    pub(super) fn end(&self) -> u64 {
        let ends = self.objects().map(Descriptor::end);
        ends.fold(self.header.data_offset, u64::max)
    }

    /// Returns the place of a new object: behind all other objects, in the first free slot.
    pub(super) fn place(&self, object: &NewObject) -> Result<Place, String> {
        if let Some(problem) = object.problem() {
            return Err(problem);
        }
        if object.primary_arch.is_some() && self.objects().any(Self::is_primary) {
            return Err("it has a root file system already".to_owned());
        }
        let Some(slot) = self.slots.iter().position(Option::is_none) else {
            return Err(format!("all its {} slots are used", self.slots.len()));
        };
        let end = self.end().max(self.floor);
        let offset = end
            .checked_next_multiple_of(object.alignment)
            .filter(|offset| i64::try_from(*offset).is_ok())
            .ok_or_else(|| format!("nothing is aligned to {} bytes there", object.alignment))?;
        Ok(Place {
            slot,
            gap: offset - end,
            offset,
        })
    }

    /// Adds the entry of an object of `size` bytes at its place. Returns the number of the object.
    pub(super) fn insert(&mut self, object: &NewObject, place: Place, size: u64, time: i64) -> u32 {
        let id = place.slot as u32 + 1;
        let extent = ObjectExtent {
            gap: place.gap,
            offset: place.offset,
            size,
        };
        self.slots[place.slot] = Some(Descriptor::new(object, id, extent, time));
        if object.primary_arch.is_some() {
            self.header.set_arch(object.primary_arch);
        }
        self.header.data_size = self.end() - self.header.data_offset;
        id
    }

    /// Frees the slot of an object and returns its entry, or `None` if no object has this number.
    pub(super) fn remove(&mut self, id: u32) -> Option<Descriptor> {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(|object| object.id == id))?;
        let object = slot.take()?;
        if Self::is_primary(&object) {
            self.header.set_arch(None);
        }
        self.floor = self.floor.max(object.end());
        Some(object)
    }

    /// Returns the bytes of the header.
    pub(super) fn render_header(&self) -> [u8; Header::LEN] {
        let free = self.slots.iter().filter(|slot| slot.is_none()).count();
        self.header.render(free as u64)
    }

    /// Returns the bytes of the table.
    pub(super) fn render_slots(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.slots.len() * Descriptor::LEN);
        for slot in &self.slots {
            match slot {
                Some(object) => bytes.extend_from_slice(object.raw()),
                None => bytes.extend_from_slice(&[0; Descriptor::LEN]),
            }
        }
        bytes
    }
}
