//! Responsible for the sources of file contents, and for detecting that a file on disk has changed
//! since the scan.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use xxhash_rust::xxh3::xxh3_64;

use crate::block_digests::{BlockDigests, KnownDigest};
use crate::reader::Layout;
use crate::{Error, Reader};

/// Source of a file's content.
#[derive(Debug, Clone)]
pub enum Source {
    /// File on disk, as the scan found it.
    Disk(DiskFile),
    /// Bytes that are in memory.
    Bytes(Arc<[u8]>),
    /// Part of an open file.
    Range(FileRange),
    /// File in an image. Its content is read from the image, or its blocks are reused if the image
    /// is the donor.
    Image(ImageFile),
}

/// File in an existing image.
#[derive(Debug, Clone)]
pub struct ImageFile {
    reader: Arc<Reader>,
    /// Position of the inode.
    reference: u64,
}

impl ImageFile {
    pub(crate) fn new(reader: Arc<Reader>, reference: u64) -> ImageFile {
        ImageFile { reader, reference }
    }

    /// Returns the reader of the image.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(crate) fn reference(&self) -> u64 {
        self.reference
    }

    /// Returns the positions of the content in the image.
    pub(crate) fn layout(&self) -> Result<Layout, Error> {
        self.reader.layout(&self.reader.load_node(self.reference)?)
    }
}

/// Part of an open file that holds the contents of many files. The part is no longer written to.
#[derive(Debug, Clone)]
pub struct FileRange {
    file: Arc<fs_err::File>,
    offset: u64,
    /// Bytes at the beginning of the part in place of those in the file.
    head: Option<[u8; FileRange::HEAD_BYTES]>,
    digests: Option<BlockDigests>,
}

impl FileRange {
    /// Number of bytes that can be others than in the file.
    pub const HEAD_BYTES: usize = 16;

    /// Creates the part that begins at `offset`, in bytes. Its length is the size in the tree's
    /// entry.
    pub fn new(file: Arc<fs_err::File>, offset: u64) -> FileRange {
        FileRange {
            file,
            offset,
            head: None,
            digests: None,
        }
    }

    /// Returns the part with the digests of its blocks. They must not be those of other first
    /// bytes. Blocks that are read are compared with them.
    #[must_use]
    pub fn with_digests(self, digests: Option<BlockDigests>) -> FileRange {
        FileRange { digests, ..self }
    }

    /// Returns the digest of the block that begins at `at`, if it is known for blocks of this size.
    pub(crate) fn digest(&self, at: u64, block_bytes: usize) -> Option<KnownDigest<'_>> {
        let digests = self.digests.as_ref().filter(|_| self.head.is_none())?;
        let size = BlockDigests::BLOCK_BYTES as u64;
        let fits = block_bytes == BlockDigests::BLOCK_BYTES && at.is_multiple_of(size);
        fits.then(|| digests.get(at / size)).flatten()
    }

    /// Returns the error for contents that are not those of the digests.
    pub(crate) fn damaged(&self) -> Error {
        let why = "its contents have changed: run the build again, which makes it anew";
        let error = io::Error::new(io::ErrorKind::InvalidData, why);
        Error::io("read", self.file.path())(error)
    }

    /// Returns the part with other bytes at its beginning, which has at least as many.
    #[must_use]
    pub fn with_head(self, head: Option<[u8; FileRange::HEAD_BYTES]>) -> FileRange {
        FileRange { head, ..self }
    }

    /// Returns whether this is a part of `file`, with the same bytes.
    pub(crate) fn is_of(&self, file: &Arc<fs_err::File>) -> bool {
        Arc::ptr_eq(&self.file, file) && self.head.is_none()
    }

    /// Returns the position of the first byte in the file.
    pub(crate) fn offset_bytes(&self) -> u64 {
        self.offset
    }

    /// Fills the buffer with the bytes from position `at` of the part.
    pub(crate) fn read_exact(&self, buffer: &mut [u8], at: u64) -> Result<(), Error> {
        self.file
            .file()
            .read_exact_at(buffer, self.offset + at)
            .map_err(Error::io("read", self.file.path()))?;
        let replaced = self.head.as_ref().and_then(|head| head.get(at as usize..));
        for (byte, other) in buffer.iter_mut().zip(replaced.unwrap_or_default()) {
            *byte = *other;
        }
        Ok(())
    }
}

/// File on disk, as the scan found it.
///
/// A tree has one value of this type for each file. All files of a directory therefore share one
/// path of the directory.
#[derive(Debug, Clone)]
pub struct DiskFile {
    directory: Arc<Path>,
    name: Box<OsStr>,
    stamp: Stamp,
}

impl DiskFile {
    pub(crate) fn new(directory: Arc<Path>, name: OsString, stamp: Stamp) -> DiskFile {
        DiskFile {
            directory,
            name: name.into_boxed_os_str(),
            stamp,
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&*self.name)
    }

    /// Opens the file for reading. If a named pipe has replaced the file, the call does not wait
    /// for a writer.
    pub(crate) fn open(&self, last_directory: &mut LastDirectory) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = match last_directory.get(&self.directory) {
            Ok(directory) => rustix::fs::openat(directory, &*self.name, flags, Mode::empty()),
            Err(error) => Err(error),
        };
        opened.map(File::from).map_err(|error| match error {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
                self.changed("it is no longer there")
            }
            rustix::io::Errno::LOOP => self.changed("a symlink has taken its place"),
            other => Error::io("open", self.path())(other.into()),
        })
    }

    /// Returns an error if the open file is not the one that was scanned, or was written to since
    /// the scan.
    pub(crate) fn check_unchanged(&self, file: &File, size: u64) -> Result<(), Error> {
        let stat = rustix::fs::fstat(file)
            .map_err(|error| Error::io("read the attributes of", self.path())(error.into()))?;
        let now = stat.st_size.cast_unsigned();
        if now != size {
            return Err(self.changed(&format!("it had {size} bytes and now has {now}")));
        }
        let nanoseconds = stat.st_mtime_nsec.cast_signed();
        if Stamp::hash(stat.st_ino, stat.st_mtime, nanoseconds) != self.stamp.hash {
            return Err(self.changed("it was written to or replaced"));
        }
        Ok(())
    }

    /// Returns whether the scan found the modification time `mtime`, in seconds since 1970, and a
    /// status change before the second `since`. A program that resets the modification time of a
    /// file also changes the time of the status change.
    pub(crate) fn is_untouched(&self, mtime: u32, since: i64) -> bool {
        self.stamp.mtime == i64::from(mtime) && self.stamp.ctime < since
    }

    /// Returns the error for a failed or short read of this file.
    pub(crate) fn read_failed(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.changed("it became shorter")
        } else {
            Error::io("read", self.path())(error)
        }
    }

    fn changed(&self, how: &str) -> Error {
        Error::Changed {
            path: self.path(),
            how: how.to_owned(),
        }
    }
}

/// Fingerprint by which a replaced or changed file is detected: inode number and modification time.
///
/// The time of the last status change would detect more changes, but it also changes when a hard
/// link is created elsewhere, such as in a package cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Hash of the inode number and the modification time with nanoseconds.
    hash: u64,
    /// Modification time and time of the last status change, in seconds since 1970.
    mtime: i64,
    ctime: i64,
}

impl Stamp {
    pub(crate) fn from_metadata(metadata: &Metadata) -> Stamp {
        Stamp {
            hash: Self::hash(metadata.ino(), metadata.mtime(), metadata.mtime_nsec()),
            mtime: metadata.mtime(),
            ctime: metadata.ctime(),
        }
    }

    fn hash(inode: u64, seconds: i64, nanoseconds: i64) -> u64 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&seconds.to_le_bytes());
        bytes[16..].copy_from_slice(&nanoseconds.to_le_bytes());
        xxh3_64(&bytes)
    }
}

/// Directory that a worker opened last. Files come in the order of their directories, and opening a
/// file relative to its directory saves the kernel the walk along the whole path.
#[derive(Debug, Default)]
pub(crate) struct LastDirectory(Option<(Arc<Path>, OwnedFd)>);

impl LastDirectory {
    fn get(&mut self, path: &Arc<Path>) -> rustix::io::Result<&OwnedFd> {
        if self
            .0
            .as_ref()
            .is_none_or(|(last_directory, _)| !Arc::ptr_eq(last_directory, path))
        {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(&**path, flags, Mode::empty())?;
            self.0 = Some((path.clone(), directory));
        }
        Ok(&self.0.as_ref().expect("set above").1)
    }
}
