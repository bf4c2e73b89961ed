//! Reads images and SIF files with random damage: `fuzz COUNT [SEED]`, on all cores. Ends with an error at the first panic,
//! at a file that takes more than five seconds, or beyond 512 MiB of memory; the file is then kept in the temporary
//! directory. The same seed gives the same files.
#![allow(clippy::print_stdout)]

#[path = "../fuzz/exercise.rs"]
mod exercise;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use condense_image::sif::{DataKind, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter};
use condense_image::{Arch, BlockSize, Compression, PackOptions, Tree, pack};
use exercise::Memory;

/// Files that a thread takes at once.
const AT_A_TIME: u64 = 1000;
/// The longest that a file may take.
const TIME_MAX: Duration = Duration::from_secs(5);
/// The most memory that this program may take, in KiB.
const MEMORY_MAX_KIB: u64 = 512 << 10;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A good file, and what reads it.
struct Seed {
    bytes: Vec<u8>,
    read: fn(&mut Memory, &[u8]) -> bool,
}

/// Marsaglia's xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let count: u64 = words.next().ok_or("usage: fuzz COUNT [SEED]")?.parse()?;
    let seed: u64 = words.next().map_or(Ok(1), |word| word.parse())?;
    let seeds = seeds()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let work = || work(&seeds, seed, count, &next, &failed);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut results = threads
            .into_iter()
            .map(|it| it.join().expect("panics are caught"));
        results.try_for_each(|result| result)
    })?;
    println!(
        "{count} files in {:.0} s, {} of them refused, at most {} KiB of memory",
        start.elapsed().as_secs_f64(),
        failed.into_inner(),
        peak_memory_kib()?
    );
    Ok(())
}

fn work(
    seeds: &[Seed],
    seed: u64,
    count: u64,
    next: &AtomicU64,
    failed: &AtomicU64,
) -> Result<(), Failure> {
    let mut memory = Memory::new();
    loop {
        let from = next.fetch_add(AT_A_TIME, Ordering::Relaxed);
        if from >= count {
            return Ok(());
        }
        for number in from..count.min(from + AT_A_TIME) {
            // A state of its own for each number: threads may take them in any order.
            let state = (seed << 40 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = Random(state | 1);
            let good = &seeds[random.below(seeds.len())];
            let mut bytes = good.bytes.clone();
            damage(&mut bytes, &mut random);
            let start = Instant::now();
            let read = catch_unwind(AssertUnwindSafe(|| (good.read)(&mut memory, &bytes)));
            let is_slow = start.elapsed() > TIME_MAX;
            let is_large = number % AT_A_TIME == 0 && peak_memory_kib()? > MEMORY_MAX_KIB;
            match read {
                Ok(refused) if !is_slow && !is_large => {
                    failed.fetch_add(refused.into(), Ordering::Relaxed);
                }
                _ => {
                    next.store(count, Ordering::Relaxed);
                    let path = std::env::temp_dir().join(format!("fuzz-{seed}-{number}"));
                    std::fs::write(&path, &bytes)?;
                    let words = format!("slow: {is_slow}, large: {is_large}, else it panicked");
                    return Err(format!(
                        "file {number} of seed {seed}: {words}; {}",
                        path.display()
                    )
                    .into());
                }
            }
        }
    }
}

/// Writes one to four wrong values over the file, or cuts it, or puts a part of it elsewhere.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        // Headers and tables say how all the rest is read, so most damage goes there.
        let len = bytes.len();
        let at = match random.below(4) {
            0 => random.below(len.min(128)),
            1 => len - 1 - random.below(len.min(700)),
            _ => random.below(len),
        };
        let value: u64 = match random.below(9) {
            0 => {
                bytes[at] ^= 1 << random.below(8);
                continue;
            }
            1 => {
                bytes[at] = random.next() as u8;
                continue;
            }
            2 => {
                let from = random.below(len);
                let part = 1 + random.below(64.min(len - from.max(at)));
                bytes.copy_within(from..from + part, at);
                continue;
            }
            3 if random.below(8) == 0 => {
                bytes.truncate(at.max(1));
                continue;
            }
            4 => 0,
            5 => u64::MAX,
            6 => i64::MAX as u64,
            7 => len as u64 - random.below(8) as u64,
            _ => random.next() >> random.below(64),
        };
        let width = [1, 2, 4, 8][random.below(4)].min(len - at);
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// Small files, so that damage hits what matters: an image of every codec, one of the reference tool, and SIFs.
fn seeds() -> Result<Vec<Seed>, Failure> {
    let scratch = std::env::temp_dir().join(format!("fuzz-seeds-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let made = make_seeds(&scratch);
    std::fs::remove_dir_all(&scratch)?;
    made
}

fn make_seeds(scratch: &std::path::Path) -> Result<Vec<Seed>, Failure> {
    let mut tree = Tree::new();
    let noise: Vec<u8> = (0..9000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    tree.add_bytes("a/noise", noise, 0o644)?;
    tree.add_bytes("a/zeros", vec![0; 20_000], 0o644)?;
    tree.add_bytes("a/text", "text ".repeat(1000).into_bytes(), 0o755)?;
    tree.add_bytes("b/tail", *b"tail", 0o644)?;
    tree.add_bytes("b/none", *b"", 0o644)?;
    tree.add_hard_link("b/twin", "a/text")?;
    tree.add_symlink("a/link", "../b/tail")?;
    tree.add_symlink("loop", "loop")?;
    let mut seeds = Vec::new();
    for codec in ["gzip", "zstd", "lz4", "xz", "none"] {
        let options = PackOptions {
            compression: codec.parse::<Compression>()?,
            block_size: BlockSize::MIN,
            ..PackOptions::default()
        };
        let image = pack(&tree, &scratch.join(codec), &options)?;
        seeds.push(Seed {
            bytes: std::fs::read(image.path)?,
            read: exercise::image,
        });
        let path = scratch.join(codec).with_extension("sif");
        let small = SifOptions {
            slots: 5,
            ..SifOptions::default()
        };
        let mut writer = SifWriter::create(&path, &small)?;
        writer.add(&NewObject::new(DataKind::DefinitionFile), b"from: x\n")?;
        writer.add(
            &NewObject::new(DataKind::Json).named("inspect-metadata.json"),
            b"{}",
        )?;
        let root = NewObject::partition(
            FileSystem::SquashFs,
            PartitionRole::PrimarySystem,
            Arch::X86_64,
        );
        writer.add_file(&root, scratch.join(codec))?;
        writer.finish()?;
        seeds.push(Seed {
            bytes: std::fs::read(path)?,
            read: exercise::sif,
        });
    }
    for seed in &seeds {
        if (seed.read)(&mut Memory::new(), &seed.bytes) {
            return Err("a good file was refused".into());
        }
    }
    Ok(seeds)
}

/// The most memory that this program ever had.
fn peak_memory_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(digits
        .ok_or("the system does not tell of memory")?
        .parse()?)
}
