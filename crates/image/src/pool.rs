//! Responsible for the expensive work of several threads: reading, hashing, comparing and
//! compressing.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs::File, mem};

use crossbeam_channel::{Receiver, Sender};

use crate::codec::encode::Encoder;
use crate::digest::BlockDigest;
use crate::format::Format;
use crate::plan::Lookalikes;
use crate::reader::{Layout, Recent};
use crate::source::{NearDirectory, Source};
use crate::tree::{EntryId, Kind};
use crate::{Error, Tree};
use content::Content;

mod content;

/// Number of bytes read to see quickly whether two files of the same size may be equal.
const FIRST_LOOK_BYTES: usize = 4 << 10;
/// Number of bytes read at a time from each of two files that are compared.
const COMPARE_BYTES: usize = 128 << 10;

/// Hash function of contents. It is a parameter so that tests can make hashes collide.
pub(crate) type Hash = fn(&[u8]) -> BlockDigest;

/// Piece of work that one worker does without waiting for another worker.
pub(crate) enum Job<'a> {
    /// Reads whole files, one after the other, into one buffer.
    Read(Vec<EntryId>),
    /// Reads a run of blocks of a file and compresses each block.
    Blocks {
        file: Arc<LargeFile>,
        offset: u64,
        length: u64,
    },
    /// Compresses a block that several files share.
    Fragment(Vec<u8>),
    /// Compares contents with earlier files that have the same hash.
    Confirm(Vec<Twin>),
    /// Finds equal files among files of the same size.
    FindEqual(&'a Lookalikes),
}

/// Result of a job.
pub(crate) enum Done {
    Read {
        bytes: Vec<u8>,
        hashes: Vec<BlockDigest>,
    },
    Blocks(Blocks),
    Fragment {
        block: Vec<u8>,
        size: u32,
    },
    /// Candidates with whether each really equals its earlier file. The content of those that do is
    /// dropped; `bytes` is the size of all contents that were compared.
    Confirm {
        twins: Vec<(Twin, bool)>,
        bytes: u64,
    },
    /// Pairs of a file and an earlier file that it equals.
    FindEqual(Vec<(EntryId, EntryId)>),
}

/// Small file that has the same size and hash as an earlier file.
pub(crate) struct Twin {
    pub(crate) id: EntryId,
    pub(crate) earlier: EntryId,
    pub(crate) bytes: Vec<u8>,
}

/// Run of compressed blocks of a file.
#[derive(Default)]
pub(crate) struct Blocks {
    /// Compressed blocks, one after the other.
    pub(crate) packed: Vec<u8>,
    /// Size fields of the blocks as in an inode. It is 0 for a block of zeros, for which nothing is
    /// stored.
    pub(crate) sizes: Vec<u32>,
    pub(crate) hashes: Vec<BlockDigest>,
    /// Number of bytes in blocks of zeros.
    pub(crate) sparse: u64,
    /// Bytes after the last full block, if they are to share a block with other files.
    pub(crate) tail: Vec<u8>,
}

/// File whose blocks are read by several jobs. Jobs begin in order, so at most one file more than
/// there are workers is open at a time, however small the blocks are.
pub(crate) struct LargeFile {
    pub(crate) id: EntryId,
    pub(crate) size: u64,
    /// Start of the part that shares a block with other files. It is the size of the file if there
    /// is no such part.
    tail_at: u64,
    /// Open file. The first job opens it and the last job closes it.
    open: Mutex<Option<Open>>,
    jobs_left: AtomicU64,
}

/// Open handle of a large file's content.
#[derive(Clone)]
enum Open {
    Disk(Arc<File>),
    Image(Arc<Layout>),
}

impl LargeFile {
    pub(crate) fn new(id: EntryId, size: u64, tail_at: u64, jobs: u64) -> LargeFile {
        LargeFile {
            id,
            size,
            tail_at,
            open: Mutex::new(None),
            jobs_left: AtomicU64::new(jobs),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State that all workers share.
#[derive(Clone, Copy)]
pub(crate) struct Shop<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) format: &'a Format,
    pub(crate) hash: Hash,
    /// Flag that is set when no more results are needed.
    pub(crate) stop: &'a AtomicBool,
    /// Buffers for the bytes of one job.
    pub(crate) runs: &'a Buffers,
    /// Buffers for shared blocks before compression. Many of them wait at a time, so they must not
    /// use the larger buffers of `runs`.
    pub(crate) blocks: &'a Buffers,
}

/// Buffers that are reused by workers and the sequencer. The kernel would clear every page of a new
/// buffer.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Maximum number of buffers that are kept. Without a limit, the buffers of a burst would be
    /// kept until the end.
    const KEPT: usize = 32;

    pub(crate) fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.lock();
        if kept.len() < Self::KEPT {
            kept.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Job or result, with the number under which the result is expected.
pub(crate) type Ticketed<T> = (u64, T);
/// Number of an error that belongs to no job.
pub(crate) const NO_TICKET: u64 = u64::MAX;

/// Does jobs until there are none left or no more results are needed.
pub(crate) fn work<'a>(
    shop: Shop<'a>,
    jobs: &Receiver<Ticketed<Job<'a>>>,
    results: &Sender<Ticketed<Result<Done, Error>>>,
) {
    let _alarm = Alarm(results);
    let mut worker = match Worker::new(shop) {
        Ok(worker) => worker,
        Err(error) => {
            let _ = results.send((NO_TICKET, Err(error)));
            return;
        }
    };
    for (ticket, job) in jobs {
        if shop.stop.load(Ordering::Relaxed) || results.send((ticket, worker.run(job))).is_err() {
            return;
        }
    }
}

/// Guard that reports a panic of a worker to the sequencer, which otherwise would wait forever for
/// the result. The panic itself continues when the threads are joined.
struct Alarm<'a>(&'a Sender<Ticketed<Result<Done, Error>>>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send((NO_TICKET, Err(Error::Cancelled)));
        }
    }
}

struct Worker<'a> {
    shop: Shop<'a>,
    encoder: Encoder,
    block: Vec<u8>,
    packed: Vec<u8>,
    near: NearDirectory,
    recent: Recent,
}

impl<'a> Worker<'a> {
    fn new(shop: Shop<'a>) -> Result<Worker<'a>, Error> {
        Ok(Worker {
            shop,
            encoder: Encoder::new(shop.format)?,
            block: vec![0; shop.format.block_size.bytes() as usize],
            packed: Vec::new(),
            near: NearDirectory::default(),
            recent: Recent::default(),
        })
    }

    fn run(&mut self, job: Job<'a>) -> Result<Done, Error> {
        match job {
            Job::Read(files) => self.read(&files),
            Job::Blocks {
                file,
                offset,
                length,
            } => self.pack_blocks(&file, offset, length),
            Job::Fragment(bytes) => self.pack_fragment(bytes),
            Job::Confirm(twins) => self.confirm(twins),
            Job::FindEqual(group) => self.find_equal(group),
        }
    }

    fn read(&mut self, files: &[EntryId]) -> Result<Done, Error> {
        let mut bytes = self.shop.runs.take();
        let mut hashes = Vec::with_capacity(files.len());
        for id in files {
            let start = bytes.len();
            self.read_whole(*id, &mut bytes)?;
            hashes.push((self.shop.hash)(&bytes[start..]));
        }
        Ok(Done::Read { bytes, hashes })
    }

    /// Appends the content of a small file to `bytes`.
    fn read_whole(&mut self, id: EntryId, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let (size, source) = file(self.shop.tree, id);
        match source {
            Source::Bytes(content) => bytes.extend_from_slice(content),
            Source::Range(range) => {
                let start = bytes.len();
                bytes.resize(start + size as usize, 0);
                range.read_exact(&mut bytes[start..], 0)?;
            }
            Source::Disk(disk) => {
                let open = disk.open(&mut self.near)?;
                let start = bytes.len();
                bytes.resize(start + size as usize, 0);
                open.read_exact_at(&mut bytes[start..], 0)
                    .map_err(|error| disk.read_failed(error))?;
                disk.check_unchanged(&open, size)?;
            }
            Source::Image(image) => {
                let layout = image.layout()?;
                let start = bytes.len();
                bytes.resize(start + size as usize, 0);
                let reader = image.reader();
                reader.read_at(&layout, &mut self.recent, &mut bytes[start..], 0)?;
                self.recent.forget();
            }
        }
        Ok(())
    }

    fn pack_blocks(&mut self, large: &LargeFile, start: u64, length: u64) -> Result<Done, Error> {
        let content = self.open_large(large)?;
        // The buffer is given back even after an error, because the worker continues with other
        // jobs until it is stopped.
        let mut block = mem::take(&mut self.block);
        let blocks = self.pack_run(large, &content, start..start + length, &mut block);
        self.block = block;
        let blocks = blocks?;
        if large.jobs_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            content.check_unchanged(large.size)?;
            large.lock().take();
        }
        Ok(Done::Blocks(blocks))
    }

    fn pack_run(
        &mut self,
        large: &LargeFile,
        content: &Content<'_>,
        run: Range<u64>,
        block: &mut [u8],
    ) -> Result<Blocks, Error> {
        let mut blocks = Blocks {
            packed: self.shop.runs.take(),
            ..Blocks::default()
        };
        for at in run.clone().step_by(block.len()) {
            let length = (run.end - at).min(block.len() as u64) as usize;
            let bytes = content.read(&mut block[..length], at)?;
            blocks.hashes.push((self.shop.hash)(bytes));
            if at >= large.tail_at {
                blocks.tail.extend_from_slice(bytes);
            } else if is_zero(bytes) {
                blocks.sizes.push(0);
                blocks.sparse += length as u64;
            } else {
                let size = self.encoder.append(bytes, &mut blocks.packed)?;
                blocks.sizes.push(size);
            }
        }
        Ok(blocks)
    }

    fn open_large(&mut self, large: &LargeFile) -> Result<Content<'a>, Error> {
        let (_, source) = file(self.shop.tree, large.id);
        let mut open = large.lock();
        let open = match (&*open, source) {
            (Some(open), _) => open.clone(),
            (None, Source::Disk(disk)) => {
                let file = Open::Disk(Arc::new(disk.open(&mut self.near)?));
                open.insert(file).clone()
            }
            (None, Source::Image(image)) => {
                let layout = Open::Image(Arc::new(image.layout()?));
                open.insert(layout).clone()
            }
            (None, Source::Bytes(bytes)) => return Ok(Content::Bytes(bytes)),
            (None, Source::Range(range)) => return Ok(Content::Range(range)),
        };
        Ok(match (open, source) {
            (Open::Disk(file), Source::Disk(disk)) => Content::Disk(disk, file),
            (Open::Image(layout), Source::Image(image)) => Content::image(image, layout),
            _ => unreachable!("a file keeps its source"),
        })
    }

    fn pack_fragment(&mut self, bytes: Vec<u8>) -> Result<Done, Error> {
        // Many results wait for their turn at a time, so each gets an allocation of exactly the
        // size it needs.
        self.packed.clear();
        let size = self.encoder.append(&bytes, &mut self.packed)?;
        self.shop.blocks.give_back(bytes);
        let block = self.packed.clone();
        Ok(Done::Fragment { block, size })
    }

    fn confirm(&mut self, twins: Vec<Twin>) -> Result<Done, Error> {
        let bytes = twins.iter().map(|twin| twin.bytes.len() as u64).sum();
        let mut confirmed = Vec::with_capacity(twins.len());
        let mut earlier = self.shop.runs.take();
        for mut twin in twins {
            earlier.clear();
            self.read_whole(twin.earlier, &mut earlier)?;
            let is_equal = earlier == twin.bytes;
            if is_equal {
                twin.bytes = Vec::new();
            }
            confirmed.push((twin, is_equal));
        }
        self.shop.runs.give_back(earlier);
        Ok(Done::Confirm {
            twins: confirmed,
            bytes,
        })
    }

    fn find_equal(&mut self, group: &Lookalikes) -> Result<Done, Error> {
        let mut equal = Vec::new();
        // These files are all different. Each has the hash of its first bytes.
        let mut distinct: Vec<(BlockDigest, EntryId)> = Vec::new();
        for id in &group.kept {
            let (_, look) = self.first_look(*id)?;
            distinct.push((look, *id));
        }
        for id in &group.files {
            let (content, look) = self.first_look(*id)?;
            let mut earlier = None;
            for (other_look, other) in &distinct {
                if *other_look == look && self.are_equal(*other, &content)? {
                    earlier = Some(*other);
                    break;
                }
            }
            match earlier {
                Some(earlier) => equal.push((*id, earlier)),
                None => distinct.push((look, *id)),
            }
        }
        Ok(Done::FindEqual(equal))
    }

    fn first_look(&mut self, id: EntryId) -> Result<(Content<'a>, BlockDigest), Error> {
        let (size, content) = self.open(id)?;
        let mut look = [0; FIRST_LOOK_BYTES];
        let length = size.min(FIRST_LOOK_BYTES as u64) as usize;
        let look = (self.shop.hash)(content.read(&mut look[..length], 0)?);
        Ok((content, look))
    }

    /// Returns whether a file equals this content, which has the same length.
    fn are_equal(&mut self, one: EntryId, other: &Content<'_>) -> Result<bool, Error> {
        let (size, one) = self.open(one)?;
        let mut one_bytes = self.shop.runs.take();
        let mut other_bytes = self.shop.runs.take();
        one_bytes.resize(COMPARE_BYTES, 0);
        other_bytes.resize(COMPARE_BYTES, 0);
        let mut at = 0;
        let mut is_equal = true;
        while is_equal && at < size && !self.shop.stop.load(Ordering::Relaxed) {
            let length = (size - at).min(COMPARE_BYTES as u64) as usize;
            is_equal = one.read(&mut one_bytes[..length], at)?
                == other.read(&mut other_bytes[..length], at)?;
            at += length as u64;
        }
        self.shop.runs.give_back(one_bytes);
        self.shop.runs.give_back(other_bytes);
        one.check_unchanged(size)?;
        other.check_unchanged(size)?;
        Ok(is_equal)
    }

    fn open(&mut self, id: EntryId) -> Result<(u64, Content<'a>), Error> {
        let (size, source) = file(self.shop.tree, id);
        let content = match source {
            Source::Bytes(bytes) => Content::Bytes(bytes),
            Source::Range(range) => Content::Range(range),
            Source::Disk(disk) => Content::Disk(disk, Arc::new(disk.open(&mut self.near)?)),
            Source::Image(image) => Content::image(image, Arc::new(image.layout()?)),
        };
        Ok((size, content))
    }
}

/// Returns the size and the source of a file.
pub(crate) fn file(tree: &Tree, id: EntryId) -> (u64, &Source) {
    match &tree.entry(id).kind {
        Kind::File { size, source } => (*size, source),
        _ => unreachable!("only files are planned"),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Comparing the bytes with themselves shifted by one is fast and needs no buffer of zeros.
    bytes.first() == Some(&0) && bytes[..bytes.len() - 1] == bytes[1..]
}
