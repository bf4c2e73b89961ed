//! Responsible for the way from a tree to an image: the plan, the workers, the order, the tables.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    BlockSize, Compression, Error,
    digest::ContentDigest,
    output::Output,
    pool::{Pool, Reading},
    sequence::Sequencer,
    tables::{self, SUPERBLOCK_BYTES, options_block},
    tree::{Kind, Summary, Tree},
};

/// How a tree is packed.
#[derive(Clone, Default)]
pub struct PackOptions {
    /// The codec and its level.
    pub compression: Compression,
    /// Bytes that are compressed together.
    pub block_size: BlockSize,
    /// Workers; one for each core without it. The image does not depend on it.
    pub threads: Option<NonZeroUsize>,
    /// Told how far the work is.
    pub progress: Option<Arc<dyn Progress>>,
    /// Ends the work with [`Error::Cancelled`] once it is true.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl std::fmt::Debug for PackOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackOptions")
            .field("compression", &self.compression)
            .field("block_size", &self.block_size)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Listens to the packer. Called from the thread that packs.
pub trait Progress: Send + Sync {
    /// So many more bytes of files are in the image.
    fn packed(&self, bytes: u64);
}

/// A finished image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Digest of the whole file.
    pub sha256: [u8; 32],
    /// Files, directories and the rest, each once.
    pub inodes: u32,
    /// What was packed.
    pub summary: Summary,
    /// Bytes of files before compression and deduplication.
    pub bytes_in: u64,
    /// Files whose bytes were there already.
    pub duplicate_files: u64,
    /// The codec and its level.
    pub compression: Compression,
    /// Bytes that were compressed together.
    pub block_size: BlockSize,
    /// Digest of each file's content by the tree's entries, for reading back.
    pub(crate) digests: Digests,
}

/// Digests of contents by the tree's entries; too many to be shown.
#[derive(Clone)]
pub(crate) struct Digests(pub(crate) Vec<ContentDigest>);

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} digests]", self.0.len())
    }
}

/// Packs `tree` into a new file. The same tree and options give the same bytes, whatever the number of threads.
///
/// # Errors
/// [`Error::Changed`] names a file that is no longer what the scan saw; [`Error::Io`], [`Error::Cancelled`]. Nothing is
/// left at `path` then.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), condense_image::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// let mut tree = condense_image::Tree::new();
/// tree.add_bytes("hello.txt", *b"hello", 0o644)?;
/// let image = condense_image::pack(&tree, &dir.path().join("hello.sqfs"), &Default::default())?;
/// condense_image::verify(&image, &tree, None)?;
/// # Ok(())
/// # }
/// ```
pub fn pack(tree: &Tree, path: &Path, options: &PackOptions) -> Result<Image, Error> {
    let mut output = Output::create(path)?;
    output.write(&[0; SUPERBLOCK_BYTES])?;
    if let Some(block) = options_block(options.compression) {
        output.write(&block)?;
    }
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get);
    let data = std::thread::scope(|scope| {
        let pool = Pool::start(scope, threads, options.compression, options.block_size)?;
        let progress = options.progress.as_deref();
        Sequencer::new(
            &pool,
            &mut output,
            options.block_size,
            progress,
            options.cancel.as_deref(),
        )
        .run(plan(tree))
    })?;
    let newest = tree.walk().map(|(_, entry)| entry.mtime).max().unwrap_or(0);
    let (superblock, inodes) = tables::write(
        tree,
        &data,
        &mut output,
        options.compression,
        options.block_size,
        newest,
    )?;
    let (size_bytes, sha256) = output.finish(&superblock)?;
    let summary = tree.summary();
    let mut digests = vec![ContentDigest::default(); tree.capacity()];
    for (entry, placed) in &data.placed {
        digests[*entry] = placed.digest;
    }
    Ok(Image {
        path: path.to_owned(),
        size_bytes,
        sha256,
        inodes,
        summary,
        bytes_in: summary.bytes,
        duplicate_files: data.duplicates,
        compression: options.compression,
        block_size: options.block_size,
        digests: Digests(digests),
    })
}

/// Files that have bytes, each once, in the order of their paths.
fn plan(tree: &Tree) -> Vec<Reading> {
    let mut seen = vec![false; tree.capacity()];
    let mut files = Vec::new();
    for id in tree.ids() {
        if let Kind::File { size, source } = &tree.entry(id).kind
            && *size > 0
            && !std::mem::replace(&mut seen[id.index()], true)
        {
            files.push(Reading {
                entry: id.index(),
                size: *size,
                source: source.clone(),
            });
        }
    }
    files
}
