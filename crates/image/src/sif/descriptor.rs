//! Responsible for the entries of a SIF's table.

use std::fmt;

use super::arch::Arch;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataKind {
    /// The definition that the file was built from.
    DefinitionFile,
    /// Environment variables.
    Environment,
    /// Labels, as JSON.
    Labels,
    /// A file system.
    Partition,
    /// A signature over other objects.
    Signature,
    /// JSON; its name says of what.
    Json,
    /// Bytes; the name says of what.
    Generic,
    /// Keys of an encrypted partition.
    CryptoMessage,
    /// A bill of materials.
    BillOfMaterials,
    /// The index of an OCI image.
    OciIndex,
    /// A blob of an OCI image.
    OciBlob,
    /// Something newer than this program.
    Unknown(i32),
}

impl DataKind {
    fn from_id(id: i32) -> DataKind {
        match id {
            0x4001 => DataKind::DefinitionFile,
            0x4002 => DataKind::Environment,
            0x4003 => DataKind::Labels,
            0x4004 => DataKind::Partition,
            0x4005 => DataKind::Signature,
            0x4006 => DataKind::Json,
            0x4007 => DataKind::Generic,
            0x4008 => DataKind::CryptoMessage,
            0x4009 => DataKind::BillOfMaterials,
            0x400a => DataKind::OciIndex,
            0x400b => DataKind::OciBlob,
            other => DataKind::Unknown(other),
        }
    }
}

/// The format of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSystem {
    /// SquashFS.
    SquashFs,
    /// Ext3, writable.
    Ext3,
    /// An archive.
    Archive,
    /// Bytes without a format.
    Raw,
    /// SquashFS inside of LUKS.
    EncryptedSquashFs,
    /// SquashFS inside of gocryptfs.
    GocryptfsSquashFs,
    /// Something newer than this program.
    Unknown(i32),
}

impl FileSystem {
    fn from_id(id: i32) -> FileSystem {
        match id {
            1 => FileSystem::SquashFs,
            2 => FileSystem::Ext3,
            3 => FileSystem::Archive,
            4 => FileSystem::Raw,
            5 => FileSystem::EncryptedSquashFs,
            6 => FileSystem::GocryptfsSquashFs,
            other => FileSystem::Unknown(other),
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileSystem::SquashFs => "SquashFS",
            FileSystem::Ext3 => "ext3",
            FileSystem::Archive => "an archive",
            FileSystem::Raw => "raw data",
            FileSystem::EncryptedSquashFs => "encrypted SquashFS",
            FileSystem::GocryptfsSquashFs => "gocryptfs",
            FileSystem::Unknown(id) => return write!(f, "of the unknown type {id}"),
        })
    }
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartitionRole {
    /// A system, but not the one that is started.
    System,
    /// The root file system.
    PrimarySystem,
    /// Data, mounted on request.
    Data,
    /// Put over the root file system.
    Overlay,
    /// Something newer than this program.
    Unknown(i32),
}

impl PartitionRole {
    fn from_id(id: i32) -> PartitionRole {
        match id {
            1 => PartitionRole::System,
            2 => PartitionRole::PrimarySystem,
            3 => PartitionRole::Data,
            4 => PartitionRole::Overlay,
            other => PartitionRole::Unknown(other),
        }
    }
}

/// A file system in a SIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Its format.
    pub file_system: FileSystem,
    /// What it is for.
    pub role: PartitionRole,
    /// What its programs run on, if that is known.
    pub arch: Option<Arch>,
}

/// An object's entry in the table of a SIF.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// What the object is.
    pub kind: DataKind,
    /// Its number, from 1.
    pub id: u32,
    /// The group it belongs to, with the format's marking bits; objects of a group are signed together.
    pub group: u32,
    /// The object, or with the marking bits the group, that it is about; 0 for none.
    pub link: u32,
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
    extra: [u8; 12],
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
        let name = &slot[73..201];
        let name_len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        Ok(Some(Descriptor {
            kind: DataKind::from_id(i32::from_le_bytes(four(slot, 0))),
            id,
            group: u32::from_le_bytes(four(slot, 9)),
            link: u32::from_le_bytes(four(slot, 13)),
            offset,
            size,
            created: i64_at(41),
            modified: i64_at(49),
            name: String::from_utf8_lossy(&name[..name_len]).into_owned(),
            extra: slot[201..213].try_into().expect("twelve bytes"),
        }))
    }

    /// Where the object ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.size
    }

    /// The file system that the object is, if it is one.
    pub fn partition(&self) -> Option<Partition> {
        (self.kind == DataKind::Partition).then(|| Partition {
            offset: self.offset,
            size: self.size,
            file_system: FileSystem::from_id(i32::from_le_bytes(four(&self.extra, 0))),
            role: PartitionRole::from_id(i32::from_le_bytes(four(&self.extra, 4))),
            arch: Arch::from_sif([self.extra[8], self.extra[9]]),
        })
    }
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes[at..at + 4].try_into().expect("four bytes")
}
