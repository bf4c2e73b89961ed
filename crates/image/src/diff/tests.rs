#![allow(clippy::unwrap_used)]

use super::*;
use crate::reader::test_image::{FILE, ImageBuilder};
use crate::{BlockSize, Compression, PackOptions, Tree, pack};

fn image(fill: impl FnOnce(&mut Tree), options: &PackOptions) -> Reader {
    let scratch = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    fill(&mut tree);
    let image = pack(&tree, &scratch.path().join("image"), options).unwrap();
    Reader::open_raw(image.path).unwrap()
}

fn found(one: &Reader, other: &Reader, options: &DiffOptions) -> Vec<(String, Change)> {
    let differences = diff(one, other, options).unwrap().into_iter();
    differences
        .map(|difference| {
            (
                difference.path.to_str().unwrap().to_owned(),
                difference.change,
            )
        })
        .collect()
}

fn sample(tree: &mut Tree) {
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    tree.add_bytes("dir/large", noise, 0o644).unwrap();
    tree.add_bytes("dir/small", *b"small", 0o644).unwrap();
    tree.add_bytes("dir-2/x", *b"", 0o644).unwrap();
    tree.add_symlink("link", "dir").unwrap();
}

#[test]
fn the_same_tree_is_no_difference_however_it_is_packed() {
    let one = image(sample, &PackOptions::default());
    let other = PackOptions {
        block_size: BlockSize::MIN,
        compression: Compression::Gzip { level: 6 },
        ..PackOptions::default()
    };
    let other = image(sample, &other);
    assert_eq!(found(&one, &other, &DiffOptions::default()), []);
}

#[test]
fn every_difference_is_reported_once_and_in_order() {
    let one = image(
        |tree| {
            sample(tree);
            tree.add_bytes("bytes", *b"one", 0o644).unwrap();
            tree.add_bytes("dir/gone/deep", *b"", 0o644).unwrap();
            tree.add_bytes("kind", *b"", 0o644).unwrap();
            tree.add_bytes("mode", *b"", 0o644).unwrap();
            tree.add_bytes("size", *b"", 0o644).unwrap();
            tree.add_symlink("target", "a/b").unwrap();
        },
        &PackOptions::default(),
    );
    let other = image(
        |tree| {
            sample(tree);
            tree.add_bytes("bytes", *b"two", 0o644).unwrap();
            tree.add_symlink("kind", "x").unwrap();
            tree.add_bytes("mode", *b"", 0o755).unwrap();
            tree.add_bytes("new", *b"", 0o755).unwrap();
            tree.add_bytes("size", *b"1", 0o644).unwrap();
            tree.add_symlink("target", "a//b").unwrap();
        },
        &PackOptions::default(),
    );
    let changed = |aspect| Change::Changed(vec![aspect]);
    let expected = [
        ("bytes", changed(Aspect::Content)),
        ("dir/gone", Change::Removed),
        ("dir/gone/deep", Change::Removed),
        (
            "kind",
            changed(Aspect::Kind(NodeKind::File, NodeKind::Symlink)),
        ),
        ("mode", changed(Aspect::Mode(0o644, 0o755))),
        ("new", Change::Added),
        ("size", changed(Aspect::Size(0, 1))),
        (
            "target",
            changed(Aspect::Target("a/b".into(), "a//b".into())),
        ),
    ]
    .map(|(path, change)| (path.to_owned(), change));
    assert_eq!(found(&one, &other, &DiffOptions::default()), expected);
}

#[test]
fn times_and_owners_may_be_ignored() {
    let one = image(
        |tree| tree.add_bytes("a", *b"", 0o644).unwrap(),
        &PackOptions::default(),
    );
    let other = image(
        |tree| {
            tree.set_mtime_of_additions(5);
            tree.add_bytes("a", *b"", 0o644).unwrap();
        },
        &PackOptions::default(),
    );
    let time = Change::Changed(vec![Aspect::Time(0, 5)]);
    assert_eq!(
        found(&one, &other, &DiffOptions::default()),
        [("a".to_owned(), time)]
    );
    let ignoring = DiffOptions {
        ignore_times: true,
        ..DiffOptions::default()
    };
    assert_eq!(found(&one, &other, &ignoring), []);

    let image_of = |id: u8| {
        let mut builder = ImageBuilder::default();
        let file = builder.file(0, (u32::MAX, 0), 0, &[]);
        let bytes = builder.root(&[(b"a", FILE, file)]).bytes();
        // The list of owners has one element, which all inodes share. It is the last data before
        // the position of its table.
        let at = bytes.len() - 12;
        let mut bytes = bytes;
        bytes[at] = id;
        crate::reader::test_image::open(&bytes).unwrap()
    };
    let differences = found(&image_of(0), &image_of(9), &DiffOptions::default());
    let owner = Change::Changed(vec![Aspect::Owner((0, 0), (9, 9))]);
    assert_eq!(
        differences,
        [(".".to_owned(), owner.clone()), ("a".to_owned(), owner)]
    );
    let ignoring = DiffOptions {
        ignore_owners: true,
        ..DiffOptions::default()
    };
    assert_eq!(found(&image_of(0), &image_of(9), &ignoring), []);
}

#[test]
fn an_image_that_cannot_be_read_is_an_error() {
    let mut builder = ImageBuilder {
        data: b"0123456789".to_vec(),
        ..ImageBuilder::default()
    };
    let file = builder.file(96, (u32::MAX, 0), 10, &[10]);
    let reader = builder.root(&[(b"file", FILE, file)]).open().unwrap();
    let error = diff(&reader, &reader, &DiffOptions::default()).unwrap_err();
    assert!(error.to_string().contains("does not decompress"), "{error}");
    let options = DiffOptions {
        cancel: Some(Arc::new(AtomicBool::new(true))),
        ..DiffOptions::default()
    };
    let error = diff(&reader, &reader, &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}
