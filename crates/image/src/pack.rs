//! Responsible for the way from a tree to an image: the plan, the workers, the order, the tables.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use crate::digest::{BlockDigest, ContentDigest};
use crate::output::Output;
use crate::plan::Plan;
use crate::pool::{Buffers, Hash, Shop};
use crate::sequence::{Conduct, sequence};
use crate::{BlockSize, Compression, Error, Summary, Tree, tables};

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
    /// Where it begins in the file: 0 unless it was packed into one.
    pub offset_bytes: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Digest of the whole image.
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
    pack_hashed(tree, Output::create(path)?, options, BlockDigest::of)
}

/// As [`pack`], into an existing file from `offset_bytes` on: the place of a SIF's partition. Nothing before it is touched.
///
/// # Errors
/// As those of [`pack`], but the file stays, with what was written.
pub fn pack_at(
    tree: &Tree,
    path: &Path,
    offset_bytes: u64,
    options: &PackOptions,
) -> Result<Image, Error> {
    let output = Output::within(path, offset_bytes)?;
    let image = pack_hashed(tree, output, options, BlockDigest::of)?;
    Ok(Image {
        offset_bytes,
        ..image
    })
}

/// As [`pack`], with a hash that need not be a good one.
fn pack_hashed(
    tree: &Tree,
    mut output: Output,
    options: &PackOptions,
    hash: Hash,
) -> Result<Image, Error> {
    let (compression, block_size) = (options.compression, options.block_size);
    let path = output.path().to_owned();
    tables::write_head(&mut output, compression)?;
    let plan = Plan::new(tree, block_size);
    let stopped = AtomicBool::new(false);
    let (runs, blocks) = (Buffers::default(), Buffers::default());
    let shop = Shop {
        tree,
        compression,
        block_size,
        hash,
        stop: &stopped,
        runs: &runs,
        blocks: &blocks,
    };
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok());
    let conduct = Conduct {
        threads: threads.map_or(1, NonZeroUsize::get),
        progress: options.progress.as_deref(),
        cancel: options.cancel.as_deref(),
    };
    let contents = sequence(&plan, shop, &mut output, conduct)?;
    drop((runs, blocks));
    let superblock =
        tables::write_tables(tree, &plan, &contents, &mut output, compression, block_size)?;
    let (size_bytes, sha256) = output.finish(&superblock)?;
    Ok(Image {
        path,
        offset_bytes: 0,
        size_bytes,
        sha256,
        inodes: plan.inodes,
        summary: tree.summary(),
        bytes_in: plan.bytes,
        duplicate_files: contents.duplicates,
        compression,
        block_size,
        digests: Digests(contents.digests),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::verify;

    fn collide(_: &[u8]) -> BlockDigest {
        BlockDigest::of(b"")
    }

    fn panic(_: &[u8]) -> BlockDigest {
        panic!("a worker's end");
    }

    /// A small and a large file of each kind, with equal and unequal ones among them.
    fn tree() -> Tree {
        let mut tree = Tree::new();
        for number in 0..20_u8 {
            for size in [50, 6000] {
                let bytes = vec![number % 10; size];
                let path = format!("{size}-{number}");
                tree.add_bytes(path, bytes, 0o644).unwrap();
            }
        }
        tree
    }

    fn options(threads: usize) -> PackOptions {
        PackOptions {
            block_size: BlockSize::MIN,
            threads: NonZeroUsize::new(threads),
            ..PackOptions::default()
        }
    }

    #[test]
    fn equal_hashes_do_not_make_files_equal() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = tree();
        let good = pack(&tree, &scratch.path().join("good"), &options(2)).unwrap();
        let mut sha256 = None;
        for threads in [1, 4] {
            let out = scratch.path().join(threads.to_string());
            let mut image = pack_hashed(
                &tree,
                Output::create(&out).unwrap(),
                &options(threads),
                collide,
            )
            .unwrap();
            assert!(sha256.is_none_or(|known| known == image.sha256));
            sha256 = Some(image.sha256);
            // The digests are useless, so the good ones say whether every file has its own bytes.
            image.digests = good.digests.clone();
            verify(&image, &tree, None).unwrap();
        }
        assert_eq!(good.duplicate_files, 20);
    }

    #[test]
    fn a_worker_that_panics_ends_the_pack() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("o");
        for threads in [1, 4] {
            let packed = std::panic::catch_unwind(|| {
                let output = Output::create(&out).unwrap();
                pack_hashed(&tree(), output, &options(threads), panic).map(drop)
            });
            assert!(packed.is_err());
            assert!(!out.exists());
        }
    }
}
