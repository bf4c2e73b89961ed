//! Measures a lower bound of the time that any packer needs for a tree: the CPU time of opening and
//! reading its files, the CPU time of the codec for all distinct content, both in one thread, and
//! the time for writing the result.
//!
//! `limit SRC OUT zstd:LEVEL|gzip:LEVEL` prints one JSON object with seconds and bytes.
//! scripts/bench divides the seconds by the number of cores.
#![allow(clippy::print_stdout)]

use std::{
    collections::HashSet,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};

/// Default block size of SquashFS, in bytes.
const BLOCK_BYTES: usize = 128 << 10;

type Failure = Box<dyn std::error::Error>;

enum Encoder {
    Zstd(zstd_safe::CCtx<'static>, i32),
    Gzip(libdeflater::Compressor),
}

#[derive(Default)]
struct Measured {
    read_seconds: f64,
    codec_seconds: f64,
    bytes: usize,
    different_bytes: usize,
    out_bytes: usize,
}

struct Meter {
    encoder: Encoder,
    out: Vec<u8>,
    measured: Measured,
    fragments: Vec<u8>,
}

/// Returns the CPU time of this thread in seconds.
#[allow(clippy::cast_precision_loss)]
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

impl Meter {
    fn compress(&mut self, block: &[u8]) -> Result<(), Failure> {
        let started = cpu_seconds();
        let length = match &mut self.encoder {
            Encoder::Zstd(context, level) => context
                .compress(self.out.as_mut_slice(), block, *level)
                .map_err(zstd_safe::get_error_name)?,
            Encoder::Gzip(compressor) => compressor.zlib_compress(block, &mut self.out)?,
        };
        self.measured.codec_seconds += cpu_seconds() - started;
        self.measured.out_bytes += length.min(block.len());
        Ok(())
    }

    fn end_fragments(&mut self) -> Result<(), Failure> {
        let block = std::mem::take(&mut self.fragments);
        if !block.is_empty() {
            self.compress(&block)?;
        }
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.measured.different_bytes += bytes.len();
        let mut blocks = bytes.chunks_exact(BLOCK_BYTES);
        for block in &mut blocks {
            if block.iter().any(|byte| *byte != 0) {
                self.compress(block)?;
            }
        }
        let tail = blocks.remainder();
        if self.fragments.len() + tail.len() > BLOCK_BYTES {
            self.end_fragments()?;
        }
        self.fragments.extend_from_slice(tail);
        Ok(())
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, codec] = words.as_slice() else {
        return Err("usage: limit SRC OUT zstd:LEVEL|gzip:LEVEL".into());
    };
    let (name, level) = codec.split_once(':').ok_or("which level?")?;
    let encoder = match name {
        "zstd" => Encoder::Zstd(zstd_safe::CCtx::create(), level.parse()?),
        "gzip" => Encoder::Gzip(libdeflater::Compressor::new(
            libdeflater::CompressionLvl::new(level.parse()?).map_err(|_| "no such level")?,
        )),
        _ => return Err("zstd or gzip".into()),
    };
    let mut meter = Meter {
        encoder,
        out: vec![0; 2 * BLOCK_BYTES],
        measured: Measured::default(),
        fragments: Vec::new(),
    };
    let mut found = Vec::new();
    files(Path::new(source), &mut found)?;
    let (mut inodes, mut contents) = (HashSet::new(), HashSet::new());
    for path in found {
        let metadata = path.symlink_metadata()?;
        if metadata.nlink() > 1 && !inodes.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        let started = cpu_seconds();
        let bytes = std::fs::read(&path)?;
        meter.measured.read_seconds += cpu_seconds() - started;
        meter.measured.bytes += bytes.len();
        if contents.insert(xxhash_rust::xxh3::xxh3_128(&bytes)) {
            meter.add(&bytes)?;
        }
    }
    meter.end_fragments()?;
    let measured = meter.measured;
    let block = vec![7; 1 << 20];
    let started = Instant::now();
    let mut out = std::fs::File::create(target)?;
    let mut left = measured.out_bytes;
    while left > 0 {
        let length = left.min(block.len());
        out.write_all(&block[..length])?;
        left -= length;
    }
    drop(out);
    println!(
        "{{\"read_seconds\": {:.6}, \"codec_seconds\": {:.6}, \"write_seconds\": {:.6}, \"bytes\": {}, \"different_bytes\": {}, \"out_bytes\": {}}}",
        measured.read_seconds,
        measured.codec_seconds,
        started.elapsed().as_secs_f64(),
        measured.bytes,
        measured.different_bytes,
        measured.out_bytes
    );
    Ok(())
}
