//! Responsible for SIF files: their table of objects, and the root file system among the objects.

mod arch;
mod data_kind;
mod descriptor;
mod header;
mod link;
mod object;
mod partition;
#[cfg(feature = "signatures")]
pub mod signature;
mod table;
mod writer;

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use arch::Arch;
pub use data_kind::DataKind;
pub use descriptor::Descriptor;
pub use header::Header;
pub use link::Link;
pub use object::NewObject;
pub use partition::{FileSystem, Partition, PartitionRole};
pub use writer::{DeleteOptions, ObjectSlot, SifOptions, SifWriter};

use crate::{Error, Reader};
use header::{MAGIC, MAGIC_AT};
use table::Table;

/// Open SIF file.
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
    /// Returns whether a file that begins with these bytes claims to be a SIF file. At least 42
    /// bytes are needed.
    pub fn recognises(head: &[u8]) -> bool {
        head.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) == Some(&MAGIC)
    }

    /// Returns whether the file at `path` claims to be a SIF file.
    pub fn is_at(path: impl AsRef<Path>) -> Result<bool, Error> {
        let path = path.as_ref();
        let file = condense_input::open(path).map_err(Error::io("open", path))?;
        let mut head = Vec::new();
        file.take((MAGIC_AT + MAGIC.len()) as u64)
            .read_to_end(&mut head)
            .map_err(Error::io("read", path))?;
        Ok(Self::recognises(&head))
    }

    /// Reads the header and the table, and checks that every object is inside the file and does not
    /// overlap another object.
    pub fn open(path: impl AsRef<Path>) -> Result<Sif, Error> {
        let path = path.as_ref();
        let file = condense_input::open(path).map_err(Error::io("open", path))?;
        let table = Table::load(file.file(), path)?;
        Ok(Sif {
            path: path.to_owned(),
            file,
            header: table.header,
            descriptors: table.slots.into_iter().flatten().collect(),
        })
    }

    /// Returns the path of the file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the header of the file.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the entries of the file's objects, in the order of the table.
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// Returns the entry of the object with this number.
    pub fn object(&self, id: u32) -> Result<&Descriptor, Error> {
        self.descriptors
            .iter()
            .find(|object| object.id == id)
            .ok_or_else(|| Error::NotFound {
                path: PathBuf::from(format!("object {id}")),
                container: self.path.clone(),
            })
    }

    /// Returns the partition of the root file system. It must be SquashFS and not encrypted,
    /// otherwise it cannot be read.
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

    /// Returns the architecture of the primary partition, or else the architecture in the header.
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

    /// Returns the bytes of an object of at most `limit_bytes`.
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
        // The object is inside the file, which was checked when the table was read.
        let mut bytes = vec![0; descriptor.size as usize];
        self.file
            .file()
            .read_exact_at(&mut bytes, descriptor.offset)
            .map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Returns a reader of the bytes of an object, from front to back.
    pub fn bytes_of(&self, descriptor: &Descriptor) -> impl Read {
        Object {
            file: &self.file,
            at: descriptor.offset,
            end: descriptor.end(),
        }
    }

    /// Writes the bytes of an object to `output`.
    pub fn copy_to(&self, descriptor: &Descriptor, output: &mut dyn Write) -> Result<(), Error> {
        let mut bytes = self.bytes_of(descriptor);
        io::copy(&mut bytes, output)
            .map(drop)
            .map_err(Error::io("copy an object out of", &self.path))
    }
}

impl Reader {
    /// Opens an image file, or the root file system of a SIF file.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, Error> {
        let path = path.as_ref();
        if Sif::is_at(path)? {
            Sif::open(path)?.reader()
        } else {
            Self::open_raw(path)
        }
    }
}

/// Reader of the bytes of an object.
#[derive(Debug)]
struct Object<'s> {
    file: &'s fs_err::File,
    at: u64,
    end: u64,
}

impl Read for Object<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = (self.end - self.at).min(buffer.len() as u64) as usize;
        if len == 0 {
            return Ok(0);
        }
        let read = self.file.file().read_at(&mut buffer[..len], self.at)?;
        if read == 0 {
            // The object was inside the file when the file was opened, so the file has been
            // shortened since.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}
