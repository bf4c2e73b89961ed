//! Responsible for finding out whether an image is whole: every table fits every other, every block
//! decompresses.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::reader::{Node, NodeKind, STORED};
use crate::{Error, Reader, threads};

/// Blocks that a worker takes at once.
const BLOCKS_AT_A_TIME: usize = 16;
/// The most bytes of extended attributes in an image. Real ones have some kilobytes; without a
/// bound, a few bytes could be the attributes of millions of files, each of which has to be looked
/// at.
const XATTR_BYTES_MAX: usize = 1 << 30;

/// How an image is checked.
#[derive(Clone, Default)]
pub struct CheckOptions {
    /// Workers; one for each core without it.
    pub threads: Option<NonZeroUsize>,
    /// Told how many more bytes of the image's blocks were read.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// Ends the work with [`Error::Cancelled`] once it is true.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl std::fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckOptions")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// What was found in an image that is whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Files, directories and the rest, each once.
    pub inodes: u64,
    /// Their names, the root's left out.
    pub names: u64,
    /// Blocks of files and fragments, each once.
    pub blocks: u64,
    /// Bytes of these in the image.
    pub stored_bytes: u64,
}

/// Reads all of an image and holds its tables against each other.
///
/// # Errors
/// [`Error::Corrupt`] says the first thing that does not fit.
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
    let mut survey = Survey::new(reader);
    survey.add_inode(&reader.root()?)?;
    let mut names = 0;
    for item in reader.walk()? {
        stop_if_cancelled(options)?;
        let (path, node) = item?;
        names += 1;
        survey.add(&path, &node)?;
    }
    survey.check_counts()?;
    survey.check_export_table()?;
    survey.add_fragments(options)?;
    let inodes = survey.inodes.len() as u64;
    let blocks = survey.into_blocks()?;
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

/// A block as inodes and tables tell of it.
#[derive(Debug, Clone, Copy)]
struct Block {
    at: u64,
    /// As in an inode.
    size: u32,
    /// Bytes that it stands for: as many, or for a fragment at least as many.
    len: u64,
    is_fragment: bool,
}

impl Block {
    fn stored_len(&self) -> u64 {
        u64::from(self.size & !STORED)
    }
}

/// All that an image's names lead to.
struct Survey<'r> {
    reader: &'r Reader,
    /// Where inodes are, by the numbers that they give themselves.
    inodes: HashMap<u32, u64>,
    /// Names of inodes that claim several, and how many of them were found.
    links: HashMap<u64, (PathBuf, u32, u32)>,
    blocks: HashMap<u64, Block>,
    /// Where the last file's end in each fragment ends.
    fragment_ends: HashMap<u32, u64>,
    xattrs: HashSet<u32>,
    xattr_bytes: usize,
}

impl<'r> Survey<'r> {
    fn new(reader: &'r Reader) -> Survey<'r> {
        Survey {
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
            contents.pass(size, len);
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

    /// Numbers run from 1 without a gap, and every inode has as many names as it says.
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

    /// The table by which inodes are found by their number, for network file systems.
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

    /// The blocks in their order, which belong to nothing else: this is what keeps the work in
    /// proportion to the image.
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
