//! Responsible for reading the content of an open file from any position, whatever its source is.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::Error;
use crate::reader::{Layout, Recent};
use crate::source::{DiskFile, FileRange, ImageFile};

/// Content of a file, open for reading.
pub(crate) enum Content<'a> {
    Disk(&'a DiskFile, Arc<File>),
    Bytes(&'a [u8]),
    Range(&'a FileRange),
    Image {
        image: &'a ImageFile,
        layout: Arc<Layout>,
        recent: RefCell<Recent>,
    },
}

impl<'a> Content<'a> {
    pub(crate) fn image(image: &'a ImageFile, layout: Arc<Layout>) -> Content<'a> {
        let recent = RefCell::default();
        Content::Image {
            image,
            layout,
            recent,
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
                recent,
            } => {
                let reader = image.reader();
                reader.read_at(layout, &mut recent.borrow_mut(), buffer, at)?;
                Ok(buffer)
            }
        }
    }

    pub(crate) fn check_unchanged(&self, size: u64) -> Result<(), Error> {
        match self {
            Content::Disk(disk, file) => disk.check_unchanged(file, size),
            Content::Bytes(_) | Content::Range(_) | Content::Image { .. } => Ok(()),
        }
    }
}
