//! Responsible for visiting all that an image holds, once, however it refers to itself.

use std::collections::HashSet;
use std::path::PathBuf;

use super::Reader;
use super::directory::Entries;
use super::node::{Body, Node, bytes_at_most};
use crate::Error;

/// The longest path that is walked, in bytes: eight times what the kernel takes at once. A deeper tree is no
/// installation, and its paths would cost memory that grows with the square of its depth.
const PATH_LEN_MAX: usize = 32 << 10;

/// Iterates over all paths below the root in the order of a depth-first walk, names ascending, directories before what
/// they hold. Paths are relative to the root, which is not among them.
#[derive(Debug)]
pub struct Walk<'r> {
    reader: &'r Reader,
    open: Vec<Entries<'r>>,
    path: PathBuf,
    /// Whether the path's last component is the entry that came last, rather than the directory being read.
    at_entry: bool,
    visited: HashSet<u64>,
    listing_bytes_left: u64,
}

impl<'r> Walk<'r> {
    pub(super) fn new(reader: &'r Reader) -> Result<Walk<'r>, Error> {
        let table = &reader.superblock;
        let mut walk = Walk {
            reader,
            open: Vec::new(),
            path: PathBuf::new(),
            at_entry: false,
            visited: HashSet::from([table.root]),
            listing_bytes_left: bytes_at_most(table.directory_table_end - table.directory_table),
        };
        let root = reader.root()?;
        walk.enter(&root)?;
        Ok(walk)
    }

    /// Each directory is entered once and all of them together list no more than the table can hold: a directory that
    /// holds itself, or thousands that share one listing, would otherwise be walked without end.
    fn enter(&mut self, directory: &Node) -> Result<(), Error> {
        if let Body::Directory { listing_len, .. } = directory.body {
            self.listing_bytes_left = self
                .listing_bytes_left
                .checked_sub(u64::from(listing_len))
                .ok_or_else(|| self.reader.corrupt("its directories overlap"))?;
        }
        self.open.push(self.reader.entries(directory));
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(PathBuf, Node)>, Error> {
        while let Some(entries) = self.open.last_mut() {
            if self.at_entry {
                self.path.pop();
                self.at_entry = false;
            }
            let Some(entry) = entries.next().transpose()? else {
                self.open.pop();
                self.at_entry = true;
                continue;
            };
            self.path.push(&entry.name);
            self.at_entry = true;
            if self.path.as_os_str().len() > PATH_LEN_MAX {
                return Err(self.reader.corrupt("its directories are nested too deeply"));
            }
            let node = self.reader.node(&entry)?;
            if node.is_directory() {
                if !self.visited.insert(entry.reference) {
                    return Err(self.reader.corrupt(format!(
                        "the directory `{}` has more than one place",
                        self.path.display()
                    )));
                }
                self.enter(&node)?;
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
