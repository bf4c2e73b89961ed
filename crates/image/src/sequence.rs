//! Responsible for the order of data in the image: what the workers give back in any order is written in one order, with
//! a bound on what is under way.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::Receiver;

use crate::{
    BlockSize, Error, Progress,
    digest::{BlockDigest, ContentDigest},
    output::Output,
    pool::{Batch, Block, Job, Pool, Reading, same_bytes, slot, take},
};

/// Bytes of input under way at a time: enough to keep many workers busy, little enough for a login node.
const BUDGET_BYTES: usize = 48 << 20;
/// Small files are read in batches of at most this many files and bytes: a queue entry for each would cost more than
/// reading it.
const BATCH_FILES: usize = 128;
const BATCH_BYTES: u64 = 512 << 10;
/// A fragment block is written this many pieces after it was filled, so that its compression is done by then; fixed, so
/// that its place does not depend on how fast the workers are.
const FRAGMENT_DELAY: u64 = 16;

/// Where a file's data lies in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Offset of the first block.
    pub(crate) start: u64,
    /// Length words of full blocks; 0 is a hole.
    pub(crate) blocks: Vec<u32>,
    /// Fragment block and offset in it.
    pub(crate) fragment: Option<(u32, u32)>,
    /// Bytes in holes.
    pub(crate) sparse: u64,
    /// Digest of the content.
    pub(crate) digest: ContentDigest,
}

/// What became of the data.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// By the index of the tree's entries.
    pub(crate) placed: HashMap<usize, Placed>,
    /// Offset and length word of each fragment block.
    pub(crate) fragments: Vec<(u64, u32)>,
    /// Files whose bytes were there already.
    pub(crate) duplicates: u64,
}

enum Piece {
    Batch {
        bytes: usize,
        slot: Receiver<Result<Batch, Error>>,
    },
    Block {
        file: Arc<Reading>,
        first: bool,
        last: bool,
        length: usize,
        slot: Receiver<Result<Block, Error>>,
    },
}

struct PendingFragment {
    slot: Receiver<Result<Block, Error>>,
    filled_at: u64,
    bytes: usize,
}

/// Large files to pack, and the entries that have another's bytes, each with that other.
type Doubles = (Vec<Reading>, Vec<(usize, usize)>);

/// Writes all data of `files`, which are in the order of their paths.
pub(crate) struct Sequencer<'a> {
    pool: &'a Pool,
    output: &'a mut Output,
    block_size: usize,
    progress: Option<&'a dyn Progress>,
    cancel: Option<&'a AtomicBool>,
    data: Data,
    pieces: VecDeque<Piece>,
    pending: VecDeque<PendingFragment>,
    /// Tails that wait for their block to fill.
    tails: Vec<u8>,
    filled: u32,
    consumed: u64,
    under_way: usize,
    current: Placed,
    /// Small files by size and digest: those whose size is not unique.
    seen: HashMap<(u64, BlockDigest), Vec<Reading>>,
    shared_sizes: HashSet<u64>,
}

impl<'a> Sequencer<'a> {
    pub(crate) fn new(
        pool: &'a Pool,
        output: &'a mut Output,
        block_size: BlockSize,
        progress: Option<&'a dyn Progress>,
        cancel: Option<&'a AtomicBool>,
    ) -> Self {
        Self {
            pool,
            output,
            block_size: block_size.bytes() as usize,
            progress,
            cancel,
            data: Data::default(),
            pieces: VecDeque::new(),
            pending: VecDeque::new(),
            tails: Vec::new(),
            filled: 0,
            consumed: 0,
            under_way: 0,
            current: Placed::default(),
            seen: HashMap::new(),
            shared_sizes: HashSet::new(),
        }
    }

    pub(crate) fn run(mut self, files: Vec<Reading>) -> Result<Data, Error> {
        let mut sizes: HashSet<u64> = HashSet::new();
        for file in &files {
            if !sizes.insert(file.size) {
                self.shared_sizes.insert(file.size);
            }
        }
        let (small, large): (Vec<Reading>, Vec<Reading>) = files
            .into_iter()
            .partition(|file| file.size < self.block_size as u64);
        let (large, doubles) = self.find_doubles(large)?;
        self.submit_small(small)?;
        for file in large {
            self.submit_large(&Arc::new(file))?;
        }
        while !self.pieces.is_empty() {
            self.consume()?;
        }
        self.fill_fragment();
        while !self.pending.is_empty() {
            self.write_fragment()?;
        }
        for (double, first) in doubles {
            let placed = self.data.placed[&first].clone();
            self.advance(0);
            self.data.placed.insert(double, placed);
            self.data.duplicates += 1;
        }
        Ok(self.data)
    }

    /// Splits large files into those that are packed and those whose bytes are in an earlier one.
    fn find_doubles(&mut self, large: Vec<Reading>) -> Result<Doubles, Error> {
        let large: Vec<Arc<Reading>> = large.into_iter().map(Arc::new).collect();
        let mut slots = Vec::new();
        for file in large
            .iter()
            .filter(|file| self.shared_sizes.contains(&file.size))
        {
            let (to, from) = slot();
            self.pool.submit(Job::Digest(Arc::clone(file), to));
            slots.push((Arc::clone(file), from));
        }
        let mut first: HashMap<(u64, u128), Vec<Arc<Reading>>> = HashMap::new();
        let mut doubles = Vec::new();
        let mut left_out = HashSet::new();
        for (file, slot) in slots {
            self.refuse_cancelled()?;
            let digest = take(&slot)?;
            let candidates = first.entry((file.size, digest)).or_default();
            let mut same = None;
            for candidate in candidates.iter() {
                if same_bytes(candidate, &file)? {
                    same = Some(candidate.entry);
                    break;
                }
            }
            match same {
                Some(entry) => {
                    doubles.push((file.entry, entry));
                    left_out.insert(file.entry);
                    if let Some(progress) = self.progress {
                        progress.packed(file.size);
                    }
                }
                None => candidates.push(file),
            }
        }
        let kept = large
            .into_iter()
            .filter(|file| !left_out.contains(&file.entry))
            .map(|file| Reading::clone(&file))
            .collect();
        Ok((kept, doubles))
    }

    fn submit_small(&mut self, small: Vec<Reading>) -> Result<(), Error> {
        let mut files = small.into_iter().peekable();
        while files.peek().is_some() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH_FILES && bytes < BATCH_BYTES {
                let Some(file) = files.next() else { break };
                bytes += file.size;
                batch.push(file);
            }
            self.make_room(bytes as usize)?;
            let (to, from) = slot();
            self.pool.submit(Job::Batch(batch, to));
            self.pieces.push_back(Piece::Batch {
                bytes: bytes as usize,
                slot: from,
            });
        }
        Ok(())
    }

    fn submit_large(&mut self, file: &Arc<Reading>) -> Result<(), Error> {
        let block = self.block_size as u64;
        let full = file.size / block;
        let tail = file.size % block;
        let count = full + u64::from(tail > 0);
        for number in 0..count {
            let offset = number * block;
            let length = (file.size - offset).min(block) as usize;
            self.make_room(length)?;
            let (to, from) = slot();
            let is_tail = number >= full;
            self.pool.submit(Job::Block {
                file: Arc::clone(file),
                offset,
                length,
                tail: is_tail,
                to,
            });
            let (first, last) = (number == 0, number + 1 == count);
            self.pieces.push_back(Piece::Block {
                file: Arc::clone(file),
                first,
                last,
                length,
                slot: from,
            });
        }
        Ok(())
    }

    /// Writes what is at the front until `bytes` more may be under way.
    fn make_room(&mut self, bytes: usize) -> Result<(), Error> {
        while self.under_way + bytes > BUDGET_BYTES && !self.pieces.is_empty() {
            self.consume()?;
        }
        self.under_way += bytes;
        Ok(())
    }

    fn refuse_cancelled(&self) -> Result<(), Error> {
        match self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    fn advance(&self, bytes: usize) {
        if let Some(progress) = self.progress {
            progress.packed(bytes as u64);
        }
    }

    /// Writes the piece at the front.
    fn consume(&mut self) -> Result<(), Error> {
        self.refuse_cancelled()?;
        let Some(piece) = self.pieces.pop_front() else {
            return Ok(());
        };
        // A file's blocks must lie one behind the other: nothing is put between them.
        let mut between_files = true;
        match piece {
            Piece::Batch { bytes, slot } => {
                let batch = take(&slot)?;
                let mut at = 0;
                for (file, digest) in batch.files {
                    let length = file.size as usize;
                    self.place_small(file, &batch.bytes[at..at + length], digest)?;
                    at += length;
                }
                self.under_way -= bytes;
                self.advance(bytes);
            }
            Piece::Block {
                file,
                first,
                last,
                length,
                slot,
            } => {
                if first {
                    self.current = Placed {
                        start: self.output.position(),
                        ..Placed::default()
                    };
                }
                match take(&slot)? {
                    Block::Data {
                        bytes,
                        word,
                        digest,
                    } => {
                        self.output.write(&bytes)?;
                        self.current.blocks.push(word);
                        self.current.digest.push(digest);
                    }
                    Block::Hole(digest) => {
                        self.current.blocks.push(0);
                        self.current.sparse += length as u64;
                        self.current.digest.push(digest);
                    }
                    Block::Tail(bytes, digest) => {
                        self.current.fragment = Some(self.add_tail(&bytes));
                        self.current.digest.push(digest);
                    }
                }
                self.under_way -= length;
                self.advance(length);
                between_files = last;
                if last {
                    let placed = std::mem::take(&mut self.current);
                    self.data.placed.insert(file.entry, placed);
                }
            }
        }
        self.consumed += 1;
        while between_files
            && self
                .pending
                .front()
                .is_some_and(|fragment| fragment.filled_at + FRAGMENT_DELAY <= self.consumed)
        {
            self.write_fragment()?;
        }
        Ok(())
    }

    fn place_small(
        &mut self,
        file: Reading,
        bytes: &[u8],
        digest: BlockDigest,
    ) -> Result<(), Error> {
        let key = (file.size, digest);
        let shared = self.shared_sizes.contains(&file.size);
        if shared && let Some(candidates) = self.seen.get(&key) {
            for candidate in candidates {
                if same_bytes(candidate, &file)? {
                    let placed = self.data.placed[&candidate.entry].clone();
                    self.data.placed.insert(file.entry, placed);
                    self.data.duplicates += 1;
                    return Ok(());
                }
            }
        }
        let mut placed = Placed {
            fragment: Some(self.add_tail(bytes)),
            ..Placed::default()
        };
        placed.digest.push(digest);
        self.data.placed.insert(file.entry, placed);
        if shared {
            self.seen.entry(key).or_default().push(file);
        }
        Ok(())
    }

    fn add_tail(&mut self, bytes: &[u8]) -> (u32, u32) {
        if self.tails.len() + bytes.len() > self.block_size {
            self.fill_fragment();
        }
        let place = (self.filled, self.tails.len() as u32);
        self.tails.extend_from_slice(bytes);
        place
    }

    /// Sends the gathered tails to be compressed.
    fn fill_fragment(&mut self) {
        if self.tails.is_empty() {
            return;
        }
        let bytes = std::mem::replace(&mut self.tails, Vec::with_capacity(self.block_size));
        let length = bytes.len();
        let (to, from) = slot();
        self.under_way += length;
        self.pool.submit_urgent(Job::Fragment(bytes, to));
        self.pending.push_back(PendingFragment {
            slot: from,
            filled_at: self.consumed,
            bytes: length,
        });
        self.filled += 1;
    }

    fn write_fragment(&mut self) -> Result<(), Error> {
        let Some(fragment) = self.pending.pop_front() else {
            return Ok(());
        };
        if let Block::Data { bytes, word, .. } = take(&fragment.slot)? {
            self.data.fragments.push((self.output.position(), word));
            self.output.write(&bytes)?;
        }
        self.under_way -= fragment.bytes;
        Ok(())
    }
}
