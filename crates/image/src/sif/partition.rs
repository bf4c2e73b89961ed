//! Responsible for what a SIF says about a file system in it.

use std::fmt;

use super::arch::Arch;

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

    /// Its name in one word; `unknown` for what is newer than this program.
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

    /// Whether it cannot be read without a key.
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

    /// Its name in one word; `unknown` for what is newer than this program.
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
