//! Tests of images whose layout is pinned. A text dump shows what a changed digest means.

use condense_image::{Entry, Kind, Tree, reader::Xattr, verify};

use super::{TIME, bytes, dump::dump, pack_with};

/// A change of these bytes changes every user's image: digests that users have recorded no longer
/// match.
#[test]
fn a_ten_entry_tree_has_the_bytes_it_always_had() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    tree.set_mtime_of_additions(TIME);
    tree.add_bytes("bin/program", *b"#!/bin/sh\necho hello\n", 0o755)
        .unwrap();
    tree.add_symlink("bin/alias", "program").unwrap();
    tree.add_bytes("lib/large", bytes(1, 300_000), 0o644)
        .unwrap();
    tree.add_bytes("lib/same", bytes(1, 300_000), 0o644)
        .unwrap();
    tree.add_bytes("share/empty", *b"", 0o644).unwrap();
    tree.add_hard_link("share/again", "bin/program").unwrap();
    tree.add_directory("share/nothing").unwrap();
    let image = pack_with(&tree, &dir.path().join("image"), "none", 2);
    verify(&image, &tree, None).unwrap();
    assert_eq!(image.inodes, 10);
    insta::assert_snapshot!("ten-entry-tree", dump(&image.path));
    assert_eq!(hex::encode(image.sha256().unwrap()), TEN_ENTRIES);
}

const TEN_ENTRIES: &str = "baf0aa2e792927bb381a6fa71e07b5afbde827db30e8f79a9ca036242e37ef8c";

/// Entries of every kind, with owners, times, extended attributes, holes and fragments.
#[test]
fn a_tree_of_every_kind_of_entry_is_laid_out_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    tree.set_mtime_of_additions(TIME);
    let entry = |mode, kind| Entry {
        mode,
        uid: 1000,
        gid: 100,
        mtime: TIME + 1,
        links: 1,
        kind,
    };
    tree.add_bytes("small/one", *b"one\n", 0o644).unwrap();
    tree.add_bytes("small/two", *b"two\n", 0o600).unwrap();
    tree.add_bytes("small/one-again", *b"one\n", 0o644).unwrap();
    let mut holes = vec![0; 300_000];
    holes[140_000] = 1;
    tree.add_bytes("holes", holes, 0o644).unwrap();
    tree.add_bytes("large", bytes(3, 150_000), 0o755).unwrap();
    tree.add_hard_link("large-too", "large").unwrap();
    tree.add_symlink("link", "small/one").unwrap();
    tree.add_entry("pipe", entry(0o622, Kind::Fifo)).unwrap();
    tree.add_entry("socket", entry(0o755, Kind::Socket))
        .unwrap();
    tree.add_entry("null", entry(0o666, Kind::CharacterDevice(0x103)))
        .unwrap();
    tree.add_entry("disk", entry(0o660, Kind::BlockDevice(0x800)))
        .unwrap();
    tree.add_entry("owned", entry(0o1777, Kind::Directory(Vec::new())))
        .unwrap();
    let xattr = |name: &str, value: &[u8]| Xattr {
        name: name.into(),
        value: value.to_vec(),
    };
    let both = vec![xattr("user.note", b"a b"), xattr("security.x", b"\0\xff")];
    tree.set_xattrs("small/two", both.clone()).unwrap();
    tree.set_xattrs("owned", both).unwrap();
    let image = pack_with(&tree, &dir.path().join("image"), "none", 2);
    verify(&image, &tree, None).unwrap();
    insta::assert_snapshot!("every-kind-of-entry", dump(&image.path));
}
