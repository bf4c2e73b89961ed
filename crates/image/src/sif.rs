//! Responsible for SIF files: the table of what they hold, and the root file system among it.

mod arch;
mod descriptor;

#[cfg(test)]
mod tests;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use arch::Arch;
pub use descriptor::{DataKind, Descriptor, FileSystem, Partition, PartitionRole};

use crate::{Error, Reader};

/// Where the magic bytes are: behind the line that hands the file to a runtime when it is started as a program.
const MAGIC_AT: usize = 32;
const MAGIC: [u8; 10] = *b"SIF_MAGIC\0";
const VERSION: [u8; 3] = *b"01\0";
/// The most slots of a table that are read. Runtimes write 48; the table of this many takes 2.3 MiB.
const DESCRIPTORS_MAX: u64 = 4096;

/// What a SIF file says about itself before its table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The architecture of the primary partition; nothing when it is not one that is known.
    pub arch: Option<Arch>,
    /// The file's own identifier, a UUID; all zero in a reproducible file.
    pub id: [u8; 16],
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it was last changed, in seconds since 1970.
    pub modified: i64,
    /// Slots in the table, used or not.
    pub descriptors_total: u64,
    /// Where the table is.
    pub descriptors_offset: u64,
    /// Where the first object may begin.
    pub data_offset: u64,
}

impl Header {
    /// Its size in bytes.
    const LEN: usize = 128;
}

/// An open SIF file.
///
/// ```no_run
/// # fn main() -> Result<(), condense_image::Error> {
/// let sif = condense_image::Sif::open("base.sif")?;
/// let reader = sif.reader()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sif {
    path: PathBuf,
    file: fs_err::File,
    header: Header,
    descriptors: Vec<Descriptor>,
}

impl Sif {
    /// Whether a file that begins with these bytes, at least 42, claims to be a SIF.
    pub fn recognises(head: &[u8]) -> bool {
        head.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) == Some(&MAGIC)
    }

    /// Reads the header and the table, and checks that every object lies inside the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Sif, Error> {
        let path = path.as_ref();
        let corrupt = |problem: String| Error::Corrupt {
            path: path.to_owned(),
            problem,
        };
        let file = fs_err::File::open(path).map_err(Error::io("open", path))?;
        let file_len = file.metadata().map_err(Error::io("read", path))?.len();
        let read = |buffer: &mut [u8], at: u64| {
            file.file()
                .read_exact_at(buffer, at)
                .map_err(Error::io("read", path))
        };

        let mut head = [0; Header::LEN];
        let head_len = file_len.min(Header::LEN as u64) as usize;
        read(&mut head[..head_len], 0)?;
        if !Self::recognises(&head) {
            return Err(corrupt("it does not begin as a SIF".to_owned()));
        }
        if head[42..45] != VERSION {
            return Err(Error::Unsupported {
                path: path.to_owned(),
                problem: format!(
                    "its SIF version is `{}`, not `01`",
                    head[42..44].escape_ascii()
                ),
            });
        }
        let truncated = |expected: u64| Error::Truncated {
            path: path.to_owned(),
            expected,
            found: file_len,
        };
        if head_len < Header::LEN {
            return Err(truncated(Header::LEN as u64));
        }
        let header = parse_header(&head).map_err(corrupt)?;

        let table_len = header.descriptors_total * Descriptor::LEN as u64;
        let table_end = header
            .descriptors_offset
            .checked_add(table_len)
            .ok_or_else(|| corrupt("its table lies nowhere".to_owned()))?;
        if table_end > file_len {
            return Err(truncated(table_end));
        }
        let mut table = vec![0; table_len as usize];
        read(&mut table, header.descriptors_offset)?;
        let mut descriptors = Vec::new();
        for slot in table.as_chunks::<{ Descriptor::LEN }>().0 {
            descriptors.extend(Descriptor::parse(slot).map_err(corrupt)?);
        }
        // Of several that are missing, the last says best how much.
        if let Some(end) = descriptors.iter().map(Descriptor::end).max()
            && end > file_len
        {
            return Err(truncated(end));
        }
        Ok(Sif {
            path: path.to_owned(),
            file,
            header,
            descriptors,
        })
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the file holds, in the order of its table.
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// The root file system's partition, if it is one that can be read here: SquashFS and not encrypted.
    pub fn primary_partition(&self) -> Result<Partition, Error> {
        let mut primary = self
            .descriptors
            .iter()
            .filter_map(Descriptor::partition)
            .filter(|partition| partition.role == PartitionRole::PrimarySystem);
        let Some(partition) = primary.next() else {
            return Err(Error::NoPrimaryPartition {
                path: self.path.clone(),
            });
        };
        if primary.next().is_some() {
            return Err(Error::Corrupt {
                path: self.path.clone(),
                problem: "it has more than one root file system".to_owned(),
            });
        }
        match partition.file_system {
            FileSystem::SquashFs => Ok(partition),
            FileSystem::EncryptedSquashFs | FileSystem::GocryptfsSquashFs => {
                Err(Error::Encrypted {
                    path: self.path.clone(),
                })
            }
            other => Err(Error::Unsupported {
                path: self.path.clone(),
                problem: format!("its root file system is {other}, not SquashFS"),
            }),
        }
    }

    /// The architecture that the primary partition is for, or else the one that the header names.
    pub fn arch(&self) -> Option<Arch> {
        self.descriptors
            .iter()
            .filter_map(Descriptor::partition)
            .find(|partition| partition.role == PartitionRole::PrimarySystem)
            .and_then(|partition| partition.arch)
            .or(self.header.arch)
    }

    /// Opens the root file system.
    pub fn reader(&self) -> Result<Reader, Error> {
        let partition = self.primary_partition()?;
        Reader::open_at(&self.path, partition.offset, partition.size)
    }

    /// The bytes of an object of at most `limit_bytes`.
    pub fn read(&self, descriptor: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, Error> {
        if descriptor.size > limit_bytes {
            return Err(Error::Unsupported {
                path: self.path.clone(),
                problem: format!(
                    "object {} has {} bytes, and at most {limit_bytes} were expected",
                    descriptor.id, descriptor.size
                ),
            });
        }
        // Lies inside the file, by the check that made the descriptor.
        let mut bytes = vec![0; descriptor.size as usize];
        self.file
            .file()
            .read_exact_at(&mut bytes, descriptor.offset)
            .map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }
}

fn parse_header(bytes: &[u8; Header::LEN]) -> Result<Header, String> {
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
    Ok(Header {
        arch: Arch::from_sif([bytes[45], bytes[46]]),
        id: bytes[48..64].try_into().expect("sixteen bytes"),
        created: i64_at(64),
        modified: i64_at(72),
        descriptors_total,
        descriptors_offset: u64_at(96, "table's offset")?,
        data_offset: u64_at(112, "data's offset")?,
    })
}
