//! Responsible for the order of blocks in the image. The results of the workers are taken in the
//! order of the plan, whatever order they arrive in, so that the image is the same for any number
//! of threads.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::digest::{BlockDigest, ContentDigest, Proof};
use crate::output::Output;
use crate::plan::Plan;
use crate::pool::{self, Blocks, Done, Job, LargeFile, NO_TICKET, Shop, Ticketed, Twin};
use crate::tree::EntryId;
use crate::{Error, Progress, Tree};

/// Approximate number of bytes that a job reads: few enough to divide the work evenly, and enough
/// that the cost of passing a job to a worker is negligible.
const JOB_BYTES: u64 = 512 << 10;
/// Maximum number of small files that a job reads.
const JOB_FILES: usize = 128;
/// Number of bytes of possible duplicates that are compared in one job. A job also begins when
/// [`JOB_FILES`] of them have been collected.
const CONFIRM_BYTES: usize = 256 << 10;
/// Maximum number of outstanding comparison jobs: enough for the workers never to wait, few enough
/// to bound memory.
const CONFIRMATIONS_OUTSTANDING: usize = 32;
/// Number of bytes of content that are sequenced between the moment when a shared block is full and
/// its writing. Until then workers have time to compress it. Like [`JOB_BYTES`], this number
/// determines the layout: changing it changes every image.
const FRAGMENT_LAG_BYTES: u64 = 16 << 20;
/// Minimum of the same delay in blocks, which matters for large blocks.
const FRAGMENT_LAG_BLOCKS: u64 = 32;
/// Minimum and maximum number of bytes that workers may hold at a time.
const BUDGET_BYTES: (u64, u64) = (24 << 20, 64 << 20);
/// Interval between checks of the cancel flag while results are awaited.
const PATIENCE: Duration = Duration::from_millis(50);

/// Positions of a file's content in the image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placement {
    /// Position of the first block.
    pub(crate) start: u64,
    /// Size fields of the blocks as in the inode.
    pub(crate) sizes: Box<[u32]>,
    /// Shared block with the last part of the file, and the offset in that block.
    pub(crate) fragment: Option<(u32, u32)>,
    /// Number of bytes in blocks of zeros.
    pub(crate) sparse: u64,
}

/// Positions of all contents, and evidence of what they are.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Position of each file's content, indexed by entry.
    pub(crate) placements: Vec<Placement>,
    /// Evidence of each file's content, indexed by entry.
    pub(crate) proofs: Vec<Proof>,
    /// Position and size field of each shared block.
    pub(crate) fragments: Vec<(u64, u32)>,
    /// Number of files whose content an earlier file already had.
    pub(crate) duplicates: u64,
}

impl Contents {
    /// Returns the value for a tree whose contents have no positions yet.
    pub(crate) fn of(tree: &Tree) -> Contents {
        Contents {
            placements: vec![Placement::default(); tree.capacity()],
            proofs: vec![Proof::default(); tree.capacity()],
            ..Contents::default()
        }
    }
}

/// Thread count, progress callback and cancel flag of a packing run.
#[derive(Clone, Copy)]
pub(crate) struct Conduct<'a> {
    pub(crate) threads: usize,
    pub(crate) progress: Option<&'a dyn Progress>,
    pub(crate) cancel: Option<&'a AtomicBool>,
}

/// Writes the contents of all files except the kept ones, whose positions are already in
/// `contents`. Returns the positions of all files.
pub(crate) fn sequence(
    plan: &Plan,
    shop: Shop<'_>,
    output: &mut Output,
    conduct: Conduct<'_>,
    contents: Contents,
) -> Result<Contents, Error> {
    let (jobs, waiting) = crossbeam_channel::unbounded();
    let (finished, results) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        // Each worker has its own ends of the queues. The queues close when the last worker ends.
        condense_threads::several(scope, conduct.threads, move || {
            pool::work(shop, &waiting, &finished);
        })?;
        let desk = Desk {
            jobs,
            results,
            next: 0,
            arrived: HashMap::new(),
            cancel: conduct.cancel,
        };
        let contents = Sequencer::new(plan, shop, output, desk, conduct, contents).run();
        // Whether this succeeded or failed, no more results are needed. The sequencer has dropped
        // its end of the job queue, so the workers end.
        shop.stop.store(true, Ordering::Relaxed);
        contents
    })
}

/// Sends jobs to the workers, and returns their results in any requested order.
struct Desk<'a> {
    jobs: Sender<Ticketed<Job<'a>>>,
    results: Receiver<Ticketed<Result<Done, Error>>>,
    next: u64,
    arrived: HashMap<u64, Result<Done, Error>>,
    cancel: Option<&'a AtomicBool>,
}

impl<'a> Desk<'a> {
    fn submit(&mut self, job: Job<'a>) -> u64 {
        let ticket = self.next;
        self.next += 1;
        // This fails if all workers have ended. Waiting for the result then reports the reason.
        let _ = self.jobs.send((ticket, job));
        ticket
    }

    fn wait(&mut self, ticket: u64) -> Result<Done, Error> {
        loop {
            if self
                .cancel
                .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
            {
                return Err(Error::Cancelled);
            }
            if let Some(result) = self.arrived.remove(&ticket) {
                return result;
            }
            match self.results.recv_timeout(PATIENCE) {
                Ok((NO_TICKET, result)) => return result,
                Ok((ticket, result)) => {
                    self.arrived.insert(ticket, result);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // All workers have panicked. Joining the threads reports the panic.
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Cancelled),
            }
        }
    }
}

/// Part of the plan whose result is awaited.
enum Unit {
    Small {
        files: Vec<EntryId>,
        bytes: u64,
        /// Whether the contents are in the image already, as blocks of the donor.
        is_kept: bool,
    },
    Large {
        file: Arc<LargeFile>,
        bytes: u64,
        first: bool,
        last: bool,
    },
}

impl Unit {
    fn bytes(&self) -> u64 {
        match self {
            Unit::Small { bytes, .. } | Unit::Large { bytes, .. } => *bytes,
        }
    }
}

/// Large file whose blocks are being written.
#[derive(Default)]
struct Current {
    start: u64,
    sizes: Vec<u32>,
    digest: ContentDigest,
    sparse: u64,
}

struct Sequencer<'a> {
    plan: &'a Plan,
    shop: Shop<'a>,
    output: &'a mut Output,
    desk: Desk<'a>,
    progress: Option<&'a dyn Progress>,
    /// Files of the donor that are still to be read, so that small files that equal them are
    /// recognised.
    known_first: &'a [EntryId],
    /// Small files that are still to be read.
    small: &'a [EntryId],
    /// Large files that are still to be read, without those that equal an earlier file. `None`
    /// until the searches are finished.
    large: Option<std::vec::IntoIter<EntryId>>,
    /// Job numbers of the searches for equal large files.
    searches: Vec<u64>,
    /// Pairs of a file and an earlier file that it equals.
    equal: Vec<(EntryId, EntryId)>,
    /// Large file that is being read, and the offset of its next part.
    opened: Option<(Arc<LargeFile>, u64)>,
    /// Parts of the plan that were sent to workers, in the order of the plan, each with its job
    /// number.
    units: VecDeque<(u64, Unit)>,
    /// Number of bytes of parts and possible duplicates that workers hold or that wait to be
    /// sequenced.
    in_flight: u64,
    /// Maximum of `in_flight`. It depends on the number of threads, so it must never influence the
    /// layout.
    budget: u64,
    /// Shared block that is being filled.
    fragment: Vec<u8>,
    /// Full shared blocks that are not written yet: job number, and the value of `sequenced` when
    /// the block was full.
    full_fragments: VecDeque<(u64, u64)>,
    /// Number of bytes of content sequenced so far.
    sequenced: u64,
    lag: u64,
    current: Current,
    /// First small file of each size and hash.
    known: HashMap<(u64, BlockDigest), EntryId>,
    twins: Vec<Twin>,
    twin_bytes: usize,
    confirmations: VecDeque<u64>,
    /// Possible duplicates that turned out to differ from the earlier file.
    strangers: Vec<Twin>,
    contents: Contents,
}

impl<'a> Sequencer<'a> {
    fn new(
        plan: &'a Plan,
        shop: Shop<'a>,
        output: &'a mut Output,
        desk: Desk<'a>,
        conduct: Conduct<'a>,
        contents: Contents,
    ) -> Sequencer<'a> {
        let block_size = u64::from(shop.format.block_size.bytes());
        // Four jobs for each worker keep all of them busy while the sequencer waits for one.
        let jobs = conduct.threads as u64 * 4 * JOB_BYTES.max(block_size);
        Sequencer {
            plan,
            shop,
            output,
            desk,
            progress: conduct.progress,
            known_first: &plan.kept_lookalikes,
            small: &plan.small,
            large: None,
            searches: Vec::new(),
            equal: Vec::new(),
            opened: None,
            units: VecDeque::new(),
            in_flight: 0,
            budget: jobs.clamp(BUDGET_BYTES.0, BUDGET_BYTES.1),
            fragment: shop.blocks.take(),
            full_fragments: VecDeque::new(),
            sequenced: 0,
            lag: FRAGMENT_LAG_BYTES.max(FRAGMENT_LAG_BLOCKS * block_size),
            current: Current::default(),
            known: HashMap::new(),
            twins: Vec::new(),
            twin_bytes: 0,
            confirmations: VecDeque::new(),
            strangers: Vec::new(),
            contents,
        }
    }

    fn run(mut self) -> Result<Contents, Error> {
        for group in &self.plan.lookalikes {
            let search = self.desk.submit(Job::FindEqual(group));
            self.searches.push(search);
        }
        loop {
            while (self.in_flight < self.budget || self.units.is_empty()) && self.hand_out()? {}
            let Some((ticket, unit)) = self.units.pop_front() else {
                break;
            };
            let done = self.desk.wait(ticket)?;
            let between_files = self.take(&unit, done)?;
            self.in_flight -= unit.bytes();
            if !matches!(unit, Unit::Small { is_kept: true, .. }) {
                self.sequenced += unit.bytes();
                self.report(unit.bytes());
            }
            if between_files {
                self.write_fragments(self.sequenced.checked_sub(self.lag))?;
            }
            self.collect_confirmations(CONFIRMATIONS_OUTSTANDING)?;
        }
        self.finish()
    }

    fn report(&self, bytes: u64) {
        if let Some(progress) = self.progress {
            progress.packed(bytes);
        }
    }

    /// Sends the next part of the plan to the workers. Returns false if there is none.
    fn hand_out(&mut self) -> Result<bool, Error> {
        let next = match self.next_small() {
            Some(next) => Some(next),
            None => self.next_large()?,
        };
        let Some((job, unit)) = next else {
            return Ok(false);
        };
        self.in_flight += unit.bytes();
        let ticket = self.desk.submit(job);
        self.units.push_back((ticket, unit));
        Ok(true)
    }

    fn next_small(&mut self) -> Option<(Job<'a>, Unit)> {
        let is_kept = !self.known_first.is_empty();
        let from = if is_kept {
            &mut self.known_first
        } else {
            &mut self.small
        };
        let (mut bytes, mut count) = (0, 0);
        for id in from.iter().take(JOB_FILES) {
            if bytes >= JOB_BYTES {
                break;
            }
            bytes += pool::file(self.shop.tree, *id).0;
            count += 1;
        }
        let (files, rest) = from.split_at(count);
        *from = rest;
        let files = (!files.is_empty()).then(|| files.to_vec())?;
        let job = Job::Read(files.clone());
        let unit = Unit::Small {
            files,
            bytes,
            is_kept,
        };
        Some((job, unit))
    }

    fn next_large(&mut self) -> Result<Option<(Job<'a>, Unit)>, Error> {
        let block_size = u64::from(self.shop.format.block_size.bytes());
        let step = JOB_BYTES.max(block_size);
        let (file, offset) = match self.opened.take() {
            Some(opened) => opened,
            None => match self.next_distinct()? {
                None => return Ok(None),
                Some(id) => {
                    let (size, _) = pool::file(self.shop.tree, id);
                    let tail_at = tail_at(size, block_size);
                    let file = LargeFile::new(id, size, tail_at, size.div_ceil(step));
                    (Arc::new(file), 0)
                }
            },
        };
        let bytes = step.min(file.size - offset);
        let last = offset + bytes == file.size;
        if !last {
            self.opened = Some((file.clone(), offset + bytes));
        }
        let job = Job::Blocks {
            file: file.clone(),
            offset,
            length: bytes,
        };
        let first = offset == 0;
        let unit = Unit::Large {
            file,
            bytes,
            first,
            last,
        };
        Ok(Some((job, unit)))
    }

    /// Returns the next large file that does not equal an earlier one.
    fn next_distinct(&mut self) -> Result<Option<EntryId>, Error> {
        if self.large.is_none() {
            for search in std::mem::take(&mut self.searches) {
                let Done::FindEqual(equal) = self.desk.wait(search)? else {
                    unreachable!("that was the job");
                };
                for (id, _) in &equal {
                    self.report(pool::file(self.shop.tree, *id).0);
                }
                self.equal.extend(equal);
            }
            let equal: HashSet<EntryId> = self.equal.iter().map(|(id, _)| *id).collect();
            let large = self.plan.large.iter().copied();
            let large: Vec<EntryId> = large.filter(|id| !equal.contains(id)).collect();
            self.large = Some(large.into_iter());
        }
        Ok(self.large.as_mut().and_then(Iterator::next))
    }

    /// Adds a result to the image. Returns whether the next block may belong to another file.
    fn take(&mut self, unit: &Unit, done: Done) -> Result<bool, Error> {
        match (unit, done) {
            (Unit::Small { files, is_kept, .. }, Done::Read { bytes, hashes }) => {
                let mut rest = &bytes[..];
                for (id, hash) in files.iter().zip(hashes) {
                    let (size, _) = pool::file(self.shop.tree, *id);
                    let (content, after) = rest.split_at(size as usize);
                    if *is_kept {
                        self.known.entry((size, hash)).or_insert(*id);
                    } else {
                        self.place_small(*id, hash, content);
                    }
                    rest = after;
                }
                self.shop.runs.give_back(bytes);
                Ok(true)
            }
            (
                Unit::Large {
                    file, first, last, ..
                },
                Done::Blocks(blocks),
            ) => {
                self.place_blocks(file.id, *first, *last, blocks)?;
                Ok(*last)
            }
            _ => unreachable!("a job's result is of its kind"),
        }
    }

    fn place_small(&mut self, id: EntryId, hash: BlockDigest, content: &[u8]) {
        let mut digest = ContentDigest::default();
        digest.push(hash);
        self.contents.proofs[id.index()] = Proof::Digest(digest);
        match self.known.entry((content.len() as u64, hash)) {
            Entry::Occupied(known) => {
                let earlier = *known.get();
                self.in_flight += content.len() as u64;
                self.twin_bytes += content.len();
                self.twins.push(Twin {
                    id,
                    earlier,
                    bytes: content.to_vec(),
                });
                if self.twins.len() >= JOB_FILES || self.twin_bytes >= CONFIRM_BYTES {
                    self.submit_twins();
                }
            }
            Entry::Vacant(unknown) => {
                unknown.insert(id);
                let place = self.append_to_fragment(content);
                self.contents.placements[id.index()].fragment = Some(place);
            }
        }
    }

    fn submit_twins(&mut self) {
        self.twin_bytes = 0;
        let twins = std::mem::take(&mut self.twins);
        let confirmation = self.desk.submit(Job::Confirm(twins));
        self.confirmations.push_back(confirmation);
    }

    /// Receives the results of comparison jobs until no more than `outstanding` are left.
    fn collect_confirmations(&mut self, outstanding: usize) -> Result<(), Error> {
        while self.confirmations.len() > outstanding
            && let Some(confirmation) = self.confirmations.pop_front()
        {
            let Done::Confirm { twins, bytes } = self.desk.wait(confirmation)? else {
                unreachable!("that was the job");
            };
            self.in_flight -= bytes;
            for (twin, is_equal) in twins {
                if is_equal {
                    self.equal.push((twin.id, twin.earlier));
                } else {
                    self.strangers.push(twin);
                }
            }
        }
        Ok(())
    }

    fn place_blocks(
        &mut self,
        id: EntryId,
        first: bool,
        last: bool,
        blocks: Blocks,
    ) -> Result<(), Error> {
        if first {
            self.current = Current {
                start: self.output.position(),
                ..Current::default()
            };
        }
        self.current.sizes.extend_from_slice(&blocks.sizes);
        for hash in blocks.hashes {
            self.current.digest.push(hash);
        }
        self.current.sparse += blocks.sparse;
        self.output.write(&blocks.packed)?;
        self.shop.runs.give_back(blocks.packed);
        if last {
            let fragment = (!blocks.tail.is_empty()).then(|| self.append_to_fragment(&blocks.tail));
            let current = std::mem::take(&mut self.current);
            self.contents.proofs[id.index()] = Proof::Digest(current.digest);
            self.contents.placements[id.index()] = Placement {
                start: current.start,
                sizes: current.sizes.into(),
                fragment,
                sparse: current.sparse,
            };
        }
        Ok(())
    }

    /// Appends bytes to the current shared block. Returns the index of the block and the offset in
    /// it.
    fn append_to_fragment(&mut self, bytes: &[u8]) -> (u32, u32) {
        if self.fragment.len() + bytes.len() > self.shop.format.block_size.bytes() as usize {
            self.submit_fragment();
        }
        let index = self.contents.fragments.len() + self.full_fragments.len();
        let place = (index as u32, self.fragment.len() as u32);
        self.fragment.extend_from_slice(bytes);
        place
    }

    fn submit_fragment(&mut self) {
        let full = std::mem::replace(&mut self.fragment, self.shop.blocks.take());
        let ticket = self.desk.submit(Job::Fragment(full));
        self.full_fragments.push_back((ticket, self.sequenced));
    }

    /// Writes the shared blocks that became full when at most `full_at` bytes had been sequenced.
    fn write_fragments(&mut self, full_at: Option<u64>) -> Result<(), Error> {
        while let Some((ticket, at)) = self.full_fragments.front().copied()
            && full_at.is_some_and(|full_at| at <= full_at)
        {
            let Done::Fragment { block, size } = self.desk.wait(ticket)? else {
                unreachable!("that was the job");
            };
            self.full_fragments.pop_front();
            let position = self.output.position();
            self.contents.fragments.push((position, size));
            self.output.write(&block)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Contents, Error> {
        if !self.twins.is_empty() {
            self.submit_twins();
        }
        self.collect_confirmations(0)?;
        // These files equal an earlier one in hash but not in content. Each gets its own position,
        // in the order of the plan.
        for twin in std::mem::take(&mut self.strangers) {
            let place = self.append_to_fragment(&twin.bytes);
            self.contents.placements[twin.id.index()].fragment = Some(place);
        }
        if !self.fragment.is_empty() {
            self.submit_fragment();
        }
        self.write_fragments(Some(u64::MAX))?;
        for (id, earlier) in &self.equal {
            let (id, earlier) = (id.index(), earlier.index());
            self.contents.placements[id] = self.contents.placements[earlier].clone();
            self.contents.proofs[id] = self.contents.proofs[earlier];
        }
        self.contents.duplicates = self.equal.len() as u64;
        Ok(self.contents)
    }
}

/// Returns the offset of the last part of a file that shares a block with other files, or the size
/// of the file if it has its own last block.
///
/// A short last part compresses better together with other files. For a long last part, the number
/// of bytes to read would double. Half a block gives most of the gain: without it LZ4 images are
/// larger than those of `mksquashfs`.
fn tail_at(size: u64, block_size: u64) -> u64 {
    let tail = size % block_size;
    if tail * 2 < block_size {
        size - tail
    } else {
        size
    }
}
