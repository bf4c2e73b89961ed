#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;

use super::*;
use crate::reader::test_image::{FILE, ImageBuilder, stored};
use crate::{PackOptions, Tree, pack};

const NO_FRAGMENT: (u32, u32) = (u32::MAX, 0);

fn whole(reader: &Reader) -> Result<Checked, Error> {
    check(reader, &CheckOptions::default())
}

#[track_caller]
fn check_refused(reader: &Reader, words: &str) {
    let error = whole(reader).unwrap_err();
    assert!(error.to_string().contains(words), "{error}, not {words}");
}

fn sample() -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    tree.add_bytes("a", vec![7; 300_000], 0o644).unwrap();
    tree.add_bytes("b", *b"tail", 0o644).unwrap();
    tree.add_hard_link("c", "a").unwrap();
    tree.add_symlink("d/link", "../a").unwrap();
    let image = pack(&tree, &scratch.path().join("i"), &PackOptions::default()).unwrap();
    std::fs::read(image.path).unwrap()
}

fn open(bytes: &[u8]) -> Result<Reader, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Reader::open_raw(file.path())
}

#[test]
fn valid_images_pass() {
    let checked = whole(&open(&sample()).unwrap()).unwrap();
    assert_eq!((checked.inodes, checked.names, checked.blocks), (5, 5, 3));
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    for codec in ["gzip", "lz4", "stored", "xz", "zstd"] {
        let reader = Reader::open_raw(images.join(codec).with_extension("sqfs")).unwrap();
        let seen = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let options = CheckOptions {
            progress: Some(Arc::new({
                let seen = Arc::clone(&seen);
                move |bytes| {
                    seen.fetch_add(bytes, Ordering::Relaxed);
                }
            })),
            ..CheckOptions::default()
        };
        let checked = check(&reader, &options).unwrap();
        assert_eq!(checked.inodes, u64::from(reader.superblock().inode_count));
        assert_eq!(checked.stored_bytes, seen.load(Ordering::Relaxed));
    }
}

#[test]
fn most_damaged_bytes_of_blocks_are_detected() {
    let bytes = sample();
    let blocks_end = open(&bytes).unwrap().tables_start() as usize;
    let mut found = 0;
    // The blocks begin behind the superblock and the options block of zstd.
    let blocks = 106..blocks_end;
    for at in blocks.clone() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        found += u32::from(open(&damaged).and_then(|reader| whole(&reader)).is_err());
    }
    // These zstd blocks carry no checksum: a literal byte may change, and the block still
    // decompresses.
    assert!(
        found as usize * 2 > blocks.len(),
        "{found} of {}",
        blocks.len()
    );
}

#[test]
fn an_export_table_that_does_not_fit_is_refused() {
    let bytes = sample();
    let table = u64::from_le_bytes(bytes[88..96].try_into().unwrap()) as usize;
    let block = u64::from_le_bytes(bytes[table..table + 8].try_into().unwrap()) as usize;
    let mut damaged = bytes.clone();
    // The export table now points to the metadata block of the directories.
    let directories = bytes[72..80].to_vec();
    damaged[table..table + 8].copy_from_slice(&directories);
    assert_ne!(directories, (block as u64).to_le_bytes());
    let error = open(&damaged)
        .and_then(|reader| whole(&reader))
        .unwrap_err();
    assert!(
        error.to_string().contains("export table") || error.to_string().contains("metadata"),
        "{error}"
    );
}

#[test]
fn wrong_counts_are_refused() {
    let bytes = sample();
    let mut damaged = bytes.clone();
    damaged[4] += 1;
    check_refused(
        &open(&damaged).unwrap(),
        "it claims 6 inodes, and 5 have a name",
    );

    // The builder has two names for one inode whose link count is 1.
    let mut builder = ImageBuilder::default();
    let file = builder.file(0, NO_FRAGMENT, 0, &[]);
    let builder = builder.root(&[(b"a", FILE, file), (b"b", FILE, file)]);
    check_refused(&builder.open().unwrap(), "two inodes have the number 1");
}

#[test]
fn blocks_that_overlap_are_refused() {
    let mut twice = ImageBuilder {
        data: b"0123456789".to_vec(),
        ..ImageBuilder::default()
    };
    let one = twice.file(96, NO_FRAGMENT, 8, &[stored(8)]);
    let other = twice.file(100, NO_FRAGMENT, 4, &[stored(4)]);
    let names = [(&b"x"[..], FILE, one), (b"y", FILE, other)];
    let twice = twice.root(&names);
    check_refused(&twice.open().unwrap(), "overlaps what lies at 100");

    let mut unlike = ImageBuilder {
        data: b"0123456789".to_vec(),
        ..ImageBuilder::default()
    };
    let one = unlike.file(96, NO_FRAGMENT, 8, &[stored(8)]);
    let other = unlike.file(96, NO_FRAGMENT, 4, &[stored(4)]);
    let names = [(&b"x"[..], FILE, one), (b"y", FILE, other)];
    let unlike = unlike.root(&names);
    check_refused(&unlike.open().unwrap(), "are not the same");

    let mut over = ImageBuilder::default();
    let file = over.file(90, NO_FRAGMENT, 40, &[stored(40)]);
    let over = over.root(&[(b"x", FILE, file)]);
    check_refused(&over.open().unwrap(), "overlaps what lies at 96");
}

#[test]
fn fragments_that_end_early_are_refused() {
    let mut builder = ImageBuilder {
        data: b"0123456789".to_vec(),
        fragments: vec![(96, stored(10))],
        ..ImageBuilder::default()
    };
    let file = builder.file(0, (0, 4), 7, &[]);
    let builder = builder.root(&[(b"x", FILE, file)]);
    check_refused(&builder.open().unwrap(), "has 10 bytes instead of 11");

    let mut builder = ImageBuilder {
        data: b"0123456789".to_vec(),
        fragments: vec![(96, stored(10))],
        ..ImageBuilder::default()
    };
    let file = builder.file(0, (1, 0), 7, &[]);
    let builder = builder.root(&[(b"x", FILE, file)]);
    check_refused(&builder.open().unwrap(), "there is no fragment 1");
}

#[test]
fn a_check_is_cancelled() {
    let options = CheckOptions {
        cancel: Some(Arc::new(AtomicBool::new(true))),
        ..CheckOptions::default()
    };
    let error = check(&open(&sample()).unwrap(), &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}
