//! Responsible for reading the contents of files of a tree before it is packed.

use std::io::{Error as IoError, ErrorKind, Read, Seek, SeekFrom};

use super::{Entry, Kind};
use crate::Error;
use crate::block_digests::BlockDigests;
use crate::content::Content;
use crate::source::LastDirectory;

/// Contents of a file of a tree, open for reading.
pub struct EntryReader<'a> {
    content: Content<'a>,
    bytes: u64,
    at: u64,
    /// Last block that was compared with its digest, and its position.
    block: Vec<u8>,
    block_at: Option<u64>,
}

impl EntryReader<'_> {
    /// Reads from the block at the present position if its digest is known, with which it is
    /// compared. Returns `None` if there is none.
    fn read_compared(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        let size = BlockDigests::BLOCK_BYTES;
        let within = (self.at % size as u64) as usize;
        let start = self.at - within as u64;
        if self.content.digest(start, size, self.bytes).is_none() {
            return Ok(None);
        }
        if self.block_at != Some(start) {
            self.block.resize(size, 0);
            self.block_at = None;
            self.content
                .read_block(&mut self.block, start, self.bytes)?;
            self.block_at = Some(start);
        }
        let read = buffer.len().min(size - within);
        buffer[..read].copy_from_slice(&self.block[within..within + read]);
        Ok(Some(read))
    }
}

impl std::fmt::Debug for EntryReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.at, self.bytes)
    }
}

impl Entry {
    /// Opens the contents of a regular file. Returns `None` for any other entry.
    ///
    /// # Errors Returns [`Error::Io`] if the file cannot be opened, and [`Error::Changed`] if it is
    /// no longer there.
    pub fn open(&self) -> Result<Option<EntryReader<'_>>, Error> {
        let Kind::File { size, source } = &self.kind else {
            return Ok(None);
        };
        Ok(Some(EntryReader {
            content: Content::open(source, &mut LastDirectory::default())?,
            bytes: *size,
            at: 0,
            block: Vec::new(),
            block_at: None,
        }))
    }
}

impl Read for EntryReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = usize::try_from(self.bytes.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(rest);
        let compared = self.read_compared(&mut buffer[..wanted]);
        if let Some(read) = compared.map_err(IoError::other)? {
            self.at += read as u64;
            return Ok(read);
        }
        if let Content::Bytes(bytes) = &self.content {
            let from = usize::try_from(self.at)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            buffer[..wanted].copy_from_slice(&bytes[from..from + wanted]);
        } else {
            let read = self.content.read(&mut buffer[..wanted], self.at);
            read.map_err(IoError::other)?;
        }
        self.at += wanted as u64;
        Ok(wanted)
    }
}

impl Seek for EntryReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{FileRange, Source, Tree};

    #[test]
    fn contents_are_read_from_any_source() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("spool"), "..in a spool, and more text").unwrap();
        fs_err::create_dir(dir.path().join("tree")).unwrap();
        fs_err::write(dir.path().join("tree/disk"), "on disk").unwrap();
        let mut tree =
            Tree::scan(&dir.path().join("tree"), &crate::ScanOptions::default()).unwrap();
        tree.add_bytes("memory", *b"in memory", 0o644).unwrap();
        let spool = fs_err::File::open(dir.path().join("spool")).unwrap();
        let spool = std::sync::Arc::new(spool);
        let range = Source::Range(FileRange::new(std::sync::Arc::clone(&spool), 2));
        let entry = Entry {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            links: 1,
            kind: Kind::File {
                size: 10,
                source: range,
            },
        };
        tree.add_entry("range", entry.clone()).unwrap();
        let head = FileRange::new(spool, 2).with_head(Some(*b"another head of "));
        let kind = Kind::File {
            size: 25,
            source: Source::Range(head),
        };
        tree.add_entry("head", Entry { kind, ..entry }).unwrap();
        for (path, expected) in [
            ("disk", "on disk"),
            ("memory", "in memory"),
            ("range", "in a spool"),
            ("head", "another head of more text"),
        ] {
            let mut reader = tree.entry_at(path).unwrap().open().unwrap().unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
            assert_eq!(
                reader.seek(SeekFrom::End(-2)).unwrap(),
                text.len() as u64 - 2
            );
            let mut end = String::new();
            reader.read_to_string(&mut end).unwrap();
            assert_eq!(end, expected[expected.len() - 2..]);
        }
        assert!(tree.entry_at("").unwrap().open().unwrap().is_none());
    }
}
