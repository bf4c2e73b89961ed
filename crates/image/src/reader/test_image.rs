//! Images written by hand, for tests of images that must be refused.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;

pub(crate) const DIRECTORY: u16 = 1;
pub(crate) const FILE: u16 = 2;
pub(crate) const SYMLINK: u16 = 3;
pub(crate) const FIFO: u16 = 6;

/// Image written by hand, so that it can be invalid in one place and valid in all others. Nothing
/// is compressed.
#[derive(Default)]
pub(crate) struct ImageBuilder {
    pub(crate) data: Vec<u8>,
    pub(crate) inodes: Vec<u8>,
    pub(crate) listings: Vec<u8>,
    pub(crate) fragments: Vec<(u64, u32)>,
    pub(crate) root: usize,
    /// Number of inodes so far, which is also the number of the last inode.
    pub(crate) count: u32,
    /// Changes that are applied to the superblock at the end: offset and new bytes.
    pub(crate) patches: Vec<(usize, Vec<u8>)>,
}

/// Name, type of the entry in the directory, and position of the inode.
pub(crate) type Name<'a> = (&'a [u8], u16, usize);

impl ImageBuilder {
    /// Adds an inode and returns its position.
    pub(crate) fn inode(&mut self, kind: u16, fields: &[&[u8]]) -> usize {
        let at = self.inodes.len();
        for field in [kind, 0o644, 0, 0] {
            self.inodes.extend(field.to_le_bytes());
        }
        self.inodes.extend(1_700_000_000_u32.to_le_bytes());
        self.count += 1;
        self.inodes.extend(self.count.to_le_bytes());
        for field in fields {
            self.inodes.extend_from_slice(field);
        }
        at
    }

    pub(crate) fn directory_at(&mut self, listing: usize, len: usize) -> usize {
        let (block, offset) = split(listing);
        let len = len as u16 + 3;
        self.inode(
            DIRECTORY,
            &[
                &(block as u32).to_le_bytes(),
                &2_u32.to_le_bytes(),
                &len.to_le_bytes(),
                &offset.to_le_bytes(),
                &1_u32.to_le_bytes(),
            ],
        )
    }

    pub(crate) fn listing(&mut self, names: &[Name<'_>]) -> (usize, usize) {
        let start = self.listings.len();
        for &(name, kind, inode) in names {
            let (block, offset) = split(inode);
            self.listings.extend([0; 4]);
            self.listings.extend((block as u32).to_le_bytes());
            self.listings.extend([0; 4]);
            for field in [offset, 0, kind, name.len() as u16 - 1] {
                self.listings.extend(field.to_le_bytes());
            }
            self.listings.extend_from_slice(name);
        }
        (start, self.listings.len() - start)
    }

    pub(crate) fn directory(&mut self, names: &[Name<'_>]) -> usize {
        let (listing, len) = self.listing(names);
        self.directory_at(listing, len)
    }

    pub(crate) fn file(
        &mut self,
        start: u32,
        fragment: (u32, u32),
        len: u32,
        sizes: &[u32],
    ) -> usize {
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        self.inode(
            FILE,
            &[
                &start.to_le_bytes(),
                &fragment.0.to_le_bytes(),
                &fragment.1.to_le_bytes(),
                &len.to_le_bytes(),
                &sizes,
            ],
        )
    }

    pub(crate) fn symlink(&mut self, target: &[u8]) -> usize {
        let len = target.len() as u32;
        self.inode(SYMLINK, &[&1_u32.to_le_bytes(), &len.to_le_bytes(), target])
    }

    pub(crate) fn root(mut self, names: &[Name<'_>]) -> ImageBuilder {
        self.root = self.directory(names);
        self
    }

    pub(crate) fn patch(mut self, at: usize, bytes: &[u8]) -> ImageBuilder {
        self.patches.push((at, bytes.to_vec()));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut image = vec![0; Superblock::LEN];
        image.extend_from_slice(&self.data);
        let inode_table = image.len() as u64;
        extend_metadata(&mut image, &self.inodes);
        let directory_table = image.len() as u64;
        extend_metadata(&mut image, &self.listings);
        let mut fragments = Vec::new();
        for (at, size) in &self.fragments {
            fragments.extend(at.to_le_bytes());
            fragments.extend(size.to_le_bytes());
            fragments.extend([0; 4]);
        }
        let at = extend_metadata(&mut image, &fragments);
        let fragment_table = image.len() as u64;
        image.extend(at.to_le_bytes());
        let at = extend_metadata(&mut image, &0_u32.to_le_bytes());
        let id_table = image.len() as u64;
        image.extend(at.to_le_bytes());

        let mut head = Vec::new();
        head.extend(*b"hsqs");
        for field in [self.count, 0, 4096, self.fragments.len() as u32] {
            head.extend(field.to_le_bytes());
        }
        for field in [1_u16, 12, 0, 1, 4, 0] {
            head.extend(field.to_le_bytes());
        }
        let (block, offset) = split(self.root);
        let fields = [
            block << 16 | u64::from(offset),
            image.len() as u64,
            id_table,
            u64::MAX,
            inode_table,
            directory_table,
            fragment_table,
            u64::MAX,
        ];
        for field in fields {
            head.extend(field.to_le_bytes());
        }
        image[..Superblock::LEN].copy_from_slice(&head);
        for (at, bytes) in &self.patches {
            image[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    pub(crate) fn open(&self) -> Result<Reader, Error> {
        open(&self.bytes())
    }
}

/// Returns the size field of a block that is stored without compression.
pub(crate) fn stored(len: u32) -> u32 {
    len | 1 << 24
}

/// Returns the place of byte `at` of a table: the start of its block in the table, and the offset
/// in the block.
pub(crate) fn split(at: usize) -> (u64, u16) {
    let block = at / METADATA_LEN * (METADATA_LEN + 2);
    (block as u64, (at % METADATA_LEN) as u16)
}

/// Appends metadata blocks without compression and returns the position of the first.
pub(crate) fn extend_metadata(image: &mut Vec<u8>, table: &[u8]) -> u64 {
    let start = image.len() as u64;
    for block in table.chunks(METADATA_LEN) {
        image.extend((block.len() as u16 | 1 << 15).to_le_bytes());
        image.extend_from_slice(block);
    }
    start
}

pub(crate) fn open(bytes: &[u8]) -> Result<Reader, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Reader::open_raw(file.path())
}
