//! Responsible for the work of one thread of the pool.

use std::mem;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::{
    ComparedCandidates, CompressedBlocks, CompressedFragment, DuplicateCandidate, EqualFiles, Job,
    LargeFile, ReadFiles, WorkerContext,
};
use crate::block_digests::{BlockDigests, KnownDigest};
use crate::blocks::BlockMaker;
use crate::content::Content;
use crate::digest::BlockDigest;
use crate::plan::SameSizeGroup;
use crate::reader::LastBlock;
use crate::source::{LastDirectory, Source};
use crate::tree::EntryId;
use crate::{Error, Tree};

/// Number of bytes read to see quickly whether two files of the same size may be equal.
const PREFIX_BYTES: usize = 4 << 10;
/// Number of bytes read at a time from each of two files that are compared.
const COMPARE_BYTES: usize = 128 << 10;

/// Does jobs until there are none left or no more results are needed. `failures` gets the error of
/// a worker that cannot start to work.
pub(crate) fn work<'a>(
    context: WorkerContext<'a>,
    jobs: &Receiver<Job<'a>>,
    failures: &Sender<Error>,
) {
    let mut worker = match Worker::new(context) {
        Ok(worker) => worker,
        Err(error) => {
            let _ = failures.send(error);
            return;
        }
    };
    for job in jobs {
        if context.stop.load(Ordering::Relaxed) {
            return;
        }
        worker.run(job);
    }
}

struct Worker<'a> {
    context: WorkerContext<'a>,
    maker: BlockMaker<'a>,
    block: Vec<u8>,
    packed: Vec<u8>,
    last_directory: LastDirectory,
    last_block: LastBlock,
}

impl<'a> Worker<'a> {
    fn new(context: WorkerContext<'a>) -> Result<Worker<'a>, Error> {
        Ok(Worker {
            context,
            maker: BlockMaker::new(context.format, context.keys, context.known)?,
            block: vec![0; context.format.block_size.bytes() as usize],
            packed: Vec::new(),
            last_directory: LastDirectory::default(),
            last_block: LastBlock::default(),
        })
    }

    /// Does a job and sends its result. The thread that submitted the job may no longer wait for
    /// the result, because another job has failed.
    fn run(&mut self, job: Job<'a>) {
        match job {
            Job::Read { files, reply } => {
                let _ = reply.send(self.read(&files));
            }
            Job::Compress {
                file,
                offset,
                length,
                reply,
            } => {
                let _ = reply.send(self.compress(&file, offset, length));
            }
            Job::CompressFragment { bytes, reply } => {
                let _ = reply.send(self.compress_fragment(bytes));
            }
            Job::Compare { candidates, reply } => {
                let _ = reply.send(self.compare(candidates));
            }
            Job::FindEqual { group, reply } => {
                let _ = reply.send(self.find_equal(group));
            }
        }
    }

    fn read(&mut self, files: &[EntryId]) -> Result<ReadFiles, Error> {
        let mut bytes = self.context.runs.take();
        let mut hashes = Vec::with_capacity(files.len());
        for id in files {
            let start = bytes.len();
            self.read_whole(*id, &mut bytes)?;
            hashes.push((self.context.hash)(&bytes[start..]));
        }
        Ok(ReadFiles { bytes, hashes })
    }

    /// Appends the content of a small file to `bytes`.
    fn read_whole(&mut self, id: EntryId, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let (size, source) = self.context.tree.file(id);
        match source {
            Source::Bytes(content) => bytes.extend_from_slice(content),
            Source::Range(range) => {
                let start = bytes.len();
                bytes.resize(start + size as usize, 0);
                range.read_exact(&mut bytes[start..], 0)?;
            }
            Source::Disk(disk) => {
                let open = disk.open(&mut self.last_directory)?;
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
                reader.read_at(&layout, &mut self.last_block, &mut bytes[start..], 0)?;
                self.last_block.forget();
            }
        }
        Ok(())
    }

    fn compress(
        &mut self,
        file: &LargeFile<'a>,
        start: u64,
        length: u64,
    ) -> Result<CompressedBlocks, Error> {
        let content = file.open(&mut self.last_directory)?;
        // The buffer is given back even after an error, because the worker continues with other
        // jobs until it is stopped.
        let mut block = mem::take(&mut self.block);
        let blocks = self.compress_run(file, &content, start..start + length, &mut block);
        self.block = block;
        let blocks = blocks?;
        file.finish_job(&content)?;
        Ok(blocks)
    }

    fn compress_run(
        &mut self,
        file: &LargeFile<'_>,
        content: &Content<'_>,
        run: Range<u64>,
        block: &mut [u8],
    ) -> Result<CompressedBlocks, Error> {
        let mut blocks = CompressedBlocks {
            packed: self.context.runs.take(),
            ..CompressedBlocks::default()
        };
        for at in run.clone().step_by(block.len()) {
            let length = (run.end - at).min(block.len() as u64) as usize;
            if let Some(digest) = content.digest(at, block.len(), file.size)
                && self.append_unread(digest, length, &mut blocks)
            {
                continue;
            }
            let bytes = content.read_block(&mut block[..length], at, file.size)?;
            blocks.hashes.push((self.context.hash)(bytes));
            if at >= file.tail_at {
                blocks.tail.extend_from_slice(bytes);
            } else if is_zero(bytes) {
                blocks.sizes.push(0);
                blocks.sparse += length as u64;
            } else {
                let (size, record) = self.maker.append(bytes, &mut blocks.packed)?;
                blocks.sizes.push(size);
                blocks.records.extend(record);
            }
        }
        Ok(blocks)
    }

    /// Appends a whole block that was not read. Returns false if its content is necessary.
    fn append_unread(
        &mut self,
        digest: KnownDigest<'_>,
        length: usize,
        blocks: &mut CompressedBlocks,
    ) -> bool {
        if digest.is_of_zeros() {
            blocks.sizes.push(0);
            blocks.sparse += length as u64;
        } else if let Some((size, record)) =
            self.maker.append_unread(digest, length, &mut blocks.packed)
        {
            blocks.sizes.push(size);
            blocks.records.push(record);
        } else {
            return false;
        }
        blocks.hashes.push(digest.content());
        true
    }

    fn compress_fragment(&mut self, bytes: Vec<u8>) -> Result<CompressedFragment, Error> {
        // Many results wait for their turn at a time, so each gets an allocation of exactly the
        // size it needs.
        self.packed.clear();
        let (size, record) = self.maker.append(&bytes, &mut self.packed)?;
        self.context.blocks.give_back(bytes);
        let block = self.packed.clone();
        Ok(CompressedFragment {
            block,
            size,
            record,
        })
    }

    fn compare(
        &mut self,
        candidates: Vec<DuplicateCandidate>,
    ) -> Result<ComparedCandidates, Error> {
        let bytes = candidates.iter().map(|it| it.bytes.len() as u64).sum();
        let mut compared = Vec::with_capacity(candidates.len());
        let mut earlier = self.context.runs.take();
        for mut candidate in candidates {
            earlier.clear();
            self.read_whole(candidate.earlier, &mut earlier)?;
            let is_equal = earlier == candidate.bytes;
            if is_equal {
                candidate.bytes = Vec::new();
            }
            compared.push((candidate, is_equal));
        }
        self.context.runs.give_back(earlier);
        Ok(ComparedCandidates {
            candidates: compared,
            bytes,
        })
    }

    fn find_equal(&mut self, group: &SameSizeGroup) -> Result<Vec<EqualFiles>, Error> {
        let mut equal = Vec::new();
        // These files are all different. Each has the hash of its first bytes.
        let mut distinct: Vec<(BlockDigest, EntryId)> = Vec::new();
        let all = || group.kept.iter().chain(&group.files);
        let has_digest = |id: &EntryId| first_digest(self.context.tree, *id).is_some();
        let have_digests = all().all(has_digest);
        for id in &group.kept {
            let (_, prefix_hash) = self.open_and_hash_prefix(*id, have_digests)?;
            distinct.push((prefix_hash, *id));
        }
        for id in &group.files {
            let (content, prefix_hash) = self.open_and_hash_prefix(*id, have_digests)?;
            let mut earlier = None;
            for (other_hash, other) in &distinct {
                if *other_hash == prefix_hash && self.are_equal(*other, &content)? {
                    earlier = Some(*other);
                    break;
                }
            }
            match earlier {
                Some(earlier) => equal.push(EqualFiles { id: *id, earlier }),
                None => distinct.push((prefix_hash, *id)),
            }
        }
        Ok(equal)
    }

    /// Opens a file, and hashes its first bytes. If all files of its size have digests, that of the
    /// first block takes the place of the hash.
    fn open_and_hash_prefix(
        &mut self,
        id: EntryId,
        have_digests: bool,
    ) -> Result<(Content<'a>, BlockDigest), Error> {
        let (size, content) = self.open(id)?;
        if let Some(digest) = first_digest(self.context.tree, id) {
            if have_digests {
                return Ok((content, digest.content()));
            }
            let mut block = vec![0; BlockDigests::BLOCK_BYTES];
            let block = content.read_block(&mut block, 0, size)?;
            let hash = (self.context.hash)(&block[..PREFIX_BYTES]);
            return Ok((content, hash));
        }
        let mut prefix = [0; PREFIX_BYTES];
        let length = size.min(PREFIX_BYTES as u64) as usize;
        let hash = (self.context.hash)(content.read(&mut prefix[..length], 0)?);
        Ok((content, hash))
    }

    /// Returns whether a file equals this content, which has the same length.
    fn are_equal(&mut self, one: EntryId, other: &Content<'_>) -> Result<bool, Error> {
        let (size, one) = self.open(one)?;
        let mut one_bytes = self.context.runs.take();
        let mut other_bytes = self.context.runs.take();
        one_bytes.resize(COMPARE_BYTES, 0);
        other_bytes.resize(COMPARE_BYTES, 0);
        let mut at = 0;
        let mut is_equal = true;
        while is_equal && at < size && !self.context.stop.load(Ordering::Relaxed) {
            let length = (size - at).min(COMPARE_BYTES as u64) as usize;
            let known = |content: &Content<'_>| {
                let digest = content.digest(at, COMPARE_BYTES, size);
                digest.map(KnownDigest::strong)
            };
            is_equal = match (known(&one), known(other)) {
                (Some(one), Some(other)) => one == other,
                _ => {
                    one.read_block(&mut one_bytes[..length], at, size)?
                        == other.read_block(&mut other_bytes[..length], at, size)?
                }
            };
            at += length as u64;
        }
        self.context.runs.give_back(one_bytes);
        self.context.runs.give_back(other_bytes);
        one.check_unchanged(size)?;
        other.check_unchanged(size)?;
        Ok(is_equal)
    }

    fn open(&mut self, id: EntryId) -> Result<(u64, Content<'a>), Error> {
        let (size, source) = self.context.tree.file(id);
        Ok((size, Content::open(source, &mut self.last_directory)?))
    }
}

/// Returns the digest of the first block of a file, if it is known.
fn first_digest(tree: &Tree, id: EntryId) -> Option<KnownDigest<'_>> {
    let (size, source) = tree.file(id);
    let Source::Range(range) = source else {
        return None;
    };
    let is_whole = size >= BlockDigests::BLOCK_BYTES as u64;
    let digest = is_whole.then(|| range.digest(0, BlockDigests::BLOCK_BYTES));
    digest.flatten()
}

fn is_zero(bytes: &[u8]) -> bool {
    // Comparing the bytes with themselves shifted by one is fast and needs no buffer of zeros.
    bytes.first() == Some(&0) && bytes[..bytes.len() - 1] == bytes[1..]
}
