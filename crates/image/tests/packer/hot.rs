//! Tests of the hot zone: the files of a profile come first in the image, and nothing else is
//! between them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use condense_image::reader::Node;
use condense_image::{HotZone, PackOptions, Reader, Tree};

use crate::{Place, options, pack_and_verify, trees};

/// Number of bytes that are read at a time, in proportion to the size of the tree.
const PIECE_BYTES: u64 = 256 << 10;

fn files(reader: &Reader) -> impl Iterator<Item = (PathBuf, Node)> {
    let all = reader.walk().unwrap().map(Result::unwrap);
    all.filter(|(_, node)| node.is_file() && node.size > 0)
}

/// Returns a profile: every seventh file, in an order that is not that of the names.
fn profile(tree: &Tree) -> Vec<PathBuf> {
    let files = tree.walk().filter_map(|(path, entry)| match entry.kind {
        condense_image::Kind::File { size, .. } if size > 0 => Some(path),
        _ => None,
    });
    let mut hot: Vec<PathBuf> = files.step_by(7).collect();
    hot.reverse();
    hot
}

fn with_profile(hot: &[PathBuf], block_size: &str, threads: usize) -> PackOptions {
    PackOptions {
        hot: hot.to_vec(),
        ..options("zstd:1", block_size, threads)
    }
}

#[test]
fn hot_files_lie_in_the_zone_and_others_only_if_they_are_equal() {
    let place = Place::new();
    for (name, tree, block_size) in [
        ("small-blocks", trees::random(11, 2000, 8 << 10), "8K"),
        ("long", trees::random(12, 700, 128 << 10), "128K"),
    ] {
        let hot = profile(&tree);
        let mut images = Vec::new();
        for threads in [1, 2, 5] {
            let out = place.path(&format!("{name}-{threads}"));
            let options = with_profile(&hot, block_size, threads);
            let image = pack_and_verify(&tree, &out, &options).unwrap();
            images.push((image, fs_err::read(out).unwrap()));
        }
        assert!(
            images.windows(2).all(|pair| pair[0].1 == pair[1].1),
            "{name}"
        );
        let (image, _) = &images[0];
        let reader = Reader::open_raw(&image.path).unwrap();
        let zone = reader.hot_zone().unwrap().unwrap();
        assert_eq!(image.hot_zone, Some(zone));
        assert!(zone.start < 256, "{name}: behind the superblock");
        let contents: BTreeSet<Vec<u8>> = hot
            .iter()
            .map(|path| {
                let node = reader.lookup(path).unwrap().unwrap();
                // A file of zeros has no place in the image at all.
                let is_stored = reader.stored(&node).unwrap().place.is_some();
                assert_eq!(
                    reader.is_in_zone(&node, zone).unwrap(),
                    is_stored,
                    "{name}: {path:?}"
                );
                reader.read(&node, u64::MAX).unwrap()
            })
            .collect();
        for (path, node) in files(&reader) {
            let is_hot = contents.contains(&reader.read(&node, u64::MAX).unwrap());
            let is_stored = reader.stored(&node).unwrap().place.is_some();
            let expected = is_hot && is_stored;
            assert_eq!(
                reader.is_in_zone(&node, zone).unwrap(),
                expected,
                "{name}: {path:?}"
            );
        }
        condense_image::check(&reader, &condense_image::CheckOptions::default()).unwrap();
    }
}

/// Returns a tree like an environment: many small modules in packages, and a few libraries. Every
/// forty-fifth module and one library are hot.
fn environment() -> (Tree, Vec<PathBuf>) {
    let mut random = trees::Random(3);
    let (mut tree, mut hot) = (Tree::new(), Vec::new());
    for number in 0..9000_u64 {
        let path = format!("lib/p{}/m{number}.pyc", number % 60);
        let length = 2000 + random.below(9000) as usize;
        // Words of many modules beside numbers of one, as byte code has.
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend(format!("name_{} ", random.below(3000)).bytes());
            bytes.extend((0..4).map(|_| random.below(256) as u8));
        }
        tree.add_bytes(&path, bytes, 0o644).unwrap();
        if number % 45 == 0 {
            hot.push(PathBuf::from(path));
        }
    }
    for number in 0..12_u64 {
        let path = format!("lib/l{number}.so");
        let noise = (0..500_000).map(|_| random.below(256) as u8);
        tree.add_bytes(&path, noise.collect::<Vec<_>>(), 0o755)
            .unwrap();
        if number == 0 {
            hot.insert(0, PathBuf::from(path));
        }
    }
    (tree, hot)
}

/// Returns the numbers of the pieces that hold the blocks of these files.
fn pieces(reader: &Reader, paths: &[PathBuf]) -> usize {
    let mut pieces = BTreeSet::new();
    for path in paths {
        let node = reader.lookup(path).unwrap().unwrap();
        for (from, end) in reader.runs(&node).unwrap() {
            pieces.extend(from / PIECE_BYTES..end.div_ceil(PIECE_BYTES));
        }
    }
    pieces.len()
}

#[test]
fn a_profile_makes_few_pieces_of_many_at_no_size() {
    let place = Place::new();
    let (tree, hot) = environment();
    let without = pack_and_verify(&tree, &place.path("without"), &options("zstd", "128K", 2));
    let with = pack_and_verify(&tree, &place.path("with"), &with_profile(&hot, "128K", 2));
    let (without, with) = (without.unwrap(), with.unwrap());
    let open = |path: &Path| Reader::open_raw(path).unwrap();
    let before = pieces(&open(&without.path), &hot);
    let after = pieces(&open(&with.path), &hot);
    assert!(after * 3 < before, "{after} of {before} pieces");
    let zone = with.hot_zone.unwrap();
    assert!(after as u64 <= zone.bytes.div_ceil(PIECE_BYTES) + 1);
    let most = without.size_bytes + without.size_bytes / 200;
    assert!(
        with.size_bytes <= most,
        "{} and {}",
        with.size_bytes,
        without.size_bytes
    );
}

#[test]
fn a_profile_without_files_changes_nothing() {
    let place = Place::new();
    let tree = trees::random(13, 200, 4096);
    let hot = ["none", "a/b/c", "/", ".."].map(PathBuf::from);
    let without = pack_and_verify(&tree, &place.path("without"), &options("zstd:1", "4K", 2));
    let with = pack_and_verify(&tree, &place.path("with"), &with_profile(&hot, "4K", 2)).unwrap();
    assert_eq!(with.hot_zone, None);
    let without = fs_err::read(without.unwrap().path).unwrap();
    assert_eq!(fs_err::read(&with.path).unwrap(), without);
    assert_eq!(
        Reader::open_raw(&with.path).unwrap().hot_zone().unwrap(),
        None
    );
}

#[test]
fn large_files_keep_the_order_of_the_profile() {
    let place = Place::new();
    let mut tree = Tree::new();
    let names: Vec<PathBuf> = (0..9).map(|number| format!("l{number}").into()).collect();
    for name in &names {
        let bytes = trees::Random(name.as_os_str().len() as u64).bytes(0);
        let own = name.display().to_string().repeat(9000);
        tree.add_bytes(name, [bytes, own.into_bytes()].concat(), 0o644)
            .unwrap();
    }
    let hot = [5, 0, 8, 3].map(|at| names[at].clone());
    let image = pack_and_verify(&tree, &place.path("o"), &with_profile(&hot, "4K", 3)).unwrap();
    let reader = Reader::open_raw(&image.path).unwrap();
    let start = |path: &PathBuf| {
        let node = reader.lookup(path).unwrap().unwrap();
        reader.runs(&node).unwrap()[0].0
    };
    let starts: Vec<u64> = hot.iter().map(start).collect();
    assert!(starts.is_sorted() && starts[0] == image.hot_zone.unwrap().start);
    let HotZone { start: from, bytes } = image.hot_zone.unwrap();
    assert!(
        names
            .iter()
            .filter(|name| !hot.contains(name))
            .all(|name| start(name) >= from + bytes)
    );
}
