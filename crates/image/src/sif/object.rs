//! Responsible for objects that are to be put into a SIF.

use super::arch::Arch;
use super::data_kind::DataKind;
use super::descriptor::Link;
use super::partition::{FileSystem, PartitionRole};

/// The group that objects belong to unless they say otherwise.
const GROUP: u32 = 1;
/// Loop devices want a file system to begin with a page.
const PARTITION_ALIGNMENT: u64 = 4096;
/// The longest name, in bytes.
const NAME_MAX: usize = 128;

/// An object that is to be put into a SIF: all that its entry in the table says but size and place.
///
/// ```
/// use condense_image::sif::{DataKind, FileSystem, NewObject, PartitionRole};
/// use condense_image::Arch;
/// let definition = NewObject::new(DataKind::DefinitionFile);
/// let metadata = NewObject::new(DataKind::Json).named("inspect-metadata.json");
/// let root = NewObject::partition(FileSystem::SquashFs, PartitionRole::PrimarySystem, Arch::X86_64);
/// ```
#[derive(Debug, Clone)]
pub struct NewObject {
    pub(super) kind: DataKind,
    pub(super) name: String,
    pub(super) group: Option<u32>,
    pub(super) link: Link,
    pub(super) alignment: u64,
    pub(super) extra: Vec<u8>,
    pub(super) primary_arch: Option<Arch>,
}

impl NewObject {
    /// An object of this kind without a name, in the first group.
    pub fn new(kind: DataKind) -> NewObject {
        let is_partition = kind == DataKind::Partition;
        NewObject {
            kind,
            name: String::new(),
            group: Some(GROUP),
            link: Link::None,
            alignment: if is_partition { PARTITION_ALIGNMENT } else { 1 },
            extra: Vec::new(),
            primary_arch: None,
        }
    }

    /// A file system, at a page's start.
    pub fn partition(file_system: FileSystem, role: PartitionRole, arch: Arch) -> NewObject {
        let mut object = NewObject::new(DataKind::Partition);
        object.extra.extend(file_system.id().to_le_bytes());
        object.extra.extend(role.id().to_le_bytes());
        object.extra.extend(arch.sif_digits());
        object.extra.push(0);
        object.primary_arch = (role == PartitionRole::PrimarySystem).then_some(arch);
        object
    }

    /// With a name of at most 128 bytes.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> NewObject {
        self.name = name.into();
        self
    }

    /// In this group, or in none. What is in none cannot be signed.
    #[must_use]
    pub fn in_group(mut self, group: Option<u32>) -> NewObject {
        self.group = group;
        self
    }

    /// About another object or group.
    #[must_use]
    pub fn linked_to(mut self, link: Link) -> NewObject {
        self.link = link;
        self
    }

    /// At a multiple of so many bytes.
    #[must_use]
    pub fn aligned_to(mut self, bytes: u64) -> NewObject {
        self.alignment = bytes.max(1);
        self
    }

    /// What cannot be written down, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        if self.name.len() > NAME_MAX {
            return Some(format!(
                "the name `{}` has more than {NAME_MAX} bytes",
                self.name
            ));
        }
        if self.name.contains('\0') {
            return Some("a name has a zero byte".to_owned());
        }
        let marked = Link::GROUP_MARK;
        let too_large = |number: u32| number == 0 || number & marked == marked;
        let numbers = [
            self.group,
            match self.link {
                Link::None => None,
                Link::Object(id) | Link::Group(id) => Some(id),
            },
        ];
        numbers
            .into_iter()
            .flatten()
            .find(|number| too_large(*number))
            .map(|number| format!("{number} is not the number of a group or an object"))
    }
}
