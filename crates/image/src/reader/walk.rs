//! Responsible for visiting every entry of an image once, even if directories refer to each other
//! in a cycle.

use std::collections::HashSet;
use std::path::PathBuf;

use super::Reader;
use super::directory::Entries;
use super::metadata::METADATA_LEN;
use super::node::{Body, Node, bytes_at_most};
use crate::Error;

/// Maximum length of a path in a walk, in bytes: eight times the longest path that the kernel
/// accepts in one call. No installation has a deeper tree, and the memory for its paths would grow
/// with the square of the depth.
const PATH_LEN_MAX: usize = 32 << 10;

/// Iterator over all paths below the root: a depth-first walk with names in ascending order and
/// directories before their entries. Paths are relative to the root, and the root itself is not
/// included.
#[derive(Debug)]
pub struct Walk<'r> {
    reader: &'r Reader,
    open: Vec<Entries<'r>>,
    path: PathBuf,
    /// Whether the last component of `path` is the entry that was returned last, rather than the
    /// directory being read.
    at_entry: bool,
    /// References of the directories that were entered.
    entered: HashSet<u64>,
    /// Metadata blocks of the listings that were read, and the number of bytes read from them.
    listing_blocks: HashSet<u64>,
    listing_bytes: u64,
    /// Size of all lists of file blocks in bytes, and the counted files with several names.
    list_bytes: u64,
    linked: HashSet<u64>,
}

impl<'r> Walk<'r> {
    pub(super) fn new(reader: &'r Reader) -> Result<Walk<'r>, Error> {
        let mut walk = Walk {
            reader,
            open: Vec::new(),
            path: PathBuf::new(),
            at_entry: false,
            entered: HashSet::from([reader.superblock.root]),
            listing_blocks: HashSet::new(),
            listing_bytes: 0,
            list_bytes: 0,
            linked: HashSet::new(),
        };
        walk.enter(&reader.root()?);
        Ok(walk)
    }

    fn enter(&mut self, directory: &Node) {
        if let Body::Directory { listing, .. } = directory.body {
            self.listing_blocks.insert(listing.block);
        }
        self.open.push(self.reader.entries(directory));
    }

    /// Counts the list of a file's blocks. The lists are in the inode table, so together they
    /// cannot be longer than that table. Without this check, a few bytes could be the lists of
    /// thousands of files.
    fn count_list(&mut self, node: &Node, reference: u64) -> Result<(), Error> {
        let blocks = node.listed_blocks();
        if blocks == 0 || (node.nlink > 1 && !self.linked.insert(reference)) {
            return Ok(());
        }
        self.list_bytes += 4 * blocks;
        let superblock = &self.reader.superblock;
        let max = bytes_at_most(superblock.directory_table - superblock.inode_table);
        if self.list_bytes > max {
            return Err(self.reader.corrupt("its inodes overlap"));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(PathBuf, Node)>, Error> {
        while let Some(entries) = self.open.last_mut() {
            if self.at_entry {
                self.path.pop();
                self.at_entry = false;
            }
            let left = entries.bytes_left();
            let Some(entry) = entries.next().transpose()? else {
                self.open.pop();
                self.at_entry = true;
                continue;
            };
            // Each listing is read once, so all listings together cannot be longer than the blocks
            // they were read from. Without this check, thousands of directories could share one
            // listing of thousands of names.
            self.listing_blocks.insert(entries.block());
            self.listing_bytes += u64::from(left - entries.bytes_left());
            if self.listing_bytes > (self.listing_blocks.len() * METADATA_LEN) as u64 {
                return Err(self.reader.corrupt("its directories overlap"));
            }
            self.path.push(&entry.name);
            self.at_entry = true;
            if self.path.as_os_str().len() > PATH_LEN_MAX {
                return Err(self.reader.corrupt("its directories are nested too deeply"));
            }
            let node = self.reader.node(&entry)?;
            self.count_list(&node, entry.reference)?;
            if node.is_directory() {
                // A walk through a directory that contains itself would never end.
                if !self.entered.insert(entry.reference) {
                    return Err(self.reader.corrupt(format!(
                        "the directory `{}` has more than one place",
                        self.path.display()
                    )));
                }
                self.enter(&node);
                self.at_entry = false;
            }
            return Ok(Some((self.path.clone(), node)));
        }
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(PathBuf, Node), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.open.clear();
        }
        step.transpose()
    }
}
