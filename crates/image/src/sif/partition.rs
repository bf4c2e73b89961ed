//! Responsible for the description of file systems in a SIF file.

use std::fmt;

use super::arch::Arch;

/// Format of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileSystem {
    /// SquashFS image without encryption.
    SquashFs,
    /// Ext3, which is writable.
    Ext3,
    /// Archive file as a partition.
    Archive,
    /// Bytes without a format.
    Raw,
    /// SquashFS encrypted with LUKS.
    EncryptedSquashFs,
    /// SquashFS encrypted with gocryptfs.
    GocryptfsSquashFs,
    /// Format that is unknown to this version of the crate.
    Unknown(i32),
}

impl FileSystem {
    pub(super) fn from_id(id: i32) -> FileSystem {
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

    pub(super) fn id(self) -> i32 {
        match self {
            FileSystem::SquashFs => 1,
            FileSystem::Ext3 => 2,
            FileSystem::Archive => 3,
            FileSystem::Raw => 4,
            FileSystem::EncryptedSquashFs => 5,
            FileSystem::GocryptfsSquashFs => 6,
            FileSystem::Unknown(id) => id,
        }
    }

    /// Returns the name of the format in one word. It is `unknown` for an unknown format.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::SquashFs => "squashfs",
            FileSystem::Ext3 => "ext3",
            FileSystem::Archive => "archive",
            FileSystem::Raw => "raw",
            FileSystem::EncryptedSquashFs => "encrypted-squashfs",
            FileSystem::GocryptfsSquashFs => "gocryptfs",
            FileSystem::Unknown(_) => "unknown",
        }
    }

    /// Returns whether reading the partition requires a key.
    pub fn is_encrypted(self) -> bool {
        matches!(
            self,
            FileSystem::EncryptedSquashFs | FileSystem::GocryptfsSquashFs
        )
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

/// Purpose of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartitionRole {
    /// System that is not started by default.
    System,
    /// Root file system of the container.
    PrimarySystem,
    /// Data, mounted on request.
    Data,
    /// Overlay, which is mounted over the root file system.
    Overlay,
    /// Purpose that is unknown to this version of the crate.
    Unknown(i32),
}

impl PartitionRole {
    pub(super) fn from_id(id: i32) -> PartitionRole {
        match id {
            1 => PartitionRole::System,
            2 => PartitionRole::PrimarySystem,
            3 => PartitionRole::Data,
            4 => PartitionRole::Overlay,
            other => PartitionRole::Unknown(other),
        }
    }

    pub(super) fn id(self) -> i32 {
        match self {
            PartitionRole::System => 1,
            PartitionRole::PrimarySystem => 2,
            PartitionRole::Data => 3,
            PartitionRole::Overlay => 4,
            PartitionRole::Unknown(id) => id,
        }
    }

    /// Returns the name of the purpose in one word. It is `unknown` for an unknown purpose.
    pub fn name(self) -> &'static str {
        match self {
            PartitionRole::System => "system",
            PartitionRole::PrimarySystem => "primary",
            PartitionRole::Data => "data",
            PartitionRole::Overlay => "overlay",
            PartitionRole::Unknown(_) => "unknown",
        }
    }
}

/// File system in a SIF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Position of the partition in the file, in bytes.
    pub offset: u64,
    /// Size of the partition in bytes.
    pub size: u64,
    /// Format of the file system.
    pub file_system: FileSystem,
    /// Purpose of the partition.
    pub role: PartitionRole,
    /// Architecture of the programs in it, if it is known.
    pub arch: Option<Arch>,
}
