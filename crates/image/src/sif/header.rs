//! Responsible for a SIF's first 128 bytes, which say where its table is.

use super::arch::Arch;
use super::descriptor::Descriptor;

/// Where the magic bytes are: behind the line that hands the file to a runtime when it is started
/// as a program.
pub(super) const MAGIC_AT: usize = 32;
pub(super) const MAGIC: [u8; 10] = *b"SIF_MAGIC\0";
const VERSION_AT: usize = 42;
const VERSION: [u8; 3] = *b"01\0";
const ARCH_AT: usize = 45;
/// What stands for an architecture when there is no root file system.
const NO_ARCH: [u8; 3] = *b"00\0";
/// Runs the file when it is started as a program.
const LAUNCH_SCRIPT: &[u8] = b"#!/usr/bin/env run-singularity\n";
/// Where runtimes put the table.
const DESCRIPTORS_AT: u64 = 4096;
/// The most slots of a table that are read. Runtimes write 48; the table of this many takes 2.3
/// MiB.
const DESCRIPTORS_MAX: u64 = 4096;

/// What a SIF file says about itself before its table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The architecture of the primary partition; nothing when it is not one that is known.
    pub arch: Option<Arch>,
    /// The file's own identifier, a UUID; all zero in a reproducible file.
    pub id: [u8; 16],
    /// When it was made, in seconds since 1970; [`Header::NO_TIME`] in a reproducible file.
    pub created: i64,
    /// When it was last changed, in seconds since 1970.
    pub modified: i64,
    /// Slots in the table, used or not.
    pub descriptors_total: u64,
    /// Where the table is.
    pub descriptors_offset: u64,
    /// Where the first object may begin.
    pub data_offset: u64,
    /// Bytes from there to the end of the last object.
    pub data_size: u64,
    launch_script: [u8; MAGIC_AT],
    /// The architecture as it is in the file.
    arch_digits: [u8; 3],
}

impl Header {
    /// Its size in bytes.
    pub(super) const LEN: usize = 128;

    /// What runtimes write where a time is left out: the first second of the year 1, their
    /// language's zero.
    pub const NO_TIME: i64 = -62_135_596_800;

    /// The header of an empty file.
    pub(super) fn new(id: [u8; 16], created: i64, descriptors_total: u64) -> Header {
        let mut launch_script = [0; MAGIC_AT];
        launch_script[..LAUNCH_SCRIPT.len()].copy_from_slice(LAUNCH_SCRIPT);
        Header {
            arch: None,
            id,
            created,
            modified: created,
            descriptors_total,
            descriptors_offset: DESCRIPTORS_AT,
            data_offset: DESCRIPTORS_AT + descriptors_total * Descriptor::LEN as u64,
            data_size: 0,
            launch_script,
            arch_digits: NO_ARCH,
        }
    }

    /// Sets the architecture of the primary partition, or that there is none.
    pub(super) fn set_arch(&mut self, arch: Option<Arch>) {
        self.arch = arch;
        self.arch_digits = NO_ARCH;
        if let Some(arch) = arch {
            self.arch_digits[..2].copy_from_slice(&arch.sif_digits());
        }
    }

    /// Whether these bytes say that they are of a version that is read here. They are 128 at most.
    pub(super) fn check_version(head: &[u8]) -> Result<(), String> {
        match head.get(VERSION_AT..ARCH_AT) {
            Some(version) if version == VERSION => Ok(()),
            version => Err(format!(
                "its SIF version is `{}`, not `01`",
                version
                    .map_or(&[][..], |version| &version[..2])
                    .escape_ascii()
            )),
        }
    }

    pub(super) fn parse(bytes: &[u8; Self::LEN]) -> Result<Header, String> {
        let i64_at = |at: usize| {
            let bytes = bytes[at..at + 8].try_into().expect("eight bytes");
            i64::from_le_bytes(bytes)
        };
        let u64_at = |at: usize, what: &str| {
            u64::try_from(i64_at(at)).map_err(|_| format!("its {what} is negative"))
        };
        let descriptors_total = u64_at(88, "number of objects")?;
        if descriptors_total > DESCRIPTORS_MAX {
            return Err(format!("it claims {descriptors_total} objects"));
        }
        let table_len = u64_at(104, "table's size")?;
        if table_len != descriptors_total * Descriptor::LEN as u64 {
            return Err(format!(
                "it claims {descriptors_total} objects in a table of {table_len} bytes"
            ));
        }
        Ok(Header {
            arch: Arch::from_sif([bytes[ARCH_AT], bytes[ARCH_AT + 1]]),
            id: bytes[48..64].try_into().expect("sixteen bytes"),
            created: i64_at(64),
            modified: i64_at(72),
            descriptors_total,
            descriptors_offset: u64_at(96, "table's offset")?,
            data_offset: u64_at(112, "data's offset")?,
            data_size: u64_at(120, "data's size")?,
            launch_script: bytes[..MAGIC_AT].try_into().expect("thirty-two bytes"),
            arch_digits: bytes[ARCH_AT..48].try_into().expect("three bytes"),
        })
    }

    /// The bytes of the header of a file with so many unused slots.
    pub(super) fn render(&self, descriptors_free: u64) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..MAGIC_AT].copy_from_slice(&self.launch_script);
        bytes[MAGIC_AT..VERSION_AT].copy_from_slice(&MAGIC);
        bytes[VERSION_AT..ARCH_AT].copy_from_slice(&VERSION);
        bytes[ARCH_AT..48].copy_from_slice(&self.arch_digits);
        bytes[48..64].copy_from_slice(&self.id);
        for (at, number) in [
            (64, self.created),
            (72, self.modified),
            (80, descriptors_free.cast_signed()),
            (88, self.descriptors_total.cast_signed()),
            (96, self.descriptors_offset.cast_signed()),
            (104, self.table_len().cast_signed()),
            (112, self.data_offset.cast_signed()),
            (120, self.data_size.cast_signed()),
        ] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Bytes of the table.
    pub(super) fn table_len(&self) -> u64 {
        self.descriptors_total * Descriptor::LEN as u64
    }

    /// The line that hands the file to a runtime when it is started as a program.
    pub fn launch_script(&self) -> &[u8] {
        let len = self.launch_script.iter().position(|&byte| byte == 0);
        &self.launch_script[..len.unwrap_or(MAGIC_AT)]
    }

    /// The identifier as UUIDs are written.
    pub fn uuid(&self) -> String {
        let mut text = hex::encode(self.id);
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        text
    }

    /// The bytes that a signature covers.
    #[cfg(feature = "signatures")]
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        let bytes = self.render(0);
        [&bytes[..ARCH_AT], &bytes[48..64]].concat()
    }
}
