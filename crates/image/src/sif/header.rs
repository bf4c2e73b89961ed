//! Responsible for the header of a SIF file: its first 128 bytes, which give the position of the
//! table.

use super::arch::Arch;
use super::descriptor::Descriptor;

/// Position of the magic bytes: behind the line that passes the file to a runtime when the file is
/// executed.
pub(super) const MAGIC_AT: usize = 32;
pub(super) const MAGIC: [u8; 10] = *b"SIF_MAGIC\0";
const VERSION_AT: usize = 42;
const VERSION: [u8; 3] = *b"01\0";
const ARCH_AT: usize = 45;
/// Digits of the architecture in a file without a root file system.
const NO_ARCH: [u8; 3] = *b"00\0";
/// Line that passes the file to a runtime when the file is executed.
const LAUNCH_SCRIPT: &[u8] = b"#!/usr/bin/env run-singularity\n";
/// Position of the table in files that runtimes write.
const DESCRIPTORS_AT: u64 = 4096;
/// Maximum number of table slots that are read. Runtimes write 48. A table of the maximum size
/// takes 2.3 MiB.
const DESCRIPTORS_MAX: u64 = 4096;

/// Fields of the header of a SIF file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Architecture of the primary partition, or `None` if it is unknown.
    pub arch: Option<Arch>,
    /// Identifier of the file, a UUID. It is all zero in a reproducible file.
    pub id: [u8; 16],
    /// Time when the file was created, in seconds since 1970. It is [`Header::NO_TIME`] in a
    /// reproducible file.
    pub created: i64,
    /// Time when the file was last changed, in seconds since 1970.
    pub modified: i64,
    /// Number of slots in the table, used or not.
    pub descriptors_total: u64,
    /// Position of the table in bytes.
    pub descriptors_offset: u64,
    /// Position in bytes from which on objects may begin.
    pub data_offset: u64,
    /// Number of bytes from `data_offset` to the end of the last object.
    pub data_size: u64,
    launch_script: [u8; MAGIC_AT],
    /// Bytes of the architecture in the file.
    arch_digits: [u8; 3],
}

impl Header {
    /// Size of the header in bytes.
    pub(super) const LEN: usize = 128;

    /// Time that runtimes write if no time is given: the first second of the year 1, the zero time
    /// of Go.
    pub const NO_TIME: i64 = -62_135_596_800;

    /// Creates the header of a file without objects.
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

    /// Sets the architecture of the primary partition, or marks that there is no such partition.
    pub(super) fn set_arch(&mut self, arch: Option<Arch>) {
        self.arch = arch;
        self.arch_digits = NO_ARCH;
        if let Some(arch) = arch {
            self.arch_digits[..2].copy_from_slice(&arch.sif_digits());
        }
    }

    /// Checks that the header is of a version that this crate supports. `head` has at most 128
    /// bytes.
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

    /// Returns the bytes of the header of a file with `descriptors_free` unused slots.
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

    /// Returns the size of the table in bytes.
    pub(super) fn table_len(&self) -> u64 {
        self.descriptors_total * Descriptor::LEN as u64
    }

    /// Returns the line that passes the file to a runtime when the file is executed.
    pub fn launch_script(&self) -> &[u8] {
        let len = self.launch_script.iter().position(|&byte| byte == 0);
        &self.launch_script[..len.unwrap_or(MAGIC_AT)]
    }

    /// Returns the identifier in the text form of a UUID.
    pub fn uuid(&self) -> String {
        let mut text = hex::encode(self.id);
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        text
    }

    /// Returns the bytes that a signature covers.
    #[cfg(feature = "signatures")]
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        let bytes = self.render(0);
        [&bytes[..ARCH_AT], &bytes[48..64]].concat()
    }
}
