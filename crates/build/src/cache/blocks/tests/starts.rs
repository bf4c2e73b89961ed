//! Tests of recorded starts beside the blocks.

use condense_prefix::StartFiles;

use super::*;

fn key(number: usize) -> String {
    format!("{number:064x}")
}

fn start(file: &str) -> StartFiles {
    StartFiles {
        files: vec!["bin/python3.12".to_owned(), file.to_owned()],
        failed: Vec::new(),
    }
}

fn report(cache: &Cache) -> Report {
    let report = Report::silent();
    report.use_blocks(Some(&cache.settings()));
    report
}

#[test]
fn a_start_is_found_by_what_it_depends_on() {
    let cache = Cache::new();
    assert!(report(&cache).known_start(&key(1)).is_none());
    report(&cache).keep_start(&key(1), &start("lib/a b.pyc"));
    assert_eq!(
        report(&cache).known_start(&key(1)),
        Some(start("lib/a b.pyc"))
    );
    assert!(report(&cache).known_start(&key(2)).is_none());
    assert!(Report::silent().known_start(&key(1)).is_none());
    // It is one of the files that `clean` knows.
    let name = format!("{}.start", key(1));
    assert!(cache.blocks().join(&name).is_file() && is_own(name.as_ref()));
    for other in ["x.start", "1.start", &key(1)] {
        assert!(!is_own(other.as_ref()), "{other}");
    }
}

/// A start that is damaged, cut off, or could be another user's is as if it were not there.
#[test]
fn only_a_whole_start_of_this_user_is_used() {
    let cache = Cache::new();
    report(&cache).keep_start(&key(1), &start("lib/a.pyc"));
    let path = cache.blocks().join(format!("{}.start", key(1)));
    let good = fs_err::read(&path).unwrap();
    for length in 0..good.len() {
        fs_err::write(&path, &good[..length]).unwrap();
        assert!(report(&cache).known_start(&key(1)).is_none(), "{length}");
        let mut flipped = good.clone();
        flipped[length] ^= 1;
        fs_err::write(&path, flipped).unwrap();
        assert!(report(&cache).known_start(&key(1)).is_none(), "{length}");
    }
    fs_err::write(&path, &good).unwrap();
    assert!(report(&cache).known_start(&key(1)).is_some());
    let mode = |bits| fs_err::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
    mode(0o666);
    assert!(report(&cache).known_start(&key(1)).is_none());
    mode(0o644);
    fs_err::rename(&path, cache.path("elsewhere")).unwrap();
    symlink(cache.path("elsewhere"), &path).unwrap();
    assert!(report(&cache).known_start(&key(1)).is_none());
}

/// Starts are few, and count to the size of the cache: the ones that were used longest ago go.
#[test]
fn starts_are_limited() {
    let cache = Cache::new();
    for number in 0..70 {
        report(&cache).keep_start(&key(number), &start("lib/a.pyc"));
        let path = cache.blocks().join(format!("{}.start", key(number)));
        let file = fs_err::File::options().write(true).open(path).unwrap();
        let time = SystemTime::now() - Duration::from_secs(1000 - number as u64);
        file.file().set_modified(time).unwrap();
    }
    let has = |number| report(&cache).known_start(&key(number)).is_some();
    assert!(!has(0) && !has(5) && has(6) && has(69));
    limit(&cache.blocks(), 300);
    // The two that were used last are those that were just looked for.
    assert!(!has(7) && has(69));
}
