//! Responsible for checking an image: whether its tables fit each other, and whether every block
//! decompresses.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::format::STORED;
use crate::reader::{Node, NodeKind};
use crate::{Error, Reader, threads};

/// Number of blocks that a worker takes at once.
const BLOCKS_AT_A_TIME: usize = 16;
/// Maximum number of bytes of all distinct extended attributes in an image. Real images have some
/// kilobytes of them. Without a bound, a few bytes could be the attributes of millions of files,
/// and all of those attributes would be read.
const XATTR_BYTES_MAX: usize = 1 << 30;

/// Options of a check.
#[derive(Clone, Default)]
pub struct CheckOptions {
    /// Number of workers. `None` means one for each core.
    pub threads: Option<NonZeroUsize>,
    /// Progress callback. It receives the number of bytes of blocks in the image that were read
    /// since its last call.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// Cancel flag. Once it is true, the check ends with [`Error::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
}

impl std::fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckOptions")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Counts of what a check found in a valid image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Number of inodes: files, directories and other entries. Hard links count once.
    pub inodes: u64,
    /// Number of names, without the root.
    pub names: u64,
    /// Number of blocks of files and of fragments. A shared block counts once.
    pub blocks: u64,
    /// Size of these blocks in the image, in bytes.
    pub stored_bytes: u64,
}

/// Reads a whole image and checks its tables against each other.
///
/// # Errors
/// Returns [`Error::Corrupt`] with the first inconsistency, [`Error::Io`] if the file cannot be
/// read, or [`Error::Cancelled`].
///
/// # Examples
/// ```no_run
/// # fn main() -> Result<(), condense_image::Error> {
/// let reader = condense_image::Reader::open("img.sqfs")?;
/// let checked = condense_image::check(&reader, &Default::default())?;
/// assert_eq!(checked.inodes, u64::from(reader.superblock().inode_count));
/// # Ok(())
/// # }
/// ```
pub fn check(reader: &Reader, options: &CheckOptions) -> Result<Checked, Error> {
    let mut index = ImageIndex::new(reader);
    index.add_inode(&reader.root()?)?;
    let mut names = 0;
    for item in reader.walk()? {
        stop_if_cancelled(options)?;
        let (path, node) = item?;
        names += 1;
        index.add(&path, &node)?;
    }
    index.check_counts()?;
    index.check_export_table()?;
    index.add_fragments(options)?;
    let inodes = index.inodes.len() as u64;
    let blocks = index.into_blocks()?;
    decompress(reader, &blocks, options)?;
    Ok(Checked {
        inodes,
        names,
        blocks: blocks.len() as u64,
        stored_bytes: blocks.iter().map(Block::stored_len).sum(),
    })
}

fn stop_if_cancelled(options: &CheckOptions) -> Result<(), Error> {
    match &options.cancel {
        Some(cancel) if cancel.load(Ordering::Relaxed) => Err(Error::Cancelled),
        _ => Ok(()),
    }
}

/// Block as inodes or the fragment table describe it.
#[derive(Debug, Clone, Copy)]
struct Block {
    at: u64,
    /// Size field as in an inode: the stored length, with a flag bit for blocks that are not
    /// compressed.
    size: u32,
    /// Number of bytes after decompression. For a fragment, the least number that its files need.
    len: u64,
    is_fragment: bool,
}

impl Block {
    fn stored_len(&self) -> u64 {
        u64::from(self.size & !STORED)
    }
}

/// Everything that the names in an image refer to.
struct ImageIndex<'r> {
    reader: &'r Reader,
    /// References of inodes, by inode number.
    inodes: HashMap<u32, u64>,
    /// Inodes with several names, by reference: one path, the number of names that the inode
    /// claims, and the number of names found.
    links: HashMap<u64, (PathBuf, u32, u32)>,
    blocks: HashMap<u64, Block>,
    /// Position in each fragment at which the last part of a file ends.
    fragment_ends: HashMap<u32, u64>,
    xattrs: HashSet<u32>,
    xattr_bytes: usize,
}

impl<'r> ImageIndex<'r> {
    fn new(reader: &'r Reader) -> ImageIndex<'r> {
        ImageIndex {
            reader,
            inodes: HashMap::new(),
            links: HashMap::new(),
            blocks: HashMap::new(),
            fragment_ends: HashMap::new(),
            xattrs: HashSet::new(),
            xattr_bytes: 0,
        }
    }

    fn add(&mut self, path: &std::path::Path, node: &Node) -> Result<(), Error> {
        if !node.is_directory() && node.nlink > 1 {
            let known = self
                .links
                .entry(node.reference)
                .or_insert_with(|| (path.to_owned(), node.nlink, 0));
            known.2 += 1;
            if known.2 > 1 {
                return Ok(());
            }
        }
        self.add_inode(node)?;
        match node.kind {
            NodeKind::File => self.add_blocks(node),
            NodeKind::Symlink => self.reader.read_link(node).map(drop),
            _ => Ok(()),
        }
    }

    fn add_inode(&mut self, node: &Node) -> Result<(), Error> {
        if self.inodes.insert(node.inode, node.reference).is_some() {
            return Err(self
                .reader
                .corrupt(format!("two inodes have the number {}", node.inode)));
        }
        if node.has_xattrs && self.xattrs.insert(node.xattrs) {
            for xattr in self.reader.xattrs(node)? {
                self.xattr_bytes += xattr.name.len() + xattr.value.len();
            }
            if self.xattr_bytes > XATTR_BYTES_MAX {
                return Err(self.reader.corrupt("its extended attributes overlap"));
            }
        }
        Ok(())
    }

    fn add_blocks(&mut self, file: &Node) -> Result<(), Error> {
        let mut contents = self.reader.contents(file)?;
        while let Some((at, size, len)) = contents.next_listed()? {
            contents.skip_listed(size, len);
            if size & !STORED > 0 {
                self.add_block(Block {
                    at,
                    size,
                    len: len as u64,
                    is_fragment: false,
                })?;
            }
        }
        match contents.listed_fragment() {
            Some((index, offset, len)) => {
                let end = self.fragment_ends.entry(index).or_default();
                *end = (*end).max(u64::from(offset) + len);
                Ok(())
            }
            None if contents.bytes_left() > 0 => {
                Err(self.reader.corrupt("a file has fewer blocks than bytes"))
            }
            None => Ok(()),
        }
    }

    fn add_block(&mut self, block: Block) -> Result<(), Error> {
        let known = self.blocks.entry(block.at).or_insert(block);
        let same = (known.size, known.len, known.is_fragment);
        if same != (block.size, block.len, block.is_fragment) {
            return Err(self
                .reader
                .corrupt(format!("two blocks at {} are not the same", block.at)));
        }
        Ok(())
    }

    /// Checks that inode numbers run from 1 without a gap and that every inode has as many names as
    /// its link count says.
    fn check_counts(&self) -> Result<(), Error> {
        let claimed = self.reader.superblock().inode_count;
        let found = self.inodes.len();
        if found as u64 != u64::from(claimed) {
            return Err(self.reader.corrupt(format!(
                "it claims {claimed} inodes, and {found} have a name"
            )));
        }
        if let Some(number) = self.inodes.keys().find(|&&it| it == 0 || it > claimed) {
            return Err(self.reader.corrupt(format!(
                "an inode has the number {number}, and there are {claimed}"
            )));
        }
        for (path, claimed, found) in self.links.values() {
            if claimed != found {
                return Err(self.reader.corrupt(format!(
                    "`{}` claims {claimed} names and has {found}",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Checks the export table, in which network file systems look up inodes by number.
    fn check_export_table(&self) -> Result<(), Error> {
        let Some(mut table) = self.reader.export_table() else {
            return Ok(());
        };
        for number in 1..=self.reader.superblock().inode_count {
            let reference = table.next_reference()?;
            if self.inodes.get(&number) != Some(&reference) {
                return Err(self.reader.corrupt(format!(
                    "its export table does not know where inode {number} is"
                )));
            }
        }
        Ok(())
    }

    fn add_fragments(&mut self, options: &CheckOptions) -> Result<(), Error> {
        let count = self.reader.superblock().fragment_count;
        if let Some(index) = self.fragment_ends.keys().find(|&&index| index >= count) {
            return Err(self.reader.corrupt(format!("there is no fragment {index}")));
        }
        for index in 0..count {
            stop_if_cancelled(options)?;
            let (at, size) = self.reader.fragment_place(index)?;
            let len = self.fragment_ends.get(&index).copied().unwrap_or(0);
            self.add_block(Block {
                at,
                size,
                len,
                is_fragment: true,
            })?;
        }
        Ok(())
    }

    /// Returns the blocks sorted by position, after checking that no block overlaps another block
    /// or a table. Because blocks do not overlap, the work is proportional to the size of the
    /// image.
    fn into_blocks(self) -> Result<Vec<Block>, Error> {
        let mut blocks: Vec<Block> = self.blocks.into_values().collect();
        blocks.sort_unstable_by_key(|block| block.at);
        let ends = blocks[..]
            .iter()
            .map(|block| block.at.saturating_add(block.stored_len()));
        let tables = self.reader.tables_start();
        let nexts = blocks.iter().skip(1).map(|block| block.at).chain([tables]);
        for (end, next) in ends.zip(nexts) {
            if end > next {
                return Err(self
                    .reader
                    .corrupt(format!("a block overlaps what lies at {next}")));
            }
        }
        Ok(blocks)
    }
}

fn decompress(reader: &Reader, blocks: &[Block], options: &CheckOptions) -> Result<(), Error> {
    let (next, failed, failure) = (
        AtomicUsize::new(0),
        AtomicBool::new(false),
        Mutex::new(None),
    );
    let work = || {
        let (mut stored, mut output) = (Vec::new(), Vec::new());
        while !failed.load(Ordering::Relaxed) {
            let from = next.fetch_add(BLOCKS_AT_A_TIME, Ordering::Relaxed);
            let to = blocks.len().min(from.saturating_add(BLOCKS_AT_A_TIME));
            let Some(part) = blocks.get(from..to).filter(|part| !part.is_empty()) else {
                return;
            };
            for block in part {
                let done = stop_if_cancelled(options)
                    .and_then(|()| check_block(reader, block, &mut stored, &mut output));
                if let Err(error) = done {
                    failed.store(true, Ordering::Relaxed);
                    failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                    return;
                }
                if let Some(progress) = &options.progress {
                    progress(block.stored_len());
                }
            }
        }
    };
    threads::all(options.threads, work);
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

fn check_block(
    reader: &Reader,
    block: &Block,
    stored: &mut Vec<u8>,
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    let block_size = reader.superblock().block_size.bytes() as usize;
    reader.load_block(block.at, block.size, block_size, stored, output)?;
    let found = output.len() as u64;
    if found == block.len || block.is_fragment && found > block.len {
        return Ok(());
    }
    Err(reader.corrupt(format!(
        "the block at {} has {found} bytes instead of {}",
        block.at, block.len
    )))
}

#[cfg(test)]
mod tests;
