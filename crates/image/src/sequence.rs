//! Responsible for the order of blocks in the image. The results of the workers are taken in the
//! order of the plan, whatever order they arrive in, so that the image is the same for any number
//! of threads.
//!
//! ```text
//! Plan ──submit──▶ JobQueue ──▶ workers (pool): read, hash, compress, compare
//!                                  │ results, in any order
//!                                  ▼
//!                    `submitted`: awaited results in the order of the plan
//!                                  │ commit
//!         ┌────────────────────────┼─────────────────────────────┐
//!   large file              small file, new hash          small file, known hash
//!         │ blocks                 │ bytes                       │ DuplicateCandidate
//!         │                        ▼                             ▼
//!         │                current shared block        compared by a worker: equal files share
//!         │                        │ full              a position, hash collisions come last
//!         │                        ▼
//!         │                compressed by a worker, written FRAGMENT_LAG_BYTES later
//!         ▼                        ▼
//! Output: blocks of large files, with shared blocks between two files
//! ```
//!
//! Hot files take this way first. Where they end (`zone`), everything is written that still waits,
//! so that they share no block with others, and the blocks of a donor get their place.
//!
//! Memory is bounded: a job is submitted only while `in_flight` is below the budget. The bytes of a
//! job count from its submission to its commit, those of a candidate until it is compared.

mod fragments;
mod tail;
mod zone;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::blocks::PackedBlock;
use crate::digest::{BlockDigest, ContentDigest, ContentFingerprint};
use crate::donor_blocks::ReusedBlocks;
use crate::output::Output;
use crate::placement::{PackedContents, Placement};
use crate::plan::Plan;
use crate::pool::{
    self, Awaited, ComparedCandidates, CompressedBlocks, CompressedFragment, DuplicateCandidate,
    EqualFiles, Job, JobQueue, LargeFile, ReadFiles, WorkerContext,
};
use crate::tree::EntryId;
use crate::{Error, HotZone, Progress};
use tail::tail_at;
pub(crate) use zone::{Sequenced, WaitingDonor};

/// Approximate number of bytes that a job reads: few enough to divide the work evenly, and enough
/// that the cost of passing a job to a worker is negligible.
const JOB_BYTES: u64 = 512 << 10;
/// Maximum number of small files that a job reads.
const JOB_FILES: usize = 128;
/// Number of bytes of possible duplicates that are compared in one job. A job also begins when
/// [`JOB_FILES`] of them have been collected.
const COMPARE_BYTES: usize = 256 << 10;
/// Maximum number of outstanding comparison jobs: enough for the workers never to wait, few enough
/// to bound memory.
const COMPARISONS_OUTSTANDING: usize = 32;
/// Number of bytes of content that are sequenced between the moment when a shared block is full and
/// its writing. Until then workers have time to compress it. Like [`JOB_BYTES`], this number
/// determines the layout: changing it changes every image.
const FRAGMENT_LAG_BYTES: u64 = 16 << 20;
/// Minimum of the same delay in blocks, which matters for large blocks.
const FRAGMENT_LAG_BLOCKS: u64 = 32;
/// Minimum and maximum number of bytes that workers may hold at a time.
const BUDGET_BYTES: (u64, u64) = (12 << 20, 64 << 20);

/// Thread count, progress callback and cancel flag of a packing run.
#[derive(Clone, Copy)]
pub(crate) struct RunControl<'a> {
    pub(crate) threads: usize,
    pub(crate) progress: Option<&'a dyn Progress>,
    pub(crate) cancel: Option<&'a AtomicBool>,
    /// Function that is called with each recorded block when it is written.
    pub(crate) listener: Option<&'a dyn Fn(PackedBlock)>,
}

/// Writes the contents of all files: the hot ones first. The positions in `contents` are those of
/// kept files in the donor, whose blocks get their place through `donor` where the hot ones end.
pub(crate) fn sequence<'a>(
    plan: &'a Plan<'a>,
    context: WorkerContext<'a>,
    output: &'a mut Output,
    control: RunControl<'a>,
    contents: PackedContents,
    donor: Option<WaitingDonor>,
) -> Result<Sequenced, Error> {
    let (jobs, job_receiver) = crossbeam_channel::unbounded();
    let (failure_sender, failures) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        // Each worker has its own ends of the channels. The channels close when the last worker
        // ends.
        condense_threads::several(scope, control.threads, move || {
            pool::work(context, &job_receiver, &failure_sender);
        })?;
        let queue = JobQueue::new(jobs, failures, control.cancel);
        let result = Sequencer::new(plan, context, output, queue, control, contents, donor).run();
        // Whether this succeeded or failed, no more results are needed. The sequencer has dropped
        // its end of the job queue, so the workers end.
        context.stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Part of the plan whose result is awaited.
enum PlannedJob<'a> {
    Small {
        files: Vec<EntryId>,
        bytes: u64,
        /// Whether the contents are in the image already, as blocks of the donor.
        is_kept: bool,
        result: Awaited<ReadFiles>,
    },
    Large {
        file: Arc<LargeFile<'a>>,
        bytes: u64,
        first: bool,
        last: bool,
        result: Awaited<CompressedBlocks>,
    },
    /// End of the hot files.
    EndOfZone,
}

impl PlannedJob<'_> {
    fn bytes(&self) -> u64 {
        match self {
            PlannedJob::Small { bytes, .. } | PlannedJob::Large { bytes, .. } => *bytes,
            PlannedJob::EndOfZone => 0,
        }
    }

    /// Returns whether the image already has the contents, so that nothing is written for them.
    fn is_kept(&self) -> bool {
        matches!(self, PlannedJob::Small { is_kept: true, .. })
    }
}

/// Full shared block that is not written yet.
struct FullFragment {
    result: Awaited<CompressedFragment>,
    /// Value of [`Sequencer::sequenced`] when the block was full.
    full_at: u64,
}

/// Large file whose blocks are being written.
#[derive(Default)]
struct CurrentFile {
    start: u64,
    sizes: Vec<u32>,
    digest: ContentDigest,
    sparse: u64,
}

struct Sequencer<'a> {
    plan: &'a Plan<'a>,
    context: WorkerContext<'a>,
    output: &'a mut Output,
    queue: JobQueue<'a>,
    progress: Option<&'a dyn Progress>,
    listener: Option<&'a dyn Fn(PackedBlock)>,
    /// Files of the donor that are still to be read, so that small files that equal them are
    /// recognised.
    kept_small: &'a [EntryId],
    /// Whether the hot files are still to be read.
    is_hot: bool,
    /// Small files that are still to be read, hot ones or others.
    small: &'a [EntryId],
    /// Large files that are still to be read, hot ones or others.
    large: &'a [EntryId],
    /// Searches for equal large files.
    searches: Vec<Awaited<Vec<EqualFiles>>>,
    /// Large files that equal an earlier file. `None` until the searches are finished.
    equal_large: Option<HashSet<EntryId>>,
    /// Files that equal an earlier file.
    equal: Vec<EqualFiles>,
    /// Large file that is being read, and the offset of its next part.
    opened: Option<(Arc<LargeFile<'a>>, u64)>,
    /// Parts of the plan that were sent to workers, in the order of the plan.
    submitted: VecDeque<PlannedJob<'a>>,
    /// Number of bytes of parts and possible duplicates that workers hold or that wait to be
    /// sequenced.
    in_flight: u64,
    /// Maximum of `in_flight`. It depends on the number of threads, so it must never influence the
    /// layout.
    budget: u64,
    /// Shared block that is being filled.
    fragment: Vec<u8>,
    full_fragments: VecDeque<FullFragment>,
    /// Number of bytes of content sequenced so far.
    sequenced: u64,
    /// Number of bytes that are sequenced between the moment when a shared block is full and its
    /// writing.
    lag: u64,
    current: CurrentFile,
    /// First small file of each size and hash.
    known: HashMap<(u64, BlockDigest), EntryId>,
    /// Possible duplicates that are not submitted for comparison yet.
    candidates: Vec<DuplicateCandidate>,
    candidate_bytes: usize,
    comparisons: VecDeque<Awaited<ComparedCandidates>>,
    /// Possible duplicates that turned out to differ from the earlier file.
    hash_collisions: Vec<DuplicateCandidate>,
    contents: PackedContents,
    /// Donor whose blocks have no place yet.
    donor: Option<WaitingDonor>,
    zone: HotZone,
    reused: Option<Arc<ReusedBlocks>>,
}

impl<'a> Sequencer<'a> {
    fn new(
        plan: &'a Plan<'a>,
        context: WorkerContext<'a>,
        output: &'a mut Output,
        queue: JobQueue<'a>,
        control: RunControl<'a>,
        contents: PackedContents,
        donor: Option<WaitingDonor>,
    ) -> Sequencer<'a> {
        let block_size = u64::from(context.format.block_size.bytes());
        // Four jobs for each worker keep all of them busy while the sequencer waits for one.
        let jobs = control.threads as u64 * 4 * JOB_BYTES.max(block_size);
        let start = output.position();
        Sequencer {
            plan,
            context,
            output,
            queue,
            progress: control.progress,
            listener: control.listener,
            kept_small: &plan.kept_small,
            is_hot: true,
            small: &plan.hot_small,
            large: &plan.hot_large,
            searches: Vec::new(),
            equal_large: None,
            equal: Vec::new(),
            opened: None,
            submitted: VecDeque::new(),
            in_flight: 0,
            budget: jobs.clamp(BUDGET_BYTES.0, BUDGET_BYTES.1),
            fragment: context.blocks.take(),
            full_fragments: VecDeque::new(),
            sequenced: 0,
            lag: FRAGMENT_LAG_BYTES.max(FRAGMENT_LAG_BLOCKS * block_size),
            current: CurrentFile::default(),
            known: HashMap::new(),
            candidates: Vec::new(),
            candidate_bytes: 0,
            comparisons: VecDeque::new(),
            hash_collisions: Vec::new(),
            contents,
            donor,
            zone: HotZone { start, bytes: 0 },
            reused: None,
        }
    }

    fn run(mut self) -> Result<Sequenced, Error> {
        for group in &self.plan.same_size_groups {
            let search = self.queue.submit(|reply| Job::FindEqual { group, reply });
            self.searches.push(search);
        }
        if self.small.is_empty() && self.large.is_empty() {
            self.leave_zone();
            self.end_zone()?;
        }
        loop {
            while (self.in_flight < self.budget || self.submitted.is_empty())
                && self.submit_next()?
            {}
            let Some(job) = self.submitted.pop_front() else {
                break;
            };
            let (bytes, is_kept) = (job.bytes(), job.is_kept());
            let between_files = self.commit(job)?;
            self.in_flight -= bytes;
            if !is_kept {
                self.sequenced += bytes;
                self.report(bytes);
            }
            if between_files {
                self.write_fragments(self.sequenced.checked_sub(self.lag))?;
            }
            self.collect_comparisons(COMPARISONS_OUTSTANDING)?;
        }
        self.finish()
    }

    fn report(&self, bytes: u64) {
        if let Some(progress) = self.progress {
            progress.packed(bytes);
        }
    }

    /// Sends the next part of the plan to the workers. Returns false if there is none.
    fn submit_next(&mut self) -> Result<bool, Error> {
        let next = match self.submit_small() {
            Some(job) => Some(job),
            None => self.submit_large()?,
        };
        let next = next.or_else(|| self.leave_zone());
        let Some(job) = next else {
            return Ok(false);
        };
        self.in_flight += job.bytes();
        self.submitted.push_back(job);
        Ok(true)
    }

    fn submit_small(&mut self) -> Option<PlannedJob<'a>> {
        let is_kept = !self.kept_small.is_empty();
        let from = if is_kept {
            &mut self.kept_small
        } else {
            &mut self.small
        };
        let (mut bytes, mut count) = (0, 0);
        for id in from.iter().take(JOB_FILES) {
            if bytes >= JOB_BYTES {
                break;
            }
            bytes += self.context.tree.file(*id).0;
            count += 1;
        }
        let (files, rest) = from.split_at(count);
        *from = rest;
        let files = (!files.is_empty()).then(|| files.to_vec())?;
        let result = self.queue.submit(|reply| Job::Read {
            files: files.clone(),
            reply,
        });
        Some(PlannedJob::Small {
            files,
            bytes,
            is_kept,
            result,
        })
    }

    fn submit_large(&mut self) -> Result<Option<PlannedJob<'a>>, Error> {
        let block_size = u64::from(self.context.format.block_size.bytes());
        let step = JOB_BYTES.max(block_size);
        let (file, offset) = match self.opened.take() {
            Some(opened) => opened,
            None => match self.next_distinct()? {
                None => return Ok(None),
                Some(id) => {
                    let tree = self.context.tree;
                    let (size, _) = tree.file(id);
                    let tail_at = tail_at(size, block_size);
                    let file = LargeFile::new(tree, id, tail_at, size.div_ceil(step));
                    (Arc::new(file), 0)
                }
            },
        };
        let bytes = step.min(file.size - offset);
        let last = offset + bytes == file.size;
        if !last {
            self.opened = Some((file.clone(), offset + bytes));
        }
        let result = self.queue.submit(|reply| Job::Compress {
            file: file.clone(),
            offset,
            length: bytes,
            reply,
        });
        Ok(Some(PlannedJob::Large {
            file,
            bytes,
            first: offset == 0,
            last,
            result,
        }))
    }

    /// Returns the next large file that does not equal an earlier one.
    fn next_distinct(&mut self) -> Result<Option<EntryId>, Error> {
        if self.large.is_empty() {
            return Ok(None);
        }
        if self.equal_large.is_none() {
            for search in std::mem::take(&mut self.searches) {
                let equal = self.queue.wait(&search)?;
                for file in &equal {
                    self.report(self.context.tree.file(file.id).0);
                }
                self.equal.extend(equal);
            }
            self.equal_large = Some(self.equal.iter().map(|file| file.id).collect());
        }
        let equal = self.equal_large.as_ref();
        let is_equal = |id| equal.is_some_and(|equal| equal.contains(id));
        let next = self.large.iter().position(|id| !is_equal(id));
        let (_, rest) = self.large.split_at(next.unwrap_or(self.large.len()));
        let Some((id, rest)) = rest.split_first() else {
            self.large = &[];
            return Ok(None);
        };
        self.large = rest;
        Ok(Some(*id))
    }

    /// Waits for a result and adds it to the image. Returns whether the next block may belong to
    /// another file.
    fn commit(&mut self, job: PlannedJob<'a>) -> Result<bool, Error> {
        match job {
            PlannedJob::Small {
                files,
                is_kept,
                result,
                ..
            } => {
                let ReadFiles { bytes, hashes } = self.queue.wait(&result)?;
                let mut rest = &bytes[..];
                for (id, hash) in files.into_iter().zip(hashes) {
                    let (size, _) = self.context.tree.file(id);
                    let (content, after) = rest.split_at(size as usize);
                    if is_kept {
                        self.known.entry((size, hash)).or_insert(id);
                    } else {
                        self.place_small(id, hash, content);
                    }
                    rest = after;
                }
                self.context.runs.give_back(bytes);
                Ok(true)
            }
            PlannedJob::Large {
                file,
                first,
                last,
                result,
                ..
            } => {
                let blocks = self.queue.wait(&result)?;
                if first {
                    self.current = CurrentFile {
                        start: self.output.position(),
                        ..CurrentFile::default()
                    };
                }
                self.place_blocks(blocks, last.then_some(file.id))?;
                Ok(last)
            }
            PlannedJob::EndOfZone => self.end_zone().map(|()| true),
        }
    }

    fn place_small(&mut self, id: EntryId, hash: BlockDigest, content: &[u8]) {
        let mut digest = ContentDigest::default();
        digest.push(hash);
        self.contents.fingerprints[id.index()] = ContentFingerprint::Digest(digest);
        match self.known.entry((content.len() as u64, hash)) {
            Entry::Occupied(mut known)
                if Self::is_apart(self.donor.as_ref(), &self.contents, *known.get()) =>
            {
                known.insert(id);
                let place = self.append_to_fragment(content, hash);
                self.contents.placements[id.index()].fragment = Some(place);
            }
            Entry::Occupied(known) => {
                let earlier = *known.get();
                self.in_flight += content.len() as u64;
                self.candidate_bytes += content.len();
                self.candidates.push(DuplicateCandidate {
                    id,
                    earlier,
                    bytes: content.to_vec(),
                });
                if self.candidates.len() >= JOB_FILES || self.candidate_bytes >= COMPARE_BYTES {
                    self.submit_candidates();
                }
            }
            Entry::Vacant(unknown) => {
                unknown.insert(id);
                let place = self.append_to_fragment(content, hash);
                self.contents.placements[id.index()].fragment = Some(place);
            }
        }
    }

    fn submit_candidates(&mut self) {
        self.candidate_bytes = 0;
        let candidates = std::mem::take(&mut self.candidates);
        let comparison = self
            .queue
            .submit(|reply| Job::Compare { candidates, reply });
        self.comparisons.push_back(comparison);
    }

    /// Receives the results of comparison jobs until no more than `outstanding` are left.
    fn collect_comparisons(&mut self, outstanding: usize) -> Result<(), Error> {
        while self.comparisons.len() > outstanding
            && let Some(comparison) = self.comparisons.pop_front()
        {
            let compared = self.queue.wait(&comparison)?;
            self.in_flight -= compared.bytes;
            for (candidate, is_equal) in compared.candidates {
                if is_equal {
                    self.equal.push(EqualFiles {
                        id: candidate.id,
                        earlier: candidate.earlier,
                    });
                } else {
                    self.hash_collisions.push(candidate);
                }
            }
        }
        Ok(())
    }

    /// Writes blocks of the current large file. After its last block, `finished` is the file.
    fn place_blocks(
        &mut self,
        blocks: CompressedBlocks,
        finished: Option<EntryId>,
    ) -> Result<(), Error> {
        self.current.sizes.extend_from_slice(&blocks.sizes);
        let last = blocks.hashes.last().copied();
        for hash in &blocks.hashes {
            self.current.digest.push(*hash);
        }
        self.current.sparse += blocks.sparse;
        self.record(&blocks);
        self.output.write(&blocks.packed)?;
        self.context.runs.give_back(blocks.packed);
        if let Some(id) = finished {
            // The digest of the last part is behind those of the blocks.
            let tail = last.filter(|_| !blocks.tail.is_empty());
            let fragment = tail.map(|digest| self.append_to_fragment(&blocks.tail, digest));
            let current = std::mem::take(&mut self.current);
            self.contents.fingerprints[id.index()] = ContentFingerprint::Digest(current.digest);
            self.contents.placements[id.index()] = Placement {
                start: current.start,
                sizes: current.sizes.into(),
                fragment,
                sparse: current.sparse,
            };
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Sequenced, Error> {
        self.write_pending()?;
        for EqualFiles { id, earlier } in &self.equal {
            let (id, earlier) = (id.index(), earlier.index());
            self.contents.placements[id] = self.contents.placements[earlier].clone();
            self.contents.fingerprints[id] = self.contents.fingerprints[earlier];
        }
        self.contents.duplicates = self.equal.len() as u64;
        Ok(Sequenced {
            contents: self.contents,
            zone: self.zone,
            reused: self.reused,
        })
    }
}
