//! Tests that one tree gives one image, independent of machine state and number of threads.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use condense_image::{Mtime, PackOptions, ScanOptions, Tree, pack};
use sha2::Digest;

use crate::{Place, options, trees};

#[test]
fn the_digest_is_that_of_the_file() {
    let place = Place::new();
    let image = pack(
        &trees::random(5, 300, 4096),
        &place.path("o"),
        &options("zstd", "4K", 2),
    )
    .unwrap();
    let digest: [u8; 32] = sha2::Sha256::digest(fs_err::read(&image.path).unwrap()).into();
    assert_eq!(image.sha256().unwrap(), digest);
}

#[test]
fn any_number_of_threads_makes_the_same_image() {
    let place = Place::new();
    trees::odd(&place.root());
    let odd = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
    for (name, tree, block_size) in [
        ("odd", &odd, "128K"),
        ("odd-small-blocks", &odd, "4K"),
        ("random", &trees::random(1, 3000, 8 << 10), "8K"),
        // This tree has more content than the longest delay of a shared block.
        ("long", &trees::random(2, 800, 128 << 10), "128K"),
    ] {
        let mut digests = Vec::new();
        for threads in [1, 2, 3, 8] {
            let out = place.path(&format!("{name}-{threads}"));
            digests.push(
                pack(tree, &out, &options("zstd:1", block_size, threads))
                    .unwrap()
                    .sha256()
                    .unwrap(),
            );
        }
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
    }
}

/// Writes the same tree under the given umask, and its entries in normal or reversed order.
fn write(root: &Path, umask: u32, reversed: bool) {
    let mut names: Vec<String> = (0..200).map(|n| format!("d{}/f{n}.py", n % 7)).collect();
    if reversed {
        names.reverse();
    }
    for name in names {
        let path = root.join(&name);
        let parent = path.parent().unwrap();
        fs_err::create_dir_all(parent).unwrap();
        fs_err::set_permissions(parent, PermissionsExt::from_mode(0o777 & !umask)).unwrap();
        fs_err::write(&path, name.repeat(100)).unwrap();
        let mode = if name.ends_with("9.py") { 0o777 } else { 0o666 };
        fs_err::set_permissions(&path, PermissionsExt::from_mode(mode & !umask)).unwrap();
    }
}

#[test]
fn umask_and_order_leave_no_trace() {
    let place = Place::new();
    let options = ScanOptions {
        mtime: Mtime::Set(1_600_000_000),
        ..ScanOptions::default()
    };
    let mut digests = Vec::new();
    for (umask, reversed) in [(0o022, false), (0o007, true), (0o077, false)] {
        let root = place.path(&format!("{umask:o}"));
        fs_err::create_dir(&root).unwrap();
        write(&root, umask, reversed);
        let tree = Tree::scan(&root, &options).unwrap();
        let out = place.path(&format!("{umask:o}.sqfs"));
        digests.push(
            pack(&tree, &out, &PackOptions::default())
                .unwrap()
                .sha256()
                .unwrap(),
        );
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn any_number_of_scanning_threads_makes_the_same_tree() {
    let place = Place::new();
    trees::odd(&place.root());
    let mut digests = Vec::new();
    for threads in [1, 3, 16] {
        let options = ScanOptions {
            threads: std::num::NonZeroUsize::new(threads),
            ..ScanOptions::default()
        };
        let tree = Tree::scan(&place.root(), &options).unwrap();
        let out = place.path(&threads.to_string());
        digests.push(
            pack(&tree, &out, &PackOptions::default())
                .unwrap()
                .sha256()
                .unwrap(),
        );
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}
