//! Responsible for the description of objects that are to be added to a SIF file.

use super::arch::Arch;
use super::data_kind::DataKind;
use super::link::Link;
use super::partition::{FileSystem, PartitionRole};

/// Default group of objects.
const GROUP: u32 = 1;
/// Alignment of a partition in bytes. Loop devices require that a file system begins at a page.
const PARTITION_ALIGNMENT: u64 = 4096;
/// Maximum length of a name in bytes.
const NAME_MAX: usize = 128;

/// Object that is to be added to a SIF file, with all fields of its table entry except size and
/// position.
///
/// ```
/// use condense_image::sif::{DataKind, FileSystem, NewObject, PartitionRole};
/// use condense_image::Arch;
/// let definition = NewObject::new(DataKind::DefinitionFile);
/// let metadata = NewObject::new(DataKind::Json).named("inspect-metadata.json");
/// let role = PartitionRole::PrimarySystem;
/// let root = NewObject::partition(FileSystem::SquashFs, role, Arch::X86_64);
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
    /// Creates an object of this kind without a name, in the first group.
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

    /// Creates a partition, which begins at the start of a page.
    pub fn partition(file_system: FileSystem, role: PartitionRole, arch: Arch) -> NewObject {
        let mut object = NewObject::new(DataKind::Partition);
        object.extra.extend(file_system.id().to_le_bytes());
        object.extra.extend(role.id().to_le_bytes());
        object.extra.extend(arch.sif_digits());
        object.extra.push(0);
        object.primary_arch = (role == PartitionRole::PrimarySystem).then_some(arch);
        object
    }

    /// Sets the name, which may have at most 128 bytes.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> NewObject {
        self.name = name.into();
        self
    }

    /// Sets the group, or removes the object from any group. An object without a group cannot be
    /// signed.
    #[must_use]
    pub fn in_group(mut self, group: Option<u32>) -> NewObject {
        self.group = group;
        self
    }

    /// Sets the relation to another object or group.
    #[must_use]
    pub fn linked_to(mut self, link: Link) -> NewObject {
        self.link = link;
        self
    }

    /// Sets the alignment of the object's position in bytes.
    #[must_use]
    pub fn aligned_to(mut self, bytes: u64) -> NewObject {
        self.alignment = bytes.max(1);
        self
    }

    /// Returns a description of a field that the format cannot represent, if there is one.
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
