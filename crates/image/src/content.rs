//! Responsible for reading the content of an open file from any position, whatever its source is.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::Error;
use crate::block_digests::KnownDigest;
use crate::digest::BlockDigest;
use crate::reader::{LastBlock, Layout};
use crate::source::{DiskFile, FileRange, ImageFile, LastDirectory, Source};

/// Content of a file, open for reading.
pub(crate) enum Content<'a> {
    Disk(&'a DiskFile, Arc<File>),
    Bytes(&'a [u8]),
    Range(&'a FileRange),
    Image {
        image: &'a ImageFile,
        layout: Arc<Layout>,
        last_block: RefCell<LastBlock>,
    },
}

impl<'a> Content<'a> {
    /// Opens a source for reading.
    pub(crate) fn open(
        source: &'a Source,
        last_directory: &mut LastDirectory,
    ) -> Result<Content<'a>, Error> {
        Ok(match source {
            Source::Disk(disk) => Content::Disk(disk, Arc::new(disk.open(last_directory)?)),
            Source::Bytes(bytes) => Content::Bytes(bytes),
            Source::Range(range) => Content::Range(range),
            Source::Image(image) => Content::Image {
                image,
                layout: Arc::new(image.layout()?),
                last_block: RefCell::default(),
            },
        })
    }

    /// Returns another handle of the same open content, for use by another thread.
    pub(crate) fn share(&self) -> Content<'a> {
        match self {
            Content::Disk(disk, file) => Content::Disk(disk, file.clone()),
            Content::Bytes(bytes) => Content::Bytes(bytes),
            Content::Range(range) => Content::Range(range),
            Content::Image { image, layout, .. } => Content::Image {
                image,
                layout: layout.clone(),
                last_block: RefCell::default(),
            },
        }
    }

    /// Reads as many bytes as fit into the buffer. The returned slice is the buffer, or the
    /// source's own memory.
    pub(crate) fn read<'b>(&'b self, buffer: &'b mut [u8], at: u64) -> Result<&'b [u8], Error> {
        match self {
            Content::Disk(disk, file) => {
                file.read_exact_at(buffer, at)
                    .map_err(|error| disk.read_failed(error))?;
                Ok(buffer)
            }
            Content::Bytes(bytes) => Ok(&bytes[at as usize..at as usize + buffer.len()]),
            Content::Range(range) => {
                range.read_exact(buffer, at)?;
                Ok(buffer)
            }
            Content::Image {
                image,
                layout,
                last_block,
            } => {
                let reader = image.reader();
                reader.read_at(layout, &mut last_block.borrow_mut(), buffer, at)?;
                Ok(buffer)
            }
        }
    }

    /// Returns the digest of the block at `at` of a file of `size` bytes, if it is known for blocks
    /// of `block_bytes`.
    pub(crate) fn digest(&self, at: u64, block_bytes: usize, size: u64) -> Option<KnownDigest<'_>> {
        match self {
            Content::Range(range) if at + block_bytes as u64 <= size => {
                range.digest(at, block_bytes)
            }
            _ => None,
        }
    }

    /// Reads a block of a file of `size` bytes like [`Self::read`], and compares it with its digest
    /// if that is known.
    pub(crate) fn read_block<'b>(
        &'b self,
        buffer: &'b mut [u8],
        at: u64,
        size: u64,
    ) -> Result<&'b [u8], Error> {
        let known = self.digest(at, buffer.len(), size);
        let bytes = self.read(buffer, at)?;
        match (self, known) {
            (Content::Range(range), Some(known))
                if known.content() != BlockDigest::compute(bytes) =>
            {
                Err(range.damaged())
            }
            _ => Ok(bytes),
        }
    }

    /// Returns an error if a file on disk is no longer the one that the scan saw.
    pub(crate) fn check_unchanged(&self, size: u64) -> Result<(), Error> {
        match self {
            Content::Disk(disk, file) => disk.check_unchanged(file, size),
            Content::Bytes(_) | Content::Range(_) | Content::Image { .. } => Ok(()),
        }
    }
}
