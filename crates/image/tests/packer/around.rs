//! Tests of images around contents that are in one file already.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use condense_image::{
    Entry, Error, FileRange, Kind, PackOptions, Reader, ScanOptions, Source, Tree, frame, pack,
};

use crate::Place;

const BLOCK: usize = 128 << 10;
/// Position of the last part: it needs more than the 32 bits of a short inode.
const FAR: u64 = (5 << 30) + 3;

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * at % 253) as u8).collect()
}

fn part(file: &Arc<fs_err::File>, offset: u64, size: usize) -> Entry {
    let source = Source::Range(FileRange::new(file.clone(), offset));
    Entry {
        mode: 0o755,
        uid: 7,
        gid: 8,
        mtime: 9,
        links: 1,
        kind: Kind::File {
            size: size as u64,
            source,
        },
    }
}

/// Creates the file with these contents, and the tree of its parts. Returns the end of the parts as
/// well.
fn parts(path: &Path, contents: &[Vec<u8>]) -> (Arc<fs_err::File>, Tree, u64) {
    let mut options = fs_err::OpenOptions::new();
    let options = options.create_new(true).read(true).write(true);
    let file = Arc::new(options.open(path).unwrap());
    let (mut tree, mut offset) = (Tree::new(), 101);
    for (number, bytes) in contents.iter().enumerate() {
        if number + 1 == contents.len() {
            offset = FAR;
        }
        file.file().write_all_at(bytes, offset).unwrap();
        let entry = part(&file, offset, bytes.len());
        tree.add_entry(format!("parts/{number}"), entry).unwrap();
        offset += bytes.len() as u64;
    }
    (file, tree, offset)
}

fn packed(place: &Place, tree: &Tree) -> Vec<u8> {
    let out = place.path("packed");
    pack(tree, &out, &PackOptions::default()).unwrap();
    let bytes = fs_err::read(&out).unwrap();
    fs_err::remove_file(out).unwrap();
    bytes
}

/// Names, attributes and contents that are read from the image are those of the tree. The tree
/// itself can still be packed.
#[test]
fn an_image_around_a_file_has_its_contents() {
    let place = Place::new();
    let sizes = [0, 1, 10, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7, 20];
    let mut contents: Vec<Vec<u8>> = sizes.map(bytes).into();
    contents.insert(3, vec![0; 2 * BLOCK]);
    let (file, mut tree, end) = parts(&place.path("spool"), &contents);
    let root = place.root();
    fs_err::write(root.join("disk"), bytes(2 * BLOCK + 3)).unwrap();
    fs_err::write(root.join("empty"), "").unwrap();
    tree.graft(
        "/",
        Tree::scan(&root, &ScanOptions::default()).unwrap(),
        condense_image::Existing::Merge,
    )
    .unwrap();
    tree.add_bytes("bin/memory", bytes(100), 0o755).unwrap();
    tree.add_symlink("bin/link", "../parts/1").unwrap();
    tree.add_hard_link("bin/hard", "parts/2").unwrap();

    let before = packed(&place, &tree);
    // An image can be made again, when more contents have come.
    frame(&tree, &file, end).unwrap();
    frame(&tree, &file, end).unwrap();
    let reader = Arc::new(Reader::open_raw(place.path("spool")).unwrap());
    let read = Tree::from_image(&reader).unwrap();
    assert!(packed(&place, &read) == before, "the image differs");
    assert!(packed(&place, &tree) == before, "the tree has changed");
    assert!(reader.superblock().bytes_used > FAR);
}

#[test]
fn contents_where_the_image_needs_room_are_refused() {
    let place = Place::new();
    let (file, _, end) = parts(&place.path("spool"), &[bytes(10), bytes(10)]);
    for offset in [0, 95, end - 9, u64::MAX] {
        let mut tree = Tree::new();
        tree.add_entry("file", part(&file, offset, 10)).unwrap();
        let refused = frame(&tree, &file, end);
        assert!(
            matches!(refused, Err(Error::InvalidEntry { .. })),
            "{offset}: {refused:?}"
        );
    }
}

#[test]
fn a_file_on_disk_that_has_changed_is_refused() {
    let place = Place::new();
    let (file, _, end) = parts(&place.path("spool"), &[bytes(10)]);
    let changing = place.root().join("file");
    fs_err::write(&changing, "one").unwrap();
    let tree = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
    fs_err::write(&changing, "other").unwrap();
    let refused = frame(&tree, &file, end);
    assert!(matches!(refused, Err(Error::Changed { .. })), "{refused:?}");
}
