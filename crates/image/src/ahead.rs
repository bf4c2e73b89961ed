//! Responsible for packing ahead: blocks are compressed before it is known in which order the files
//! come in the image. The image finds them and is the same as without them.

use std::sync::{Mutex, PoisonError};

use crate::blocks::{ImageBlocks, PackedBlock};
use crate::digest::BlockDigest;
use crate::output::Output;
use crate::pack::pack_told;
use crate::{Error, PackOptions, Tree};

/// Packs into an open file as long as there is time: until [`PackOptions::cancel`] is set. Returns
/// the blocks that were written by then, for packing a tree that has many of the same files.
///
/// # Errors Returns the errors of [`pack`](crate::pack()), but for [`Error::Cancelled`]. The file
/// stays, with what was written.
pub fn pack_ahead(
    tree: &Tree,
    file: fs_err::File,
    options: &PackOptions,
) -> Result<ImageBlocks, Error> {
    let output = Output::behind(&file, 0)?;
    let options = PackOptions {
        record_blocks: true,
        ..options.clone()
    };
    let written = Mutex::new(Vec::new());
    let listen = |block: PackedBlock| {
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push(block);
    };
    match pack_told(tree, output, &options, BlockDigest::compute, Some(&listen)) {
        Ok(_) | Err(Error::Cancelled) => {}
        Err(error) => return Err(error),
    }
    let written = written.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(ImageBlocks::of(file.into_file(), written))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::{Progress, pack, verify};

    /// Cancels when some bytes are packed.
    struct StopAt {
        bytes: u64,
        packed: AtomicU64,
        cancel: Arc<AtomicBool>,
    }

    impl Progress for StopAt {
        fn packed(&self, bytes: u64) {
            if self.packed.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.bytes {
                self.cancel.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Makes a tree of large and small files: 24 MB that can be compressed.
    fn tree() -> Tree {
        let mut tree = Tree::new();
        for number in 0..400_u32 {
            let lines = if number % 10 == 0 { 90_000 } else { 900 };
            let line =
                |line: u32| (line.wrapping_mul(7919 * (number + 1)) % 9973).to_string() + "\n";
            let text: String = (0..lines).map(line).collect();
            tree.add_bytes(format!("dir/{number}"), text.into_bytes(), 0o644)
                .unwrap();
        }
        tree
    }

    #[test]
    fn blocks_that_are_packed_ahead_are_found_and_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree();
        let hot = vec!["dir/40".into(), "dir/41".into(), "dir/7".into()];
        let options = PackOptions {
            hot,
            record_blocks: true,
            ..PackOptions::default()
        };
        let plain = pack(&tree, &dir.path().join("plain"), &options).unwrap();
        let plain_bytes = fs_err::read(&plain.path).unwrap();
        let mut shares = Vec::new();
        for bytes in [0, 16 << 20, u64::MAX] {
            let cancel = Arc::new(AtomicBool::new(bytes == 0));
            let progress = StopAt {
                bytes,
                packed: AtomicU64::new(0),
                cancel: Arc::clone(&cancel),
            };
            let file = fs_err::File::from_parts(tempfile::tempfile().unwrap(), "ahead");
            let ahead = PackOptions {
                progress: Some(Arc::new(progress)),
                cancel: Some(cancel),
                ..PackOptions::default()
            };
            let blocks = pack_ahead(&tree, file, &ahead).unwrap();
            assert_eq!(blocks.is_empty(), bytes == 0);
            let path = dir.path().join("ahead");
            let image = pack(&tree, &path, &options.clone().with_known(blocks.shared())).unwrap();
            verify(&image, &tree, None).unwrap();
            assert!(fs_err::read(&path).unwrap() == plain_bytes, "{bytes}");
            fs_err::remove_file(path).unwrap();
            let known = image.blocks.iter().filter(|block| block.was_known).count();
            shares.push(known * 100 / image.blocks.len());
        }
        assert!(shares[0] == 0 && shares[1] > 5, "{shares:?}");
        // Shared blocks beside those of hot files are other ones.
        assert!(shares[2] > 80 && shares[2] > shares[1], "{shares:?}");
    }
}
