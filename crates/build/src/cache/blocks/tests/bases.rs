//! Tests of digests of base images beside the blocks.

use super::*;
use crate::open_base::{PendingDigest, kept_digest};

fn report(cache: &Cache) -> Report {
    let report = Report::silent();
    report.use_blocks(Some(&cache.settings()));
    report
}

/// Makes a file that has not changed for a while, as far as its state says.
fn state(cache: &Cache, name: &str) -> Option<FileState> {
    let path = cache.path(name);
    fs_err::write(&path, name).unwrap();
    FileState::of(&path, &path.metadata().unwrap())
}

#[test]
fn a_digest_is_found_while_the_file_is_as_it_was() {
    let cache = Cache::new();
    assert!(state(&cache, "new").is_none(), "it may change once more");
    // Files of the system are old.
    let old = Path::new("/bin/sh");
    let found = |path: &Path| FileState::of(path, &path.metadata().unwrap()).unwrap();
    let (digest, other) = ("ab".repeat(32), found(Path::new("/bin/cat")));
    assert!(report(&cache).known_base(&found(old)).is_none());
    report(&cache).keep_base(&found(old), &digest);
    assert_eq!(report(&cache).known_base(&found(old)), Some(digest.clone()));
    assert!(report(&cache).known_base(&other).is_none());
    let elsewhere = FileState::of(&cache.path("sh"), &old.metadata().unwrap()).unwrap();
    assert!(report(&cache).known_base(&elsewhere).is_none());
    assert!(Report::silent().known_base(&found(old)).is_none());

    let files: Vec<PathBuf> = std::fs::read_dir(cache.blocks())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [path] = &files[..] else {
        panic!("one file: {files:?}");
    };
    assert!(is_own(path.file_name().unwrap()), "`clean` knows it");
    let good = fs_err::read(path).unwrap();
    for length in 0..good.len() {
        fs_err::write(path, &good[..length]).unwrap();
        assert!(report(&cache).known_base(&found(old)).is_none(), "{length}");
        let mut flipped = good.clone();
        flipped[length] ^= 1;
        fs_err::write(path, flipped).unwrap();
        assert!(report(&cache).known_base(&found(old)).is_none(), "{length}");
    }
    fs_err::write(path, &good).unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
    assert!(report(&cache).known_base(&found(old)).is_none(), "anyone's");
}

#[test]
fn a_base_is_read_again_when_it_has_changed() {
    let cache = Cache::new();
    let report = report(&cache);
    let path = cache.path("base.sif");
    fs_err::write(&path, "one").unwrap();
    // Returns the digest, and whether the file was read for it.
    let digest = |change: &dyn Fn()| {
        let mut is_read = false;
        let at_once = |path: &Path, found: &_| FileState::settled(path, found, Duration::ZERO);
        let digest = kept_digest(&path, &report, at_once, || {
            is_read = true;
            let text = fs_err::read_to_string(&path)?;
            change();
            Ok::<_, std::io::Error>(Some(text.repeat(2)))
        });
        (digest.unwrap().unwrap(), is_read)
    };
    let nothing = || ();
    assert_eq!(digest(&nothing), ("oneone".to_owned(), true));
    assert_eq!(digest(&nothing), ("oneone".to_owned(), false));
    // The same size and time.
    let time = path.metadata().unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs_err::write(&path, "two").unwrap();
    let file = fs_err::File::options().write(true).open(&path).unwrap();
    file.file().set_modified(time).unwrap();
    assert_eq!(digest(&nothing), ("twotwo".to_owned(), true));
    assert_eq!(digest(&nothing), ("twotwo".to_owned(), false));
    // Another file in its place, and a change while it is read.
    fs_err::write(cache.path("new"), "six").unwrap();
    fs_err::rename(cache.path("new"), &path).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let change = || fs_err::write(&path, "ten").unwrap();
    assert_eq!(digest(&change), ("sixsix".to_owned(), true));
    assert_eq!(digest(&nothing), ("tenten".to_owned(), true));
}

/// A build links the base into its installation, which changes the time of its status.
#[test]
fn a_link_that_the_build_makes_keeps_the_digest() {
    let cache = Cache::new();
    let report = report(&cache);
    let base = cache.path("base.sqfs");
    let mut tree = Tree::new();
    tree.add_bytes("bin/sh", *b"#!", 0o755).unwrap();
    pack(&tree, &base, &PackOptions::default()).unwrap();
    let known = || {
        let found = base.metadata().unwrap();
        report.known_base(&FileState::after_link(&base, &found).unwrap())
    };
    let pending = || {
        let image = condense_base::BaseImage::open(&base).unwrap();
        PendingDigest::start(std::sync::Arc::new(image), &report).unwrap()
    };
    let digest = pending().wait().unwrap();
    digest.keep_after_link(&report);
    assert!(known().is_none(), "there is no link");
    fs_err::hard_link(&base, cache.path("linked")).unwrap();
    digest.keep_after_link(&report);
    assert_eq!(known(), digest.sha256);
    // The contents change with the link.
    let digest = pending().wait().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    fs_err::write(&base, "other").unwrap();
    fs_err::hard_link(&base, cache.path("again")).unwrap();
    digest.keep_after_link(&report);
    assert!(known().is_none());
}
