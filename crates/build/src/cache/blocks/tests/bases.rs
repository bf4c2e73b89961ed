//! Tests of digests of base images beside the blocks.

use super::*;

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
