//! Tests of images from other programs: the content is what they were made of, and damaged images
//! are errors.
#![allow(clippy::unwrap_used)]

mod damage;
mod mksquashfs;
mod model;
mod unsquashfs;

use std::path::PathBuf;

use condense_image::Reader;

/// Images of [`model::small`], made once by mksquashfs as described in `images/README.md`.
const IMAGES: [&str; 7] = ["gzip", "lz4", "lzma", "lzo", "stored", "xz", "zstd"];

fn image(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/images", name]
        .iter()
        .collect::<PathBuf>()
        .with_extension("sqfs")
}

#[test]
fn images_of_every_codec_hold_what_was_packed() {
    for name in IMAGES {
        let reader = Reader::open_raw(image(name)).unwrap();
        model::check(&reader, &model::small());
    }
}

#[test]
fn many_threads_read_one_image() {
    let reader = Reader::open_raw(image("zstd")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| model::check(&reader, &model::small()));
        }
    });
}
