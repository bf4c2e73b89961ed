//! Responsible for the kinds of objects in a SIF.

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
    pub(super) fn from_id(id: i32) -> DataKind {
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

    pub(super) fn id(self) -> i32 {
        match self {
            DataKind::DefinitionFile => 0x4001,
            DataKind::Environment => 0x4002,
            DataKind::Labels => 0x4003,
            DataKind::Partition => 0x4004,
            DataKind::Signature => 0x4005,
            DataKind::Json => 0x4006,
            DataKind::Generic => 0x4007,
            DataKind::CryptoMessage => 0x4008,
            DataKind::BillOfMaterials => 0x4009,
            DataKind::OciIndex => 0x400a,
            DataKind::OciBlob => 0x400b,
            DataKind::Unknown(id) => id,
        }
    }

    /// Its name for a reader; `unknown` for what is newer than this program.
    pub fn name(self) -> &'static str {
        match self {
            DataKind::DefinitionFile => "deffile",
            DataKind::Environment => "environment",
            DataKind::Labels => "labels",
            DataKind::Partition => "partition",
            DataKind::Signature => "signature",
            DataKind::Json => "json",
            DataKind::Generic => "generic",
            DataKind::CryptoMessage => "cryptomessage",
            DataKind::BillOfMaterials => "sbom",
            DataKind::OciIndex => "oci-index",
            DataKind::OciBlob => "oci-blob",
            DataKind::Unknown(_) => "unknown",
        }
    }
}
