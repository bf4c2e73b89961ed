//! What is packed is read back as it was, the same bytes come out whoever packs it, and what fails
//! leaves nothing behind.
#![allow(clippy::unwrap_used)]

mod contents;
mod external;
mod failures;
mod same_bytes;
mod trees;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use condense_image::{Error, Image, PackOptions, Tree, pack, verify};

/// A directory for one test, and an image in it.
struct Place {
    scratch: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    fn root(&self) -> PathBuf {
        let root = self.scratch.path().join("root");
        fs_err::create_dir_all(&root).unwrap();
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

fn options(compression: &str, block_size: &str, threads: usize) -> PackOptions {
    PackOptions {
        compression: compression.parse().unwrap(),
        block_size: block_size.parse().unwrap(),
        threads: NonZeroUsize::new(threads),
        ..PackOptions::default()
    }
}

/// Packs and reads back.
fn pack_and_verify(tree: &Tree, out: &Path, options: &PackOptions) -> Result<Image, Error> {
    let image = pack(tree, out, options)?;
    verify(&image, tree, None)?;
    Ok(image)
}
