//! Tests of the packer: packed content is read back unchanged, the same tree gives the same bytes,
//! and a failed pack leaves no file.
#![allow(clippy::unwrap_used)]

mod around;
mod contents;
mod external;
mod failures;
mod hot;
mod known;
mod same_bytes;
mod trees;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use condense_image::{Error, Image, PackOptions, Tree, pack, verify};

/// Directory for one test and its image.
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

/// Packs a tree and verifies the image.
fn pack_and_verify(tree: &Tree, out: &Path, options: &PackOptions) -> Result<Image, Error> {
    let image = pack(tree, out, options)?;
    verify(&image, tree, None)?;
    Ok(image)
}
