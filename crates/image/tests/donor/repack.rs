//! Tests of new versions of a tree with the old image as donor: unchanged files are found, and
//! unused blocks do not accumulate.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, SystemTime};

use condense_image::{Donor, Error, PackOptions, ScanOptions, Tree, pack};

use crate::{Place, facts, open, pack_and_verify, trees};

fn scan(root: &Path) -> Tree {
    Tree::scan(root, &ScanOptions::default()).unwrap()
}

/// Writes 400 files of several kinds and sizes.
fn write(root: &Path) {
    let mut random = trees::Random(77);
    for number in 0..400 {
        let path = root.join(format!("d{}/file-{number}.py", number % 9));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let length = random.below(if number % 40 == 0 { 400_000 } else { 3000 }) as usize;
        fs_err::write(path, random.bytes(1 + length)).unwrap();
    }
    fs_err::hard_link(root.join("d0/file-0.py"), root.join("d1/hard")).unwrap();
}

#[test]
fn unchanged_files_keep_their_blocks() {
    let place = Place::new();
    let root = place.path("root");
    write(&root);
    for (codec, block_size) in [("zstd:3", "128K"), ("gzip:6", "4K"), ("lz4", "1M")] {
        let old = place.image(codec, &scan(&root), codec, block_size);
        let donor = Donor::open(&old).unwrap();
        let changed = root.join("d3/file-3.py");
        let content = fs_err::read(&changed).unwrap();
        fs_err::write(
            &changed,
            content.iter().map(|byte| byte ^ 1).collect::<Vec<_>>(),
        )
        .unwrap();
        fs_err::write(root.join("d3/new"), codec).unwrap();

        let all = scan(&root).summary();
        let fresh = place.image(&format!("fresh-{codec}"), &scan(&root), codec, block_size);
        let mut sha256 = None;
        for threads in [1, 3] {
            let options = PackOptions {
                threads: NonZeroUsize::new(threads),
                ..PackOptions::repack(donor.clone())
            };
            let (tree, kept) =
                Tree::scan_changes(&root, &ScanOptions::default(), &options).unwrap();
            assert_eq!(kept.files, all.files - 2, "{codec}");
            assert_eq!(scan(&root).keep_unchanged(&options).unwrap(), kept);
            let out = place.path(&format!("{codec}-{threads}"));
            let image = pack_and_verify(&tree, &out, &options);
            assert!(image.taken_bytes > 0, "{codec}");
            let found = image.sha256().unwrap();
            assert!(sha256.is_none_or(|known| known == found), "{codec}");
            sha256 = Some(found);
            facts::check(&facts::of(&open(&out)), &facts::of(&open(&fresh)), codec);
        }
        fs_err::remove_file(root.join("d3/new")).unwrap();
    }
}

#[test]
fn too_much_garbage_leads_to_a_full_pack_by_itself() {
    let place = Place::new();
    let root = place.path("root");
    for number in 0..100 {
        let bytes = trees::Random(number).bytes(5000);
        let path = root.join(format!("{number:02}"));
        fs_err::create_dir_all(&root).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
    let old = place.image("old", &scan(&root), "zstd:3", "128K");
    let donor = Donor::open(&old).unwrap();
    // Every second file is removed, and all files shared blocks.
    for number in (0..100).step_by(2) {
        fs_err::remove_file(root.join(format!("{number:02}"))).unwrap();
    }
    let mut tree = scan(&root);
    let options = PackOptions::repack(donor.clone());
    assert_eq!(tree.keep_unchanged(&options).unwrap().files, 50);
    let image = pack_and_verify(&tree, &place.path("new"), &options);
    assert_eq!((image.taken_bytes, image.garbage_bytes), (0, 0));
    let fresh = place.image("fresh", &scan(&root), "zstd:3", "128K");
    assert_eq!(
        fs_err::read(&image.path).unwrap(),
        fs_err::read(fresh).unwrap()
    );

    // Without a limit, the blocks are reused at any cost.
    let anyway = pack_and_verify(&tree, &place.path("anyway"), &PackOptions::onto(donor));
    assert!(
        anyway.garbage_bytes * 3 > anyway.taken_bytes,
        "about a half"
    );
}

/// A file gets other bytes of the same length, and its old modification time.
#[test]
fn times_are_trusted_on_request_and_only_those_from_before_the_donor() {
    let place = Place::new();
    let root = place.path("root");
    write(&root);
    let old = place.image("old", &scan(&root), "zstd:3", "128K");
    let path = root.join("d5/file-5.py");
    let modified = path.metadata().unwrap().modified().unwrap();
    let mut content = fs_err::read(&path).unwrap();
    content[0] ^= 1;
    fs_err::write(&path, content).unwrap();
    let file = fs_err::File::options().write(true).open(&path).unwrap();
    file.file().set_modified(modified).unwrap();
    let all = scan(&root).summary().files;
    let kept = |trust_times| {
        let options = PackOptions {
            trust_times,
            ..PackOptions::repack(Donor::open(&old).unwrap())
        };
        scan(&root).keep_unchanged(&options).unwrap().files
    };
    assert_eq!((kept(false), kept(true)), (all - 1, all - 1));

    // The donor now seems to be written after the change.
    let later = SystemTime::now() + Duration::from_secs(60);
    let donor = fs_err::File::options().write(true).open(&old).unwrap();
    donor.file().set_modified(later).unwrap();
    assert_eq!((kept(false), kept(true)), (all - 1, all));

    // The donor does not have this modification time.
    file.file().set_modified(later).unwrap();
    assert_eq!((kept(false), kept(true)), (all - 1, all - 1));
}

#[test]
fn a_file_that_changes_while_it_is_compared_is_named() {
    let place = Place::new();
    let root = place.path("root");
    write(&root);
    let old = place.image("old", &scan(&root), "zstd:3", "128K");
    let options = PackOptions::repack(Donor::open(&old).unwrap());
    let mut tree = scan(&root);
    let path = root.join("d5/file-5.py");
    let length = path.metadata().unwrap().len();
    fs_err::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length - 1)
        .unwrap();
    let error = tree.keep_unchanged(&options).unwrap_err();
    assert!(
        matches!(&error, Error::Changed { path: named, .. } if *named == path),
        "{error}"
    );
    fs_err::remove_file(&path).unwrap();
    let error = scan(&root).keep_unchanged(&options).map(drop);
    assert!(error.is_ok());
    let error = tree.keep_unchanged(&options).unwrap_err();
    assert!(error.to_string().contains("no longer there"), "{error}");
    assert!(pack(&tree, &place.path("o"), &options).is_err());
    assert!(!place.path("o").exists());
}
