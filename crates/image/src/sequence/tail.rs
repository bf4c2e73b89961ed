//! Responsible for the choice of the files whose last part shares a block with other files.

/// Returns the offset of the last part of a file that shares a block with other files, or the size
/// of the file if it has its own last block.
///
/// A short last part compresses better together with other files. For a long last part, the number
/// of bytes to read would double. Half a block gives most of the gain: without it LZ4 images are
/// larger than those of `mksquashfs`.
pub(super) fn tail_at(size: u64, block_size: u64) -> u64 {
    let tail = size % block_size;
    if tail * 2 < block_size {
        size - tail
    } else {
        size
    }
}
