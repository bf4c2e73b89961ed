//! Tests that packed content is read back unchanged, for every codec and block size.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use condense_image::{
    Entry, Error, FileRange, Kind, PackOptions, Progress, Reader, ScanOptions, Source, Tree, pack,
    verify,
};

use crate::{Place, options, pack_and_verify, trees};

const CODECS: [&str; 9] = [
    "zstd:1", "zstd:3", "zstd:15", "gzip:1", "gzip:9", "lz4", "lz4:hc", "xz:1", "none",
];

#[test]
fn an_odd_tree_survives_every_codec() {
    let place = Place::new();
    trees::odd(&place.root());
    let tree = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
    for codec in CODECS {
        for block_size in ["4K", "128K", "1M"] {
            let out = place.path(&format!("{codec}-{block_size}"));
            let image = pack_and_verify(&tree, &out, &options(codec, block_size, 2)).unwrap();
            assert_eq!(image.size_bytes, out.metadata().unwrap().len(), "{codec}");
            assert_eq!(image.size_bytes % 4096, 0, "{codec}");
        }
    }
}

#[test]
fn random_trees_survive() {
    let place = Place::new();
    for seed in 0..60 {
        let (block_size, block) =
            [("4K", 4 << 10), ("8K", 8 << 10), ("128K", 128 << 10)][seed as usize % 3];
        let tree = trees::random(seed, 10 + 7 * seed as usize, block);
        let codec = CODECS[seed as usize % CODECS.len()];
        let out = place.path(&seed.to_string());
        pack_and_verify(
            &tree,
            &out,
            &options(codec, block_size, 1 + seed as usize % 4),
        )
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// Contents that are parts of one file give the same image as the same contents in memory.
#[test]
fn parts_of_a_file_are_packed_with_their_attributes() {
    let place = Place::new();
    let contents: Vec<Vec<u8>> = [10_u32, 5000, 4096, 20_000, 10]
        .map(|size| (0..size).map(|at| (at % 251) as u8).collect())
        .into();
    fs_err::write(place.path("spool"), contents.concat()).unwrap();
    let spool = Arc::new(fs_err::File::open(place.path("spool")).unwrap());
    let make = |from_spool: bool| {
        let mut tree = Tree::new();
        let entry = |mode, kind| Entry {
            mode,
            uid: 7,
            gid: 8,
            mtime: 9,
            links: 0,
            kind,
        };
        let mut offset = 0;
        for (number, bytes) in contents.iter().enumerate() {
            let size = bytes.len() as u64;
            let source = if from_spool {
                Source::Range(FileRange::new(spool.clone(), offset))
            } else {
                Source::Bytes(bytes.as_slice().into())
            };
            offset += size;
            let kind = Kind::File { size, source };
            tree.add_entry(format!("d/{number}"), entry(0o4711, kind))
                .unwrap();
        }
        for path in ["", "d", "empty"] {
            tree.add_entry(path, entry(0o1750, Kind::Directory(Vec::new())))
                .unwrap();
        }
        let twice = tree.add_entry("d/0", entry(0o644, Kind::Fifo));
        assert!(matches!(twice, Err(Error::InvalidEntry { .. })));
        tree
    };
    let options = options("zstd:3", "4K", 2);
    let image = pack_and_verify(&make(true), &place.path("one"), &options).unwrap();
    let other = pack_and_verify(&make(false), &place.path("other"), &options).unwrap();
    assert_eq!(image.sha256().unwrap(), other.sha256().unwrap());
    let tree = make(true);
    let attributes: Vec<_> = tree
        .walk()
        .map(|(_, entry)| (entry.mode, entry.uid, entry.gid, entry.mtime, entry.links))
        .collect();
    assert_eq!(attributes[0], (0o1750, 7, 8, 9, 4), "the root");
    assert_eq!(
        attributes[1],
        (0o1750, 7, 8, 9, 2),
        "a directory that was there"
    );
    assert_eq!(attributes[2], (0o4711, 7, 8, 9, 1));
}

#[test]
fn an_empty_tree_is_an_image() {
    let place = Place::new();
    let image = pack_and_verify(&Tree::new(), &place.path("o"), &PackOptions::default()).unwrap();
    assert_eq!(
        (image.inodes, image.bytes_in, image.size_bytes),
        (1, 0, 4096)
    );
}

#[test]
fn equal_files_cost_once_and_lookalikes_do_not_merge() {
    let place = Place::new();
    let mut tree = Tree::new();
    let noise = trees::Random(3).bytes(200_000);
    let mut not_quite = noise.clone();
    *not_quite.last_mut().unwrap() ^= 1;
    for (name, bytes) in [
        ("a", &noise),
        ("b", &noise),
        ("c", &not_quite),
        ("d", &noise),
    ] {
        tree.add_bytes(name, bytes.clone(), 0o644).unwrap();
    }
    for (name, text) in [
        ("1.py", "same"),
        ("2.py", "same"),
        ("3.py", "else"),
        ("4", "same"),
    ] {
        tree.add_bytes(name, text.as_bytes().to_vec(), 0o644)
            .unwrap();
    }
    let image = pack_and_verify(&tree, &place.path("o"), &PackOptions::default()).unwrap();
    assert_eq!(image.duplicate_files, 4);
    assert_eq!(image.bytes_in, 800_016);
}

#[test]
fn a_directory_of_fifty_thousand_is_found_by_name() {
    let place = Place::new();
    let mut tree = Tree::new();
    for number in 0..50_000 {
        let name = format!("many/entry-with-some-name-{number:06}");
        tree.add_bytes(name, format!("{number}").into_bytes(), 0o644)
            .unwrap();
    }
    let image = pack_and_verify(&tree, &place.path("o"), &PackOptions::default()).unwrap();
    assert_eq!(image.inodes, 50_002);
    let reader = Reader::open_raw(&image.path).unwrap();
    for number in [0, 1, 255, 256, 257, 31_337, 49_999] {
        let path = format!("/many/entry-with-some-name-{number:06}");
        let node = reader.resolve(&path).unwrap().unwrap();
        assert_eq!(
            reader.read(&node, 16).unwrap(),
            format!("{number}").into_bytes()
        );
    }
    assert!(
        reader
            .resolve("/many/entry-with-some-name-050000")
            .unwrap()
            .is_none()
    );
}

#[test]
fn files_beyond_four_gibibytes_keep_their_end() {
    let place = Place::new();
    let size = (4 << 30) + 12_345;
    let file = fs_err::File::create(place.root().join("huge")).unwrap();
    file.set_len(size).unwrap();
    file.file().write_all_at(b"the end", size - 7).unwrap();
    drop(file);
    let tree = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
    let image = pack_and_verify(&tree, &place.path("o"), &options("lz4", "1M", 2)).unwrap();
    assert_eq!(image.bytes_in, size);
    assert!(image.size_bytes < 1 << 20);
}

#[test]
fn what_is_excluded_stays_out_and_names_are_counted() {
    let place = Place::new();
    trees::odd(&place.root());
    let options = ScanOptions {
        exclude: vec!["a/b".into(), "noise".into()],
        ..ScanOptions::default()
    };
    let mut tree = Tree::scan(&place.root(), &options).unwrap();
    let paths: Vec<_> = tree.walk().map(|(path, _)| path).collect();
    assert!(paths.contains(&"a/hard.so".into()));
    assert!(
        !paths
            .iter()
            .any(|path| path.starts_with("a/b") || path.ends_with("noise"))
    );
    let links: BTreeMap<_, _> = tree
        .walk()
        .map(|(path, entry)| (path, entry.links))
        .collect();
    assert_eq!(links[std::path::Path::new("hello.txt")], 1);
    assert_eq!(links[std::path::Path::new("large.so")], 2);
    let before = tree.summary();
    tree.remove("a/hard.so").unwrap();
    assert_eq!(tree.summary(), before);
    tree.remove("large.so").unwrap();
    assert_eq!(tree.summary().files, before.files - 1);
    assert!(matches!(
        tree.remove("large.so"),
        Err(Error::NotFound { .. })
    ));
    pack_and_verify(&tree, &place.path("o"), &PackOptions::default()).unwrap();
}

#[test]
fn progress_adds_up() {
    struct Sum(AtomicU64);
    impl Progress for Sum {
        fn packed(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }
    let place = Place::new();
    trees::odd(&place.root());
    let tree = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
    let sum = Arc::new(Sum(AtomicU64::new(0)));
    let options = PackOptions {
        progress: Some(sum.clone()),
        ..PackOptions::default()
    };
    let image = pack(&tree, &place.path("o"), &options).unwrap();
    assert_eq!(sum.0.load(Ordering::Relaxed), image.bytes_in);
    assert_eq!(image.bytes_in, tree.summary().bytes);
}

#[test]
fn verify_tells_an_image_of_another_tree_and_a_damaged_one() {
    let place = Place::new();
    let tree = trees::random(11, 200, 128 << 10);
    let image = pack_and_verify(&tree, &place.path("o"), &options("none", "128K", 2)).unwrap();
    let mut other = tree.clone();
    other.add_bytes("zzz", b"more".to_vec(), 0o644).unwrap();
    let error = verify(&image, &other, None).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    // Without compression the contents come directly after the superblock, and only the digest can
    // detect the change.
    let mut bytes = fs_err::read(&image.path).unwrap();
    bytes[1000] ^= 1;
    fs_err::write(&image.path, bytes).unwrap();
    let error = verify(&image, &tree, None).unwrap_err();
    assert!(error.to_string().contains("content"), "{error}");
}
