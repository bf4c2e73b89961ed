//! Responsible for the workers: they read, hash and compress, and hand results back in slots that keep their order.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};

use crate::{
    BlockSize, Compression, Error,
    codec::encode::Encoder,
    digest::BlockDigest,
    source::{NearDirectory, Source},
};

/// Set in a block's length where it is stored as it is.
pub(crate) const STORED: u32 = 1 << 24;

/// A file to read: its place in the tree, where its bytes come from, how many they are.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) entry: usize,
    pub(crate) size: u64,
    pub(crate) source: Source,
}

pub(crate) enum Job {
    /// Small files, read one behind the other.
    Batch(Vec<Reading>, Sender<Result<Batch, Error>>),
    /// Part of a large file; the last part may be a tail, which is not compressed by itself.
    Block {
        file: Arc<Reading>,
        offset: u64,
        length: usize,
        tail: bool,
        to: Sender<Result<Block, Error>>,
    },
    /// Tails of many files that share one block.
    Fragment(Vec<u8>, Sender<Result<Block, Error>>),
    /// The whole of a large file, to find its double.
    Digest(Arc<Reading>, Sender<Result<u128, Error>>),
}

/// Contents of small files, joined.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) files: Vec<(Reading, BlockDigest)>,
}

/// A block as it goes into the image.
pub(crate) enum Block {
    /// These bytes, with this length word.
    Data {
        bytes: Vec<u8>,
        word: u32,
        digest: BlockDigest,
    },
    /// Nothing but zeros.
    Hole(BlockDigest),
    /// Bytes that will share a block with others.
    Tail(Vec<u8>, BlockDigest),
}

/// Workers behind two queues; what the image waits for goes first.
pub(crate) struct Pool {
    urgent: Sender<Job>,
    usual: Sender<Job>,
}

impl Pool {
    /// Starts `threads` workers that end when the pool is dropped.
    pub(crate) fn start<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        threads: usize,
        compression: Compression,
        block_size: BlockSize,
    ) -> Result<Pool, Error> {
        let (urgent, urgent_jobs) = unbounded();
        let (usual, usual_jobs) = unbounded();
        for _ in 0..threads {
            let worker = Worker {
                encoder: Encoder::new(compression, block_size.bytes())?,
                near: NearDirectory::default(),
                input: vec![0; block_size.bytes() as usize],
                output: Vec::new(),
            };
            let (urgent_jobs, usual_jobs) = (urgent_jobs.clone(), usual_jobs.clone());
            scope.spawn(move || worker.work(&urgent_jobs, &usual_jobs));
        }
        Ok(Pool { urgent, usual })
    }

    /// Queues a job behind all others.
    pub(crate) fn submit(&self, job: Job) {
        // Workers live as long as the pool; a lost job shows as a closed slot.
        let _ = self.usual.send(job);
    }

    /// Queues a job in front of all usual ones.
    pub(crate) fn submit_urgent(&self, job: Job) {
        let _ = self.urgent.send(job);
    }
}

/// Where a worker puts its result.
pub(crate) type Filler<T> = Sender<Result<T, Error>>;
/// Where it is taken from.
pub(crate) type Slot<T> = Receiver<Result<T, Error>>;

/// A slot for one result: a worker that breaks down closes it, so that nobody waits for ever.
pub(crate) fn slot<T>() -> (Filler<T>, Slot<T>) {
    bounded(1)
}

/// Takes what a worker has put into a slot.
pub(crate) fn take<T>(slot: &Receiver<Result<T, Error>>) -> Result<T, Error> {
    slot.recv().unwrap_or_else(|_| {
        Err(Error::Codec {
            action: "compress",
            codec: "the packer",
            problem: "a worker broke down".to_owned(),
        })
    })
}

struct Worker {
    encoder: Encoder,
    near: NearDirectory,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Worker {
    fn work(mut self, urgent: &Receiver<Job>, usual: &Receiver<Job>) {
        let (mut urgent_open, mut usual_open) = (true, true);
        let (no_urgent, no_usual) = (never(), never());
        while urgent_open || usual_open {
            if let Ok(job) = urgent.try_recv() {
                self.run(job);
                continue;
            }
            let urgent = if urgent_open { urgent } else { &no_urgent };
            let usual = if usual_open { usual } else { &no_usual };
            select! {
                recv(urgent) -> job => match job { Ok(job) => self.run(job), Err(_) => urgent_open = false },
                recv(usual) -> job => match job { Ok(job) => self.run(job), Err(_) => usual_open = false },
            }
        }
    }

    fn run(&mut self, job: Job) {
        // A receiver that is gone has met another error; nobody wants this result any more.
        match job {
            Job::Batch(files, to) => drop(to.send(self.batch(files))),
            Job::Block {
                file,
                offset,
                length,
                tail,
                to,
            } => drop(to.send(self.block(&file, offset, length, tail))),
            Job::Fragment(bytes, to) => {
                let digest = BlockDigest::of(&[]);
                drop(to.send(Ok(self.compress(bytes, digest))));
            }
            Job::Digest(file, to) => drop(to.send(self.digest(&file))),
        }
    }

    fn batch(&mut self, files: Vec<Reading>) -> Result<Batch, Error> {
        let total: u64 = files.iter().map(|file| file.size).sum();
        let mut bytes = vec![0; total as usize];
        let mut at = 0;
        let mut done = Vec::with_capacity(files.len());
        for file in files {
            let part = &mut bytes[at..at + file.size as usize];
            at += part.len();
            read_at(&file, 0, part, true, &mut self.near)?;
            let digest = BlockDigest::of(part);
            done.push((file, digest));
        }
        Ok(Batch { bytes, files: done })
    }

    fn block(
        &mut self,
        file: &Reading,
        offset: u64,
        length: usize,
        tail: bool,
    ) -> Result<Block, Error> {
        let mut bytes = std::mem::take(&mut self.input);
        bytes.resize(length, 0);
        let last = offset + length as u64 == file.size;
        let read = read_at(file, offset, &mut bytes, last, &mut self.near);
        let digest = BlockDigest::of(&bytes);
        let block = if tail {
            Block::Tail(bytes.clone(), digest)
        } else if bytes.iter().all(|byte| *byte == 0) {
            Block::Hole(digest)
        } else {
            match self.encoder.encode(&bytes, &mut self.output) {
                Some(used) => Block::Data {
                    bytes: self.output[..used].to_vec(),
                    word: used as u32,
                    digest,
                },
                None => Block::Data {
                    bytes: bytes.clone(),
                    word: length as u32 | STORED,
                    digest,
                },
            }
        };
        self.input = bytes;
        read.map(|()| block)
    }

    fn compress(&mut self, bytes: Vec<u8>, digest: BlockDigest) -> Block {
        if let Some(used) = self.encoder.encode(&bytes, &mut self.output) {
            let bytes = self.output[..used].to_vec();
            return Block::Data {
                bytes,
                word: used as u32,
                digest,
            };
        }
        let word = bytes.len() as u32 | STORED;
        Block::Data {
            bytes,
            word,
            digest,
        }
    }

    fn digest(&mut self, file: &Reading) -> Result<u128, Error> {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for_each_block(file, &mut self.near, |bytes| hash.update(bytes))?;
        Ok(hash.digest128())
    }
}

/// Reads `buffer.len()` bytes from `offset`; with the last of them the file is checked to be the one that was scanned.
pub(crate) fn read_at(
    file: &Reading,
    offset: u64,
    buffer: &mut [u8],
    check: bool,
    near: &mut NearDirectory,
) -> Result<(), Error> {
    use std::os::unix::fs::FileExt;
    match &file.source {
        Source::Bytes(bytes) => {
            let from = offset as usize;
            buffer.copy_from_slice(&bytes[from..from + buffer.len()]);
        }
        Source::Disk(disk) => {
            let open = disk.open(near)?;
            open.read_exact_at(buffer, offset)
                .map_err(|error| disk.read_failed(error))?;
            if check {
                disk.check_unchanged(&open, file.size)?;
            }
        }
    }
    Ok(())
}

/// Says whether two files of one size have the same bytes.
pub(crate) fn same_bytes(one: &Reading, other: &Reading) -> Result<bool, Error> {
    let (mut near_one, mut near_other) = (NearDirectory::default(), NearDirectory::default());
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    while offset < one.size {
        let length = (one.size - offset).min(CHUNK as u64) as usize;
        let last = offset + length as u64 == one.size;
        read_at(one, offset, &mut left[..length], last, &mut near_one)?;
        read_at(other, offset, &mut right[..length], last, &mut near_other)?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
        offset += length as u64;
    }
    Ok(true)
}

/// Bytes of a file that are compared or hashed at a time.
const CHUNK: usize = 1 << 18;

fn for_each_block(
    file: &Reading,
    near: &mut NearDirectory,
    mut visit: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < file.size {
        let length = (file.size - offset).min(CHUNK as u64) as usize;
        read_at(
            file,
            offset,
            &mut buffer[..length],
            offset + length as u64 == file.size,
            near,
        )?;
        visit(&buffer[..length]);
        offset += length as u64;
    }
    Ok(())
}
