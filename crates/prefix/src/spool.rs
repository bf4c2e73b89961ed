//! Responsible for the spool: one open file that holds the contents of many files, one behind the
//! other, and attached files of the same kind, which are only read.

use std::{
    collections::HashMap,
    io::Read,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use xxhash_rust::xxh3::xxh3_128;

use crate::error::Error;

/// Largest position in the spool. File systems can hold longer files, and positions below the limit
/// can be added without an overflow.
const END_MAX: u64 = 1 << 46;

/// Room at the front, in which an image that is made of the spool has its superblock.
const HEAD_BYTES: u64 = 4096;

/// Number of bytes at the beginning of a part that can be others than in the file: as many as byte
/// code has before the code.
pub(crate) const HEAD: usize = 16;

/// Number of bytes that are copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Number of bytes of a file that have one digest: the usual size of an image's blocks.
pub(crate) const BLOCK_BYTES: usize = 128 << 10;
/// Number of bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 48;

/// Part of the spool that holds the contents of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) file: Member,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// First bytes of the contents, if they are others than in the file.
    pub(crate) head: Option<[u8; HEAD]>,
}

impl Part {
    /// Returns where a part of a file is after the whole file was copied into this part.
    pub(crate) fn below(self, part: Part) -> Part {
        Part {
            offset: self.offset + part.offset,
            bytes: part.bytes,
            head: part.head,
            ..self
        }
    }
}

/// File of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    /// The file that the spool has created.
    Own,
    /// The attached file with this number.
    Attached(usize),
}

/// File that many threads write and read.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Arc<fs_err::File>,
    end: AtomicU64,
    /// Present path of the file.
    path: Mutex<PathBuf>,
    attached: RwLock<Vec<Attached>>,
}

/// File that is only read.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    pub(crate) file: Arc<fs_err::File>,
    pub(crate) digests: Arc<Digests>,
    /// Byte code whose sources are in the file as well, by the positions of the byte code.
    pub(crate) byte_code: Arc<HashMap<u64, KnownByteCode>>,
}

/// Properties of byte code that tell whether it fits its source without reading either.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownByteCode {
    /// First bytes of the byte code.
    pub(crate) head: [u8; HEAD],
    /// Hash that an interpreter with the magic number of these bytes computes of the source.
    pub(crate) source_hash: [u8; 8],
    /// Position and size of the source in bytes.
    pub(crate) source: (u64, u64),
}

/// Digests of the whole blocks of large files in an attached file.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// Digests of [`DIGEST_BYTES`] each.
    pub(crate) bytes: Arc<[u8]>,
    /// Number of the first digest of the file at each position.
    pub(crate) first: HashMap<u64, FirstDigest>,
    /// Whether the contents are known to have the digests.
    pub(crate) are_compared: bool,
}

#[derive(Debug)]
pub(crate) struct FirstDigest {
    pub(crate) number: usize,
    /// Number of whole blocks.
    pub(crate) blocks: usize,
    is_compared: AtomicBool,
}

impl FirstDigest {
    pub(crate) fn new(number: usize, blocks: usize) -> Self {
        Self {
            number,
            blocks,
            is_compared: AtomicBool::new(false),
        }
    }
}

/// Returns the digest of a whole block: BLAKE3, and XXH3 with 128 bits as a little-endian number.
pub fn block_digest(block: &[u8]) -> [u8; 48] {
    let mut digest = [0; DIGEST_BYTES];
    digest[..32].copy_from_slice(blake3::hash(block).as_bytes());
    digest[32..].copy_from_slice(&xxh3_128(block).to_le_bytes());
    digest
}

impl Attached {
    /// Compares the whole blocks of the file at a position with their digests, unless that was
    /// done. A damaged file of the cache is removed, so that the next build unpacks its package.
    /// `stopped` is asked between blocks.
    fn compare(&self, offset: u64, stopped: &dyn Fn() -> bool) -> std::io::Result<()> {
        let Some(first) = self.digests.first.get(&offset) else {
            return Ok(());
        };
        if self.digests.are_compared || first.is_compared.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut block = vec![0; BLOCK_BYTES];
        for number in 0..first.blocks {
            if stopped() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let at = offset + (number * BLOCK_BYTES) as u64;
            self.file.file().read_exact_at(&mut block, at)?;
            let digest = (first.number + number) * DIGEST_BYTES;
            let known = &self.digests.bytes[digest..][..DIGEST_BYTES];
            if xxh3_128(&block).to_le_bytes() != known[32..] {
                self.remove();
                let why = "its contents have changed: run the build again, which makes it anew";
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
            }
        }
        first.is_compared.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Compares all whole blocks with their digests. `stopped` is asked between blocks.
    pub(crate) fn compare_all(&self, stopped: &dyn Fn() -> bool) -> std::io::Result<()> {
        let mut offsets = self.digests.first.keys();
        offsets.try_for_each(|offset| self.compare(*offset, stopped))
    }

    /// Removes the file, unless another process has put another one in its place.
    fn remove(&self) {
        let path = self.file.path();
        let states = [
            self.file.metadata().ok(),
            std::fs::symlink_metadata(path).ok(),
        ];
        let [Some(open), Some(named)] = states else {
            return;
        };
        if (open.dev(), open.ino()) == (named.dev(), named.ino()) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Spool {
    /// Creates the file in this directory. Its contents stay when its name goes.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be created.
    pub(crate) fn create(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("spool");
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        Ok(Self {
            file: Arc::new(file),
            end: AtomicU64::new(HEAD_BYTES),
            path: Mutex::new(path),
            attached: RwLock::default(),
        })
    }

    /// Attaches a file, which is only read.
    pub(crate) fn attach(
        &self,
        file: fs_err::File,
        digests: Digests,
        byte_code: HashMap<u64, KnownByteCode>,
    ) -> Member {
        let mut attached = self
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        attached.push(Attached {
            file: Arc::new(file),
            digests: Arc::new(digests),
            byte_code: Arc::new(byte_code),
        });
        Member::Attached(attached.len() - 1)
    }

    /// Closes the attached files. Their parts can no longer be read.
    pub(crate) fn detach(&self) {
        let mut attached = self
            .attached
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        attached.clear();
    }

    /// Returns the attached files in the order of their numbers.
    pub(crate) fn attached(&self) -> Vec<Attached> {
        let attached = self.attached.read();
        attached.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the file with the contents of a part, which are compared with their digests.
    fn file_of(&self, part: Part) -> std::io::Result<Arc<fs_err::File>> {
        let Member::Attached(number) = part.file else {
            return Ok(Arc::clone(&self.file));
        };
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let attached = attached.get(number).cloned().ok_or_else(missing)?;
        attached.compare(part.offset, &|| false)?;
        Ok(attached.file)
    }

    /// Gives the file another path.
    pub(crate) fn rename(&self, to: &Path) -> Result<(), Error> {
        let mut path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        fs_err::rename(&*path, to).map_err(Error::io("rename", &*path))?;
        to.clone_into(&mut path);
        Ok(())
    }

    /// Returns the position behind all contents.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Returns the open file.
    pub(crate) fn file(&self) -> &Arc<fs_err::File> {
        &self.file
    }

    /// Reserves room for the contents of a file.
    pub(crate) fn reserve(&self, bytes: u64) -> std::io::Result<Part> {
        let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        let reserved = self
            .end
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |end| {
                end.checked_add(bytes).filter(|end| *end <= END_MAX)
            });
        let offset = reserved.map_err(|_| too_large())?;
        Ok(Part {
            file: Member::Own,
            offset,
            bytes,
            head: None,
        })
    }

    /// Writes into a reserved part. Attached files are not written to.
    pub(crate) fn write(&self, part: Part, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        if part.file != Member::Own {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        self.file.file().write_all_at(bytes, part.offset + at)
    }

    /// Appends bytes to the spool, as a part of their own.
    pub(crate) fn append(&self, bytes: &[u8]) -> std::io::Result<Part> {
        let part = self.reserve(bytes.len() as u64)?;
        self.write(part, 0, bytes)?;
        Ok(part)
    }

    /// Copies the first `bytes` of a file behind all contents. Returns their part. `stopped` is
    /// asked between pieces.
    pub(crate) fn copy_in(
        &self,
        from: &fs_err::File,
        bytes: u64,
        stopped: &dyn Fn() -> bool,
    ) -> std::io::Result<Part> {
        let part = self.reserve(bytes)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < bytes {
            if stopped() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let length = buffer
                .len()
                .min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
            from.file().read_exact_at(&mut buffer[..length], at)?;
            self.write(part, at, &buffer[..length])?;
            at += length as u64;
        }
        Ok(part)
    }

    /// Reads a whole part into memory.
    pub(crate) fn read(&self, part: Part) -> std::io::Result<Vec<u8>> {
        let length = usize::try_from(part.bytes).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let file = self.file_of(part)?;
        file.file().read_exact_at(&mut bytes, part.offset)?;
        put_head(part, 0, &mut bytes);
        Ok(bytes)
    }

    /// Fills the buffer with the first bytes of a part. Returns false if the part is shorter.
    pub(crate) fn read_head(&self, part: Part, buffer: &mut [u8]) -> std::io::Result<bool> {
        if part.bytes < buffer.len() as u64 {
            return Ok(false);
        }
        let file = self.file_of(part)?;
        file.file().read_exact_at(buffer, part.offset)?;
        put_head(part, 0, buffer);
        Ok(true)
    }

    /// Returns a reader of a part.
    pub(crate) fn reader(&self, part: Part) -> PartReader<'_> {
        PartReader {
            spool: self,
            part,
            at: 0,
        }
    }
}

/// Puts the first bytes of a part into what was read from position `at` on.
fn put_head(part: Part, at: u64, read: &mut [u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let replaced = part.head.as_ref().and_then(|head| head.get(at..));
    for (byte, other) in read.iter_mut().zip(replaced.unwrap_or_default()) {
        *byte = *other;
    }
}

/// Reads one part of the spool from its start to its end.
pub(crate) struct PartReader<'a> {
    spool: &'a Spool,
    part: Part,
    at: u64,
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = usize::try_from(self.part.bytes - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(rest);
        let file = self.spool.file_of(self.part)?;
        let read = file
            .file()
            .read_at(&mut buffer[..wanted], self.part.offset + self.at)?;
        if read == 0 && wanted > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        put_head(self.part, self.at, &mut buffer[..read]);
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_of_several_threads_stay_apart_and_need_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::create(dir.path()).unwrap();
        spool.rename(&dir.path().join("other")).unwrap();
        spool.rename(&dir.path().join("last")).unwrap();
        fs_err::remove_file(dir.path().join("last")).unwrap();
        let parts: Vec<_> = std::thread::scope(|scope| {
            let write = |byte: u8| {
                let spool = &spool;
                scope.spawn(move || (byte, spool.append(&[byte; 1000]).unwrap()))
            };
            let writers: Vec<_> = (0..8).map(write).collect();
            writers.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (byte, part) in parts {
            assert!(part.offset >= HEAD_BYTES && part.offset + 1000 <= spool.end());
            assert_eq!(spool.read(part).unwrap(), vec![byte; 1000]);
            assert!(!spool.read_head(part, &mut [0; 1001]).unwrap());
        }
        assert_eq!(spool.append(b"").unwrap().bytes, 0);
        assert!(spool.reserve(u64::MAX).is_err() && spool.reserve(END_MAX).is_err());
        assert!(
            spool.read(spool.reserve(1).unwrap()).is_err(),
            "not written"
        );
    }
}
