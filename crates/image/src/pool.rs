//! Responsible for the jobs of packing: reading, hashing, comparing and compressing. Several worker
//! threads do the jobs and send each result to the thread that submitted the job.

mod queue;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;

use crate::blocks::{BlockKeys, BlockRecord, KnownBlocks};
use crate::content::Content;
use crate::digest::BlockDigest;
use crate::format::Format;
use crate::plan::SameSizeGroup;
use crate::source::{LastDirectory, Source};
use crate::tree::EntryId;
use crate::{Error, Tree};

pub(crate) use queue::{Awaited, JobQueue};
pub(crate) use worker::work;

/// Hash function of contents. It is a parameter so that tests can make hashes collide.
pub(crate) type Hash = fn(&[u8]) -> BlockDigest;

/// Sender of the result of one job.
pub(crate) type Reply<T> = Sender<Result<T, Error>>;

/// Piece of work that one worker does without waiting for another worker.
pub(crate) enum Job<'a> {
    /// Reads whole files, one after the other, into one buffer.
    Read {
        files: Vec<EntryId>,
        reply: Reply<ReadFiles>,
    },
    /// Reads a run of blocks of a file and compresses each block.
    Compress {
        file: Arc<LargeFile<'a>>,
        offset: u64,
        length: u64,
        reply: Reply<CompressedBlocks>,
    },
    /// Compresses a block that several files share.
    CompressFragment {
        bytes: Vec<u8>,
        reply: Reply<CompressedFragment>,
    },
    /// Compares contents with earlier files that have the same hash.
    Compare {
        candidates: Vec<DuplicateCandidate>,
        reply: Reply<ComparedCandidates>,
    },
    /// Finds equal files among files of the same size.
    FindEqual {
        group: &'a SameSizeGroup,
        reply: Reply<Vec<EqualFiles>>,
    },
}

/// Contents of small files.
pub(crate) struct ReadFiles {
    /// Contents, one after the other.
    pub(crate) bytes: Vec<u8>,
    /// Hash of each content.
    pub(crate) hashes: Vec<BlockDigest>,
}

/// Run of compressed blocks of a file.
#[derive(Default)]
pub(crate) struct CompressedBlocks {
    /// Compressed blocks, one after the other.
    pub(crate) packed: Vec<u8>,
    /// Size fields of the blocks as in an inode. It is 0 for a block of zeros, for which nothing is
    /// stored.
    pub(crate) sizes: Vec<u32>,
    pub(crate) hashes: Vec<BlockDigest>,
    /// Records of the blocks without those of zeros. It is empty if blocks are not recorded.
    pub(crate) records: Vec<BlockRecord>,
    /// Number of bytes in blocks of zeros.
    pub(crate) sparse: u64,
    /// Bytes after the last full block, if they are to share a block with other files.
    pub(crate) tail: Vec<u8>,
}

/// Compressed block that several files share.
pub(crate) struct CompressedFragment {
    pub(crate) block: Vec<u8>,
    /// Size field of the block as in the fragment table.
    pub(crate) size: u32,
    pub(crate) record: Option<BlockRecord>,
}

/// Small file that has the same size and hash as an earlier file.
pub(crate) struct DuplicateCandidate {
    pub(crate) id: EntryId,
    pub(crate) earlier: EntryId,
    pub(crate) bytes: Vec<u8>,
}

/// Result of comparing candidates with their earlier files.
pub(crate) struct ComparedCandidates {
    /// Each candidate with whether it equals its earlier file. The content of those that do is
    /// dropped.
    pub(crate) candidates: Vec<(DuplicateCandidate, bool)>,
    /// Size of all contents that were compared, in bytes.
    pub(crate) bytes: u64,
}

/// File that equals an earlier file.
pub(crate) struct EqualFiles {
    pub(crate) id: EntryId,
    pub(crate) earlier: EntryId,
}

/// File whose blocks are read by several jobs. Jobs begin in order, so at most one file more than
/// there are workers is open at a time, however small the blocks are.
pub(crate) struct LargeFile<'a> {
    pub(crate) id: EntryId,
    pub(crate) size: u64,
    /// Start of the part that shares a block with other files. It is the size of the file if there
    /// is no such part.
    tail_at: u64,
    source: &'a Source,
    /// Open content. The first job opens it and the last job closes it.
    open: Mutex<Option<Content<'a>>>,
    jobs_left: AtomicU64,
}

impl<'a> LargeFile<'a> {
    pub(crate) fn new(tree: &'a Tree, id: EntryId, tail_at: u64, jobs: u64) -> LargeFile<'a> {
        let (size, source) = tree.file(id);
        LargeFile {
            id,
            size,
            tail_at,
            source,
            open: Mutex::new(None),
            jobs_left: AtomicU64::new(jobs),
        }
    }

    /// Returns a handle of the content, which is opened by the first call.
    fn open(&self, last_directory: &mut LastDirectory) -> Result<Content<'a>, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = &*open {
            return Ok(content.share());
        }
        let content = Content::open(self.source, last_directory)?;
        *open = Some(content.share());
        Ok(content)
    }

    /// Counts a finished job. After the last one, checks that the file is unchanged and closes it.
    fn finish_job(&self, content: &Content<'a>) -> Result<(), Error> {
        if self.jobs_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            content.check_unchanged(self.size)?;
            self.open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        }
        Ok(())
    }
}

/// State that all workers share.
#[derive(Clone, Copy)]
pub(crate) struct WorkerContext<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) format: &'a Format,
    pub(crate) hash: Hash,
    /// Keys of blocks, if they are looked for or recorded.
    pub(crate) keys: Option<BlockKeys>,
    /// Blocks that need no compressing.
    pub(crate) known: Option<&'a dyn KnownBlocks>,
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
