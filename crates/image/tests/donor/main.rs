//! Tests of images with a donor: the content taken from the donor is unchanged, wherever it is
//! placed and whatever is added.
#![allow(clippy::unwrap_used)]

mod extend;
mod external;
mod facts;
mod graft;
mod hot;
mod refusals;
mod repack;
#[path = "../packer/trees.rs"]
mod trees;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use condense_image::{Donor, Image, PackOptions, Reader, Tree, pack, verify};

/// Directory for one test and its images.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Packs a tree without a donor.
    fn image(&self, name: &str, tree: &Tree, compression: &str, block_size: &str) -> PathBuf {
        let options = PackOptions {
            compression: compression.parse().unwrap(),
            block_size: block_size.parse().unwrap(),
            ..PackOptions::default()
        };
        pack_and_verify(tree, &self.path(name), &options);
        self.path(name)
    }
}

fn pack_and_verify(tree: &Tree, out: &Path, options: &PackOptions) -> Image {
    let image = pack(tree, out, options).unwrap();
    verify(&image, tree, None).unwrap();
    image
}

/// Returns the path of an image of `small()` in `../reader/model.rs` that another program made.
fn foreign(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/images", name]
        .iter()
        .collect::<PathBuf>()
        .with_extension("sqfs")
}

fn onto(donor: &Donor, threads: usize) -> PackOptions {
    PackOptions {
        threads: NonZeroUsize::new(threads),
        ..PackOptions::onto(donor.clone())
    }
}

fn open(path: &Path) -> Reader {
    Reader::open_raw(path).unwrap()
}
