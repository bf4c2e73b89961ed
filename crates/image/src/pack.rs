//! Responsible for the steps from a tree to an image: plan, workers, order of blocks, tables.

use std::{
    collections::HashSet,
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

use crate::blocks::{BlockKeys, InOrder, KnownBlocks, PackedBlock};
use crate::digest::BlockDigest;
use crate::donor_blocks::{PlannedReuse, ReusedBlocks};
use crate::format::Format;
use crate::output::{Output, ReservedRange};
use crate::placement::{Fingerprints, PackedContents, Positions};
use crate::plan::{HotFiles, Plan};
use crate::pool::{Buffers, Hash, WorkerContext};
use crate::sequence::{RunControl, Sequenced, WaitingDonor, sequence};
use crate::tree::EntryId;
use crate::{
    BlockSize, Compression, Donor, Error, HotZone, Progress, Summary, Tree, tables, threads,
};

/// Options of packing a tree.
#[derive(Clone, Default)]
pub struct PackOptions {
    /// Codec and its level.
    pub compression: Compression,
    /// Number of bytes that are compressed together.
    pub block_size: BlockSize,
    /// Number of workers. `None` means one for each core. The image does not depend on this number.
    pub threads: Option<NonZeroUsize>,
    /// Existing image whose blocks are reused for those files of the tree that come from it. Its
    /// codec and block size must be those above. Without a donor, such files are read and
    /// compressed like all others.
    pub donor: Option<Donor>,
    /// Paths of the files that are read first, in their order, relative to the root. Their contents
    /// come first in the image, in the hot zone: small ones in blocks that they share with no
    /// others, large ones' blocks beside them. Symlinks are followed, and paths that lead to no
    /// file with content are ignored. The hot zone of a donor becomes a part of the zone.
    pub hot: Vec<PathBuf>,
    /// Whether the hot zone of a donor counts as an ordinary part of it.
    pub drop_zone: bool,
    /// Maximum share of the blocks taken from the donor that no file uses, in percent. Above that,
    /// everything is packed again without a donor. `None` means no limit.
    pub garbage_percent_max: Option<u8>,
    /// Whether [`Tree::keep_unchanged`] compares times instead of contents. A file then counts as
    /// unchanged if it has the size and modification time that the donor records, and its status
    /// has not changed since the donor was written.
    pub trust_times: bool,
    /// Blocks in their compressed form. What is found there is not compressed again, and the image
    /// is the same as without them.
    pub known: Option<Arc<dyn KnownBlocks>>,
    /// Whether [`Image::blocks`] records the blocks, so that others can find them there.
    pub record_blocks: bool,
    /// Receiver of progress reports.
    pub progress: Option<Arc<dyn Progress>>,
    /// Cancel flag. Once it is true, packing ends with [`Error::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
}

impl PackOptions {
    /// Default limit of the share of unused blocks in a repacked image, in percent. More than this
    /// justifies the time for packing everything again.
    const GARBAGE_PERCENT_MAX: u8 = 10;

    /// Returns the options with further blocks in their compressed form, which are looked for where
    /// the known ones have none.
    #[must_use]
    pub fn with_known(self, more: Arc<dyn KnownBlocks>) -> PackOptions {
        let known: Arc<dyn KnownBlocks> = match self.known {
            Some(first) => Arc::new(InOrder(first, more)),
            None => more,
        };
        PackOptions {
            known: Some(known),
            ..self
        }
    }

    /// Returns options for adding to an existing image: with the codec and block size of the donor,
    /// and our default level.
    pub fn onto(donor: Donor) -> PackOptions {
        PackOptions {
            compression: donor.compression(),
            block_size: donor.block_size(),
            donor: Some(donor),
            ..PackOptions::default()
        }
    }

    /// Returns options for a new version of an image that is mostly unchanged. They are those of
    /// [`PackOptions::onto`], but everything is packed again if more than a tenth of the reused
    /// blocks would be unused.
    pub fn repack(donor: Donor) -> PackOptions {
        PackOptions {
            garbage_percent_max: Some(Self::GARBAGE_PERCENT_MAX),
            ..PackOptions::onto(donor)
        }
    }

    /// Returns the parameters for new blocks, after checking them against those of the donor.
    fn format(&self, tree: &Tree) -> Result<Format, Error> {
        let Some(donor) = &self.donor else {
            return Ok(Format::new(self.compression, self.block_size));
        };
        let mismatch = |requested: String, required: String| Error::DonorMismatch {
            path: donor.reader().path().to_owned(),
            requested,
            required,
            repack_time: self
                .compression
                .estimate(tree.summary().bytes, threads::count(self.threads)),
        };
        let (requested, required) = (self.compression.codec(), donor.compression().codec());
        if requested != required {
            return Err(mismatch(requested.to_string(), required.to_string()));
        }
        if self.block_size != donor.block_size() {
            let of = |size: BlockSize| format!("blocks of {size}");
            return Err(mismatch(of(self.block_size), of(donor.block_size())));
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
            .field("hot", &self.hot.len())
            .field("drop_zone", &self.drop_zone)
            .field("garbage_percent_max", &self.garbage_percent_max)
            .field("trust_times", &self.trust_times)
            .field("known", &self.known.is_some())
            .field("record_blocks", &self.record_blocks)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Description of a finished image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Path of the file.
    pub path: PathBuf,
    /// Start of the image in the file, in bytes. It is 0 unless the image was packed into an
    /// existing file.
    pub offset_bytes: u64,
    /// Size of the image in bytes.
    pub size_bytes: u64,
    /// Number of inodes: files, directories and other entries. Hard links count once.
    pub inodes: u32,
    /// Counts of the entries that were packed.
    pub summary: Summary,
    /// Size of all files before compression and deduplication, in bytes.
    pub bytes_in: u64,
    /// Number of files whose content an earlier file already had.
    pub duplicate_files: u64,
    /// Codec and its level.
    pub compression: Compression,
    /// Number of bytes that were compressed together.
    pub block_size: BlockSize,
    /// Size of the blocks that were copied from the donor, in bytes.
    pub taken_bytes: u64,
    /// Estimated part of `taken_bytes` that no file uses, in bytes.
    pub garbage_bytes: u64,
    /// Part of the image with the files that are read first.
    pub hot_zone: Option<HotZone>,
    /// Start of the tables, which are behind all contents, in bytes.
    pub tables_start: u64,
    /// Digest of the codec and of every option that decides a block's bytes, if blocks were looked
    /// for or recorded.
    pub block_format: Option<[u8; 32]>,
    /// Blocks that are new or were known, if blocks were looked for or recorded. Those of a donor
    /// are not among them.
    pub blocks: Vec<PackedBlock>,
    /// Evidence of each file's content, by entry of the tree, for reading the image back.
    pub(crate) fingerprints: Fingerprints,
    /// Positions of the contents, if there are blocks that reading back need not decompress.
    pub(crate) positions: Option<Arc<Positions>>,
    pub(crate) reused: Option<Arc<ReusedBlocks>>,
}

impl Image {
    /// Number of bytes that are hashed at a time.
    const CHUNK_BYTES: u64 = 1 << 20;

    /// Reads the whole image and returns its SHA-256. This is not part of packing, because the
    /// superblock at the front is known last. The digest therefore costs one more reading by one
    /// thread, and an image inside a SIF file needs none.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read or has become shorter.
    pub fn sha256(&self) -> Result<[u8; 32], Error> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        self.sha256_of(&file)
    }

    /// Returns the digest of the image in its open file.
    pub(crate) fn sha256_of(&self, file: &File) -> Result<[u8; 32], Error> {
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

/// Packs `tree` into a new file. The same tree and options give the same bytes for any number of
/// threads.
///
/// # Errors
/// Returns [`Error::Changed`] for a file that is no longer the one that the scan saw,
/// [`Error::DonorMismatch`] if the options do not fit the donor, [`Error::Io`], [`Error::Thread`]
/// or [`Error::Cancelled`]. After an error no file is left at `path`.
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
    pack_hashed(tree, Output::create(path)?, options, BlockDigest::compute)
}

/// Packs `tree` like [`pack`], but into an existing file from `offset_bytes` on, such as the place
/// of a SIF partition. The bytes before that are not changed.
///
/// # Errors
/// Returns the errors of [`pack`]. The file stays, with what was written.
pub fn pack_at(
    tree: &Tree,
    path: &Path,
    offset_bytes: u64,
    options: &PackOptions,
) -> Result<Image, Error> {
    let output = Output::within(path, offset_bytes)?;
    let image = pack_hashed(tree, output, options, BlockDigest::compute)?;
    Ok(Image {
        offset_bytes,
        ..image
    })
}

/// Decisions that are made before anything is written.
struct PackPlan<'t> {
    format: Format,
    plan: Plan<'t>,
    /// Positions in the donor of the contents that are taken from it.
    contents: PackedContents,
    reuse: Option<PlannedReuse>,
    /// Whether the image gets a hot zone.
    has_zone: bool,
}

impl<'t> PackPlan<'t> {
    /// Decides whether the blocks of the donor are worth reusing, and plans the rest.
    fn new(tree: &'t Tree, options: &PackOptions) -> Result<PackPlan<'t>, Error> {
        let format = options.format(tree)?;
        let donor = options.donor.as_ref().map(Donor::reader);
        let mut hot = HotFiles::find(tree, &options.hot, donor)?;
        let Some(donor) = donor else {
            return Ok(Self::without_donor(tree, format, &hot));
        };
        let mut plan = Plan::new(tree, format.block_size, Some(donor), &hot);
        let percent_max = options.garbage_percent_max;
        let (mut reuse, contents) = PlannedReuse::new(donor, tree, &plan.kept, percent_max)?;
        if options.drop_zone {
            reuse.drop_zone();
        }
        let in_zone = reuse.zone_files(&plan.kept, &contents);
        let garbage_max = percent_max.map(|percent| u64::from(percent) * reuse.bytes / 100);
        if garbage_max.is_some_and(|garbage_max| reuse.garbage > garbage_max) {
            let known: HashSet<EntryId> = hot.files.iter().copied().collect();
            hot.files
                .extend(in_zone.iter().filter(|id| !known.contains(id)));
            let format = Format::new(format.compression, format.block_size);
            return Ok(Self::without_donor(tree, format, &hot));
        }
        plan.keep_apart(|id| reuse.can_be_hot(&contents, id));
        Ok(PackPlan {
            has_zone: plan.has_hot() || !in_zone.is_empty(),
            format,
            plan,
            contents,
            reuse: Some(reuse),
        })
    }

    fn without_donor(tree: &'t Tree, format: Format, hot: &HotFiles) -> PackPlan<'t> {
        let plan = Plan::new(tree, format.block_size, None, hot);
        PackPlan {
            has_zone: plan.has_hot(),
            plan,
            format,
            contents: PackedContents::new(tree),
            reuse: None,
        }
    }
}

/// Packs like [`pack`], with a hash function that may have collisions.
fn pack_hashed(
    tree: &Tree,
    output: Output,
    options: &PackOptions,
    hash: Hash,
) -> Result<Image, Error> {
    pack_told(tree, output, options, hash, None)
}

/// Packs like [`pack_hashed`]. `listener` is called with each recorded block when it is written.
pub(crate) fn pack_told(
    tree: &Tree,
    mut output: Output,
    options: &PackOptions,
    hash: Hash,
    listener: Option<&dyn Fn(PackedBlock)>,
) -> Result<Image, Error> {
    let path = output.path().to_owned();
    let PackPlan {
        format,
        plan,
        contents,
        reuse,
        has_zone,
    } = PackPlan::new(tree, options)?;
    tables::write_head(&mut output, &format, has_zone)?;
    let stopped = AtomicBool::new(false);
    let (runs, blocks) = (Buffers::default(), Buffers::default());
    let context = WorkerContext {
        tree,
        format: &format,
        hash,
        keys: (options.known.is_some() || options.record_blocks)
            .then(|| BlockKeys::new(&format))
            .transpose()?,
        known: options.known.as_deref(),
        stop: &stopped,
        runs: &runs,
        blocks: &blocks,
    };
    let control = RunControl {
        threads: threads::count(options.threads).get(),
        progress: options.progress.as_deref(),
        cancel: options.cancel.as_deref(),
        listener,
    };
    let stop_copying = AtomicBool::new(false);
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let has_donor = reuse.is_some();
    let donor = reuse.map(|reuse| WaitingDonor {
        reuse,
        copying: sender,
    });
    let write = || {
        let sequenced = sequence(&plan, context, &mut output, control, contents, donor)?;
        let contents = &sequenced.contents;
        let tables_start = output.position();
        let superblock = tables::write_tables(tree, &plan, contents, &mut output, &format)?;
        Ok((superblock, sequenced, tables_start))
    };
    let copying = has_donor.then_some(|| match receiver.recv() {
        Ok((reused, range)) => copy(&reused, &plan, range, options, &stop_copying),
        // Writing has failed before the blocks of the donor had a place.
        Err(crossbeam_channel::RecvError) => Ok(()),
    });
    let (superblock, sequenced, tables_start) =
        side_by_side(copying, &stopped, write, &stop_copying)?;
    let block_format = context.keys.map(|keys| keys.bytes());
    drop((runs, blocks));
    let Sequenced {
        contents,
        zone,
        reused,
    } = sequenced;
    if has_zone {
        output.replace(tables::head_bytes(&format), &zone.record())?;
    }
    let size_bytes = output.finish(&superblock)?;
    let count = |count: fn(&ReusedBlocks) -> u64| reused.as_deref().map_or(0, count);
    let duplicate_files = contents.duplicates;
    let (fingerprints, blocks, positions) = contents.into_evidence();
    Ok(Image {
        path,
        offset_bytes: 0,
        size_bytes,
        inodes: plan.inodes,
        summary: tree.summary(),
        bytes_in: plan.bytes,
        duplicate_files,
        compression: format.compression,
        block_size: format.block_size,
        taken_bytes: count(|reused| reused.bytes),
        garbage_bytes: count(|reused| reused.garbage),
        hot_zone: (zone.bytes > 0).then_some(zone),
        tables_start,
        block_format,
        blocks,
        fingerprints,
        positions,
        reused,
    })
}

/// Runs the copying of donor blocks and the writing of new content at the same time. If one side
/// fails, it sets the flag that stops the other side. The error of the side that failed first is
/// returned, not the [`Error::Cancelled`] of the side that was stopped.
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

/// Copies the blocks of the donor and reports their files as packed.
fn copy(
    reused: &ReusedBlocks,
    plan: &Plan<'_>,
    mut reserved: ReservedRange,
    options: &PackOptions,
    stop_copying: &AtomicBool,
) -> Result<(), Error> {
    let all: u64 = plan.kept.iter().map(|file| file.size).sum();
    let (mut copied, mut reported) = (0, 0);
    let mut report = |until: u64| {
        if let Some(progress) = &options.progress {
            progress.packed(until - reported);
        }
        reported = until;
    };
    reused.copy(&mut reserved, |bytes| {
        copied += bytes;
        let share = u128::from(all) * u128::from(copied) / u128::from(reused.bytes);
        report(share as u64);
        let is_cancelled = options
            .cancel
            .iter()
            .any(|cancel| cancel.load(Ordering::Relaxed));
        if is_cancelled || stop_copying.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    })?;
    // Files that consist of holes only have no blocks, so their bytes are reported at the end.
    report(all);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::verify;

    fn collide(_: &[u8]) -> BlockDigest {
        BlockDigest::compute(b"")
    }

    fn panic(_: &[u8]) -> BlockDigest {
        panic!("a worker's end");
    }

    /// Returns a tree with small and large files. Half of each kind equal an earlier file.
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
            // The colliding digests prove nothing, so the digests of the image with the real hash
            // are used to check that every file has its own bytes.
            image.fingerprints = good.fingerprints.clone();
            verify(&image, &tree, None).unwrap();
        }
        assert_eq!(good.duplicate_files, 20);
    }

    #[test]
    fn the_error_that_stopped_the_other_side_is_returned() {
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
