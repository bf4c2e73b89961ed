//! Responsible for the kinds of objects in a SIF file.

/// Kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataKind {
    /// Definition file that the SIF file was built from.
    DefinitionFile,
    /// Environment variables of the container.
    Environment,
    /// Labels in JSON format.
    Labels,
    /// Partition with a file system.
    Partition,
    /// Signature of other objects.
    Signature,
    /// JSON data, whose meaning is given by the object's name.
    Json,
    /// Other data, whose meaning is given by the object's name.
    Generic,
    /// Keys of an encrypted partition.
    CryptoMessage,
    /// Bill of materials (SBOM).
    BillOfMaterials,
    /// Index of an OCI image.
    OciIndex,
    /// Blob of an OCI image.
    OciBlob,
    /// Kind that is unknown to this version of the crate.
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

    /// Returns the name of the kind for users. It is `unknown` for an unknown kind.
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
