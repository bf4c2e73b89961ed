//! Responsible for packing ahead: while the start runs that finds the files which come first, the
//! other cores compress blocks, most of which the image will have.

use std::{
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use condense_image::{
    BlockDigests, BlockKeys, BlockSize, Compression, ImageBlocks, PackOptions, Tree,
};

use crate::build::Build;

/// Divisor of the free space of scratch, of which the contents may be one part.
const FREE_PARTS: u64 = 8;
/// Maximum size of the contents in bytes: scratch may be in memory.
const BYTES_MAX: u64 = 4 << 30;
/// Highest level of zstd with which a worker soon notices that it is to stop.
const ZSTD_LEVEL_MAX: u8 = 9;

/// Priority of a thread that lets all others go first.
const LEAST_PRIORITY: i32 = 19;

/// Format of the blocks of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockFormat {
    pub(crate) compression: Compression,
    pub(crate) block_size: BlockSize,
}

impl Build<'_> {
    /// Does `work`, and meanwhile compresses the contents of a tree into a file without a name in
    /// scratch. Returns the result of the work, and the blocks that there are when it ends: none if
    /// there is one core only, little space, a slow codec, or an error.
    pub(crate) fn pack_ahead<T>(
        &self,
        tree: &Tree,
        work: impl FnOnce() -> T,
    ) -> (T, Option<ImageBlocks>) {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let spare = NonZeroUsize::new(cores - 1);
        let (Some(format), Some(threads)) = (self.block_format, spare) else {
            return (work(), None);
        };
        let scratch = self.scratch();
        let free = rustix::fs::statvfs(scratch).map_or(0, |found| found.f_bavail * found.f_frsize);
        if !format.is_fast() || tree.summary().bytes > BYTES_MAX.min(free / FREE_PARTS) {
            return (work(), None);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let options = self.report().with_blocks(PackOptions {
            compression: format.compression,
            block_size: format.block_size,
            threads: Some(threads),
            cancel: Some(Arc::clone(&stop)),
            ..PackOptions::default()
        });
        std::thread::scope(|scope| {
            let pack = || {
                step_back();
                let file = file_without_name(scratch).ok()?;
                condense_image::pack_ahead(tree, file, &options).ok()
            };
            let packing = condense_threads::scoped(scope, pack);
            let done = work();
            stop.store(true, Ordering::Relaxed);
            let blocks = packing.ok().and_then(|packing| packing.join().ok()?);
            (done, blocks.filter(|blocks| !blocks.is_empty()))
        })
    }
}

impl BlockFormat {
    /// Returns the keys of blocks that can be found without their contents: those of blocks whose
    /// size is that of the digests.
    pub(crate) fn keys(self) -> Option<BlockKeys> {
        let has_digests = self.block_size.bytes() as usize == BlockDigests::BLOCK_BYTES
            && self.compression != Compression::None;
        let keys = has_digests.then(|| BlockKeys::of_format(self.compression, self.block_size));
        keys?.ok()
    }

    /// Returns whether a block is compressed soon enough that a worker can be waited for.
    fn is_fast(self) -> bool {
        match self.compression {
            Compression::Zstd { level } => level <= ZSTD_LEVEL_MAX,
            Compression::Gzip { .. } | Compression::Lz4 { high: false } => true,
            _ => false,
        }
    }
}

/// Lets other threads and processes go first: this thread and those that it starts use time that is
/// left.
fn step_back() {
    // Linux has a priority for each thread. A system that refuses shares the time.
    let _ = rustix::process::setpriority_process(None, LEAST_PRIORITY);
}

fn file_without_name(dir: &Path) -> std::io::Result<fs_err::File> {
    let path = dir.join("ahead");
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(fs_err::File::from_parts(file, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codecs_that_soon_end_pack_ahead() {
        let is_fast = |compression| {
            let block_size = BlockSize::default();
            BlockFormat {
                compression,
                block_size,
            }
            .is_fast()
        };
        assert!(is_fast(Compression::Zstd { level: 3 }) && is_fast(Compression::Gzip { level: 9 }));
        assert!(
            !is_fast(Compression::Zstd { level: 19 }) && !is_fast(Compression::Xz { level: 6 })
        );
        assert!(
            !is_fast(Compression::None),
            "nothing is saved, and all is copied"
        );
    }
}
