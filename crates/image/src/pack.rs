//! Responsible for the way from a tree to an image: the plan, the workers, the order, the tables.

use std::{
    fs::File,
    num::NonZeroUsize,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest, Sha256};

use crate::digest::{BlockDigest, Proof};
use crate::format::Format;
use crate::output::{Output, Room};
use crate::plan::Plan;
use crate::pool::{self, Buffers, Hash, Shop};
use crate::sequence::{Conduct, Contents, sequence};
use crate::transplant::Transplant;
use crate::{BlockSize, Compression, Donor, Error, Summary, Tree, tables, threads};

/// How a tree is packed.
#[derive(Clone, Default)]
pub struct PackOptions {
    /// The codec and its level.
    pub compression: Compression,
    /// Bytes that are compressed together.
    pub block_size: BlockSize,
    /// Workers; one for each core without it. The image does not depend on it.
    pub threads: Option<NonZeroUsize>,
    /// An existing image whose blocks are taken as they are for the files of the tree that are its
    /// own. Its codec and block size must be those above. Without it, such files are read and
    /// compressed as all others.
    pub donor: Option<Donor>,
    /// How many percent of the blocks taken from the donor may be of no use to any file. Above
    /// that, everything is packed anew. Without it, all are taken whatever it costs.
    pub garbage_percent_max: Option<u8>,
    /// Whether [`Tree::keep_unchanged`] takes a file for unchanged that has the size and the
    /// modification time that the donor knows, and of which nothing was changed since the
    /// donor was written. Otherwise it compares contents.
    pub trust_times: bool,
    /// Told how far the work is.
    pub progress: Option<Arc<dyn Progress>>,
    /// Ends the work with [`Error::Cancelled`] once it is true.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl PackOptions {
    /// How much garbage a repacked image may carry along, in percent: more than this is worth the
    /// time that packing anew takes.
    const GARBAGE_PERCENT_MAX: u8 = 10;

    /// For additions to an existing image: the donor's codec and block size, and a level of ours.
    pub fn onto(donor: Donor) -> PackOptions {
        PackOptions {
            compression: donor.compression(),
            block_size: donor.block_size(),
            donor: Some(donor),
            ..PackOptions::default()
        }
    }

    /// For a new version of an image of which most is unchanged: as [`PackOptions::onto`], and
    /// packed anew when a tenth of what is taken would be garbage.
    pub fn repack(donor: Donor) -> PackOptions {
        PackOptions {
            garbage_percent_max: Some(Self::GARBAGE_PERCENT_MAX),
            ..PackOptions::onto(donor)
        }
    }

    /// How blocks are made, unless the donor's were made in another way.
    fn format(&self, tree: &Tree) -> Result<Format, Error> {
        let Some(donor) = &self.donor else {
            return Ok(Format::new(self.compression, self.block_size));
        };
        let binds = |asked: String, bound: String| Error::DonorBinds {
            path: donor.reader().path().to_owned(),
            asked,
            bound,
            anew: self
                .compression
                .estimate(tree.summary().bytes, threads::count(self.threads)),
        };
        let (asked, bound) = (self.compression.codec(), donor.compression().codec());
        if asked != bound {
            return Err(binds(asked.to_string(), bound.to_string()));
        }
        if self.block_size != donor.block_size() {
            let of = |size: BlockSize| format!("blocks of {size}");
            return Err(binds(of(self.block_size), of(donor.block_size())));
        }
        Ok(Format {
            compression: self.compression,
            ..donor.format().clone()
        })
    }
}

impl std::fmt::Debug for PackOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackOptions")
            .field("compression", &self.compression)
            .field("block_size", &self.block_size)
            .field("donor", &self.donor)
            .field("garbage_percent_max", &self.garbage_percent_max)
            .field("trust_times", &self.trust_times)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Listens to the packer. Called from several threads.
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
    /// Bytes of blocks that were taken from the donor as they were.
    pub taken_bytes: u64,
    /// About how many of those no file uses.
    pub garbage_bytes: u64,
    /// How each file's content is known, by the tree's entries, for reading back.
    pub(crate) proofs: Proofs,
    pub(crate) transplant: Option<Arc<Transplant>>,
}

impl Image {
    /// Bytes that are hashed at a time.
    const CHUNK_BYTES: u64 = 1 << 20;

    /// Reads the whole image for its SHA-256. Not part of packing: the superblock comes first and
    /// is known last, so this is one more reading by one thread, and an image inside a SIF
    /// needs none.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, or is no longer as long as it was.
    pub fn sha256(&self) -> Result<[u8; 32], Error> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; Self::CHUNK_BYTES as usize];
        let mut at = 0;
        while at < self.size_bytes {
            let length = (self.size_bytes - at).min(Self::CHUNK_BYTES) as usize;
            file.read_exact_at(&mut buffer[..length], self.offset_bytes + at)
                .map_err(Error::io("read", &self.path))?;
            hash.update(&buffer[..length]);
            at += length as u64;
        }
        Ok(hash.finalize().into())
    }
}

/// How contents are known, by the tree's entries; too much to be shown.
#[derive(Clone)]
pub(crate) struct Proofs(pub(crate) Vec<Proof>);

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} proofs]", self.0.len())
    }
}

/// Packs `tree` into a new file. The same tree and options give the same bytes, whatever the number
/// of threads.
///
/// # Errors
/// [`Error::Changed`] names a file that is no longer what the scan saw; [`Error::Io`],
/// [`Error::Cancelled`]. Nothing is left at `path` then.
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

/// As [`pack`], into an existing file from `offset_bytes` on: the place of a SIF's partition.
/// Nothing before it is touched.
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
    let path = output.path().to_owned();
    let mut format = options.format(tree)?;
    let donor = options.donor.as_ref().map(Donor::reader);
    let mut plan = Plan::new(tree, format.block_size, donor);
    let mut transplant = None;
    let mut contents = None;
    if let Some(donor) = donor {
        let head = tables::head_bytes(&format);
        let most = options.garbage_percent_max;
        let (planned, placed) = Transplant::plan(donor, tree, &plan.kept, head, most)?;
        let most = most.map(|percent| u64::from(percent) * planned.bytes / 100);
        if most.is_some_and(|most| planned.garbage > most) {
            format = Format::new(format.compression, format.block_size);
            plan = Plan::new(tree, format.block_size, None);
        } else {
            (transplant, contents) = (Some(Arc::new(planned)), Some(placed));
        }
    }
    tables::write_head(&mut output, &format)?;
    let room = transplant
        .as_ref()
        .map(|transplant| output.leave_room(transplant.bytes))
        .transpose()?;
    let stopped = AtomicBool::new(false);
    let (runs, blocks) = (Buffers::default(), Buffers::default());
    let shop = Shop {
        tree,
        format: &format,
        hash,
        stop: &stopped,
        runs: &runs,
        blocks: &blocks,
    };
    let conduct = Conduct {
        threads: threads::count(options.threads).get(),
        progress: options.progress.as_deref(),
        cancel: options.cancel.as_deref(),
    };
    let contents = contents.unwrap_or_else(|| Contents::of(tree));
    let given_up = AtomicBool::new(false);
    let write = || {
        let contents = sequence(&plan, shop, &mut output, conduct, contents)?;
        let superblock = tables::write_tables(tree, &plan, &contents, &mut output, &format)?;
        Ok((superblock, contents))
    };
    let copying = transplant
        .as_deref()
        .zip(room)
        .map(|(transplant, room)| || copy(transplant, tree, &plan, room, options, &given_up));
    let (superblock, contents) = side_by_side(copying, &stopped, write, &given_up)?;
    drop((runs, blocks));
    let size_bytes = output.finish(&superblock)?;
    let count = |count: fn(&Transplant) -> u64| transplant.as_deref().map_or(0, count);
    Ok(Image {
        path,
        offset_bytes: 0,
        size_bytes,
        inodes: plan.inodes,
        summary: tree.summary(),
        bytes_in: plan.bytes,
        duplicate_files: contents.duplicates,
        compression: format.compression,
        block_size: format.block_size,
        taken_bytes: count(|transplant| transplant.bytes),
        garbage_bytes: count(|transplant| transplant.garbage),
        proofs: Proofs(contents.proofs),
        transplant,
    })
}

/// Copies and writes at the same time. Each sets the other's flag when it fails, and the error that
/// came first is told: what the flag stops says that it was cancelled.
fn side_by_side<T>(
    copying: Option<impl FnOnce() -> Result<(), Error> + Send>,
    stop_writing: &AtomicBool,
    write: impl FnOnce() -> Result<T, Error>,
    stop_copying: &AtomicBool,
) -> Result<T, Error> {
    let Some(copying) = copying else {
        return write();
    };
    let stop = |flag: &AtomicBool| flag.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let copying =
            condense_threads::scoped(scope, || copying().inspect_err(|_| stop(stop_writing)))?;
        let written = write().inspect_err(|_| stop(stop_copying));
        let copied = threads::join(copying);
        match (copied, written) {
            (Err(Error::Cancelled) | Ok(()), Err(error)) | (Err(error), _) => Err(error),
            (Ok(()), Ok(written)) => Ok(written),
        }
    })
}

/// Copies the donor's blocks, and tells of it as of files that were packed.
fn copy(
    transplant: &Transplant,
    tree: &Tree,
    plan: &Plan,
    mut room: Room,
    options: &PackOptions,
    given_up: &AtomicBool,
) -> Result<(), Error> {
    let all: u64 = plan.kept.iter().map(|id| pool::file(tree, *id).0).sum();
    let (mut copied, mut told) = (0, 0);
    let mut tell = |until: u64| {
        if let Some(progress) = &options.progress {
            progress.packed(until - told);
        }
        told = until;
    };
    transplant.copy(&mut room, |bytes| {
        copied += bytes;
        let share = u128::from(all) * u128::from(copied) / u128::from(transplant.bytes);
        tell(share as u64);
        let is_cancelled = options
            .cancel
            .iter()
            .any(|cancel| cancel.load(Ordering::Relaxed));
        if is_cancelled || given_up.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    })?;
    // Files of nothing but holes have no blocks.
    tell(all);
    Ok(())
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
            let found = image.sha256().unwrap();
            assert!(sha256.is_none_or(|known| known == found));
            sha256 = Some(found);
            // The digests are useless, so the good ones say whether every file has its own bytes.
            image.proofs = good.proofs.clone();
            verify(&image, &tree, None).unwrap();
        }
        assert_eq!(good.duplicate_files, 20);
    }

    #[test]
    fn the_failure_that_stopped_the_other_side_is_told() {
        let fail = || {
            Err(Error::io("read", "a donor")(
                std::io::ErrorKind::Other.into(),
            ))
        };
        let until = |flag: &AtomicBool| {
            while !flag.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            Err(Error::Cancelled)
        };
        let flags = [AtomicBool::new(false), AtomicBool::new(false)];
        let [stop_writing, stop_copying] = &flags;
        let copying_fails = side_by_side::<()>(
            Some(fail),
            stop_writing,
            || until(stop_writing),
            stop_copying,
        );
        assert!(matches!(copying_fails, Err(Error::Io { .. })));

        let flags = [AtomicBool::new(false), AtomicBool::new(false)];
        let [stop_writing, stop_copying] = &flags;
        let copying = Some(|| until(stop_copying));
        let writing_fails = side_by_side::<()>(copying, stop_writing, fail, stop_copying);
        assert!(matches!(writing_fails, Err(Error::Io { .. })));
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
