//! Tests that a failed pack ends with an error that names the file, and leaves no image.

use condense_diagnostics::Hint as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use condense_image::{Error, PackOptions, Progress, ScanOptions, Tree, pack};

use crate::{Place, options, trees};

/// Scans a tree, changes one of its files and packs. The result must be an error that names the
/// file, and no image.
fn check_change(name: &str, change: impl Fn(&Path), expected: &str) {
    for threads in [1, 3] {
        let place = Place::new();
        trees::odd(&place.root());
        let tree = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
        let victim = place.root().join(name);
        change(&victim);
        let out = place.path("o");
        let error = pack(&tree, &out, &options("zstd", "128K", threads)).unwrap_err();
        match &error {
            Error::Changed { path, how } => {
                assert_eq!(path.file_name(), victim.file_name());
                assert!(how.contains(expected), "{how}");
            }
            other => panic!("{name}: {other}"),
        }
        assert!(error.hint().is_some());
        assert!(!out.exists(), "{name}: half an image was left");
    }
}

/// A small file, a file of many blocks, and a file that is only compared with its duplicate.
const VICTIMS: [&str; 3] = ["other.txt", "noise", "lib/large-copy.so"];

#[test]
fn a_file_that_vanished_is_named() {
    for name in VICTIMS {
        check_change(
            name,
            |path| fs_err::remove_file(path).unwrap(),
            "no longer there",
        );
    }
}

#[test]
fn a_file_that_shrank_is_named() {
    for name in VICTIMS {
        let shrink = |path: &Path| {
            let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(3).unwrap();
        };
        check_change(name, shrink, "shorter");
    }
}

#[test]
fn a_file_that_grew_is_named() {
    for name in VICTIMS {
        let grow = |path: &Path| {
            let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() + 1).unwrap();
        };
        check_change(name, grow, "bytes and now has");
    }
}

#[test]
fn a_file_that_was_written_to_is_named() {
    for name in VICTIMS {
        let rewrite = |path: &Path| {
            let bytes = fs_err::read(path).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs_err::write(path, bytes).unwrap();
        };
        check_change(name, rewrite, "written to or replaced");
    }
}

#[test]
fn a_symlink_or_a_pipe_in_a_files_place_is_named() {
    for name in VICTIMS {
        let link = |path: &Path| {
            fs_err::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", path).unwrap();
        };
        check_change(name, link, "symlink");
        // Reading the pipe must not wait for a writer.
        let pipe = |path: &Path| {
            fs_err::remove_file(path).unwrap();
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).unwrap();
        };
        let place = Place::new();
        trees::odd(&place.root());
        let tree = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
        pipe(&place.root().join(name));
        let error = pack(&tree, &place.path("o"), &PackOptions::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(!place.path("o").exists());
    }
}

#[test]
fn existing_files_are_not_overwritten() {
    let place = Place::new();
    fs_err::write(place.path("o"), b"mine").unwrap();
    let error = pack(&Tree::new(), &place.path("o"), &PackOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("failed to create"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(fs_err::read(place.path("o")).unwrap(), b"mine");
}

#[test]
fn a_cancelled_pack_leaves_nothing() {
    let place = Place::new();
    trees::odd(&place.root());
    let tree = Tree::scan(&place.root(), &ScanOptions::default()).unwrap();
    let options = PackOptions {
        cancel: Some(Arc::new(AtomicBool::new(true))),
        ..PackOptions::default()
    };
    let error = pack(&tree, &place.path("o"), &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(!place.path("o").exists());
}

/// Progress callback that cancels as soon as the first bytes are packed.
struct Impatient(Arc<AtomicBool>);

impl Progress for Impatient {
    fn packed(&self, _: u64) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_pack_cancelled_midway_leaves_nothing() {
    let place = Place::new();
    let tree = trees::random(4, 2000, 128 << 10);
    let cancel = Arc::new(AtomicBool::new(false));
    let options = PackOptions {
        cancel: Some(cancel.clone()),
        progress: Some(Arc::new(Impatient(cancel))),
        ..PackOptions::default()
    };
    let error = pack(&tree, &place.path("o"), &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(!place.path("o").exists());
}

#[test]
fn a_file_as_root_and_no_root_are_refused() {
    let place = Place::new();
    fs_err::write(place.path("file"), b"").unwrap();
    for name in ["file", "missing"] {
        let error = Tree::scan(&place.path(name), &ScanOptions::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn trees_in_memory_refuse_what_no_image_can_hold() {
    let mut tree = Tree::new();
    tree.add_bytes("a/file", b"".to_vec(), 0o644).unwrap();
    let long = "n".repeat(256);
    for path in ["", "/", "a/../b", "a/file/below", "a/file", "a", &long] {
        let error = tree.add_bytes(path, b"".to_vec(), 0o644).unwrap_err();
        assert!(
            matches!(error, Error::InvalidEntry { .. }),
            "{path}: {error}"
        );
    }
    assert!(tree.add_symlink("s", "").is_err());
    assert!(tree.add_symlink("s", "t".repeat(4096)).is_err());
    assert!(tree.add_hard_link("h", "a").is_err());
    assert!(tree.add_hard_link("h", "missing").is_err());
    tree.add_directory("a").unwrap();
    assert_eq!(tree.walk().count(), 3);
}
