//! Responsible for reading the bytes of an image as a part of a file. No byte outside of that part
//! can be read.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// Part of a file that holds an image. Each read has its own position, so threads can share the
/// window.
#[derive(Debug)]
pub(crate) struct Window {
    path: PathBuf,
    file: fs_err::File,
    offset: u64,
    len: u64,
}

impl Window {
    /// Opens `len` bytes from `offset` on, or the whole rest of the file.
    pub(super) fn open(path: &Path, offset: u64, len: Option<u64>) -> Result<Window, Error> {
        let file = condense_input::open(path).map_err(Error::io("open", path))?;
        Self::of(file, path, offset, len)
    }

    /// Takes `len` bytes from `offset` on of an open file, or its whole rest.
    pub(super) fn of(
        file: fs_err::File,
        path: &Path,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Window, Error> {
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(Error::io("read", path)(source));
        }
        let rest = metadata.len().saturating_sub(offset);
        let len = len.unwrap_or(rest);
        if len > rest {
            return Err(Error::Truncated {
                path: path.to_owned(),
                expected: offset.saturating_add(len),
                found: metadata.len(),
            });
        }
        Ok(Window {
            path: path.to_owned(),
            file,
            offset,
            len,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Shortens the window to the bytes that the image says it has.
    pub(super) fn shorten(&mut self, len: u64) -> Result<(), Error> {
        if len > self.len {
            return Err(Error::Truncated {
                path: self.path.clone(),
                expected: self.offset.saturating_add(len),
                found: self.offset.saturating_add(self.len),
            });
        }
        self.len = len;
        Ok(())
    }

    /// Returns the file and the start of the window in it, in bytes.
    pub(crate) fn file(&self) -> (&fs_err::File, u64) {
        (&self.file, self.offset)
    }

    /// Fills `buffer` from position `at` on, relative to the start of the window.
    pub(crate) fn read_exact(&self, buffer: &mut [u8], at: u64) -> Result<(), Error> {
        let inside = at
            .checked_add(buffer.len() as u64)
            .is_some_and(|end| end <= self.len);
        if !inside {
            return Err(self.corrupt(format!(
                "{} bytes at {at} lie outside of the image",
                buffer.len()
            )));
        }
        self.file
            .file()
            .read_exact_at(buffer, self.offset + at)
            .map_err(Error::io("read", &self.path))
    }

    /// Returns the error for an inconsistency in the image.
    pub(super) fn corrupt(&self, problem: impl Into<String>) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            problem: problem.into(),
        }
    }
}
