//! Responsible for writing the image file: from front to back, with the superblock last. The file
//! is removed if anything fails.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::Error;

/// Size of the write buffer in bytes. Network file systems are fastest with few and large writes.
const BUFFER_BYTES: usize = 4 << 20;
/// Maximum number of bytes that one call asks the kernel to copy, so that progress is reported and
/// a cancellation is noticed in time.
const COPY_BYTES: u64 = 64 << 20;
/// Alignment of the end of an image in bytes. The loop device of the kernel requires whole pages.
const ALIGNMENT: u64 = 4096;

/// Image file that is being written. A file created by [`Output::create`] is removed if the value
/// is dropped before [`Output::finish`].
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Start of the image in the file, in bytes.
    offset: u64,
    /// Position of the next byte, relative to `offset`.
    position: u64,
    keep: bool,
}

impl Output {
    /// Creates the file, which must not exist yet.
    pub(crate) fn create(path: &Path) -> Result<Output, Error> {
        let file =
            condense_publish::create_image(path, 0o666).map_err(Error::io("create", path))?;
        Ok(Output {
            path: path.to_owned(),
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            offset: 0,
            position: 0,
            keep: false,
        })
    }

    /// Writes the image into an existing file, from `offset` on. If anything fails, the file stays,
    /// with what was written.
    pub(crate) fn within(path: &Path, offset: u64) -> Result<Output, Error> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(Error::io("write", path))?;
        Ok(Output {
            path: path.to_owned(),
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            offset,
            position: 0,
            keep: true,
        })
    }

    /// Writes the rest of an image whose first part is in an open file already, from `position` on.
    /// If anything fails, the file stays, with what was written.
    pub(crate) fn behind(file: &fs_err::File, position: u64) -> Result<Output, Error> {
        let path = file.path();
        let mut file = file.file().try_clone().map_err(Error::io("open", path))?;
        file.seek(SeekFrom::Start(position))
            .map_err(Error::io("write", path))?;
        Ok(Output {
            path: path.to_owned(),
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            offset: 0,
            position,
            keep: true,
        })
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the position of the next byte, relative to the start of the image.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Reserves the next `length` bytes of the image. They are written through the returned value.
    pub(crate) fn reserve(&mut self, length: u64) -> Result<ReservedRange, Error> {
        self.flush()?;
        let at = self.offset + self.position;
        self.position += length;
        self.file
            .seek(SeekFrom::Start(at + length))
            .map_err(Error::io("write", &self.path))?;
        Ok(ReservedRange {
            path: self.path.clone(),
            file: self
                .file
                .try_clone()
                .map_err(Error::io("open", &self.path))?,
            at,
            left: length,
        })
    }

    /// Writes bytes at a position that was written before, relative to the start of the image.
    pub(crate) fn replace(&mut self, position: u64, bytes: &[u8]) -> Result<(), Error> {
        self.flush()?;
        self.file
            .write_all_at(bytes, self.offset + position)
            .map_err(Error::io("write", &self.path))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file
            .write_all(&self.buffer)
            .map_err(Error::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }

    /// Pads the file and writes the superblock at the front. Returns the size of the image in
    /// bytes.
    pub(crate) fn finish(mut self, superblock: &[u8]) -> Result<u64, Error> {
        let padding = self.position.next_multiple_of(ALIGNMENT) - self.position;
        self.write(&vec![0; padding as usize])?;
        self.flush()?;
        self.file
            .write_all_at(superblock, self.offset)
            .map_err(Error::io("write", &self.path))?;
        self.keep = true;
        Ok(self.position)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.keep {
            // Packing that was stopped leaves what it has recorded.
            let _ = self.flush();
        } else {
            // The caller gets the error that led to this drop. An error of removing the file would
            // only hide it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Reserved part of the image file, which is filled front to back while the rest is written.
#[derive(Debug)]
pub(crate) struct ReservedRange {
    path: PathBuf,
    file: File,
    /// Position of the next byte, relative to the start of the file.
    at: u64,
    left: u64,
}

impl ReservedRange {
    /// Copies a part of another file. If the file systems support it, the kernel copies or shares
    /// the bytes without passing them through this process. `copied` receives the number of bytes
    /// copied since its last call, and an error that it returns ends the copy.
    pub(crate) fn copy_from(
        &mut self,
        from: &fs_err::File,
        mut at: u64,
        mut length: u64,
        mut copied: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        assert!(length <= self.left, "what is behind it is not ours");
        let mut by_kernel = true;
        let mut buffer = Vec::new();
        while length > 0 {
            // File systems share whole blocks only, so the bytes up to the first block boundary are
            // copied separately.
            let to_boundary = self.at.next_multiple_of(ALIGNMENT) - self.at;
            let step = if by_kernel && to_boundary > 0 && self.at % ALIGNMENT == at % ALIGNMENT {
                to_boundary
            } else if by_kernel {
                COPY_BYTES
            } else {
                BUFFER_BYTES as u64
            };
            let step = step.min(length) as usize;
            let done = if by_kernel {
                let (mut source, mut target) = (at, self.at);
                match rustix::fs::copy_file_range(
                    from.file(),
                    Some(&mut source),
                    &self.file,
                    Some(&mut target),
                    step,
                ) {
                    // The call fails between some file systems and at some ends of a file. A real
                    // error will appear again when this process reads and writes the bytes itself.
                    Ok(0) | Err(_) => {
                        by_kernel = false;
                        continue;
                    }
                    Ok(done) => done,
                }
            } else {
                buffer.resize(step, 0);
                from.file()
                    .read_exact_at(&mut buffer, at)
                    .map_err(Error::io("read", from.path()))?;
                self.file
                    .write_all_at(&buffer, self.at)
                    .map_err(Error::io("write", &self.path))?;
                step
            };
            let done = done as u64;
            at += done;
            length -= done;
            self.at += done;
            self.left -= done;
            copied(done)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn copied(from: &fs_err::File, at: u64, length: u64) -> Vec<u8> {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("o");
        let mut output = Output::create(&path).unwrap();
        output.write(b"before").unwrap();
        let mut reported = 0;
        let mut reserved = output.reserve(length).unwrap();
        output.write(b"behind").unwrap();
        reserved
            .copy_from(from, at, length, |bytes| {
                reported += bytes;
                Ok(())
            })
            .unwrap();
        assert_eq!((reported, output.position()), (length, 12 + length));
        output.finish(b"BEFORE").unwrap();
        let bytes = fs_err::read(path).unwrap();
        let end = 12 + length as usize;
        assert_eq!(
            (&bytes[..6], &bytes[end - 6..end]),
            (&b"BEFORE"[..], &b"behind"[..])
        );
        bytes[6..end - 6].to_vec()
    }

    #[test]
    fn parts_of_files_are_copied_wherever_they_begin() {
        let scratch = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..9_000_000_u32).map(|at| (at >> 7) as u8).collect();
        fs_err::write(scratch.path().join("from"), &bytes).unwrap();
        let from = fs_err::File::open(scratch.path().join("from")).unwrap();
        for (at, length) in [
            (0, 1),
            (6, 8_999_994),
            (4102, 100_000),
            (4103, 10_000),
            (5, 0),
        ] {
            let part = &bytes[at as usize..(at + length) as usize];
            assert!(copied(&from, at, length) == part, "{length} from {at}");
        }
        let output = Output::create(&scratch.path().join("short"));
        let mut reserved = output.unwrap().reserve(2).unwrap();
        let short = reserved.copy_from(&from, 8_999_999, 2, |_| Ok(()));
        assert!(matches!(short, Err(Error::Io { action: "read", .. })));
    }

    /// The kernel does not copy from files in `/proc` by itself.
    #[test]
    fn what_the_kernel_does_not_copy_is_read_and_written() {
        let from = fs_err::File::open("/proc/version").unwrap();
        let bytes = fs_err::read("/proc/version").unwrap();
        assert_eq!(copied(&from, 3, bytes.len() as u64 - 3), bytes[3..]);
    }
}
