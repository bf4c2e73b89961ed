//! Tests of byte code beside the blocks.

use condense_prefix::{CodeKey, CompiledCode};

use super::*;

type Entries = Vec<(CodeKey, Vec<u8>)>;

fn report(cache: &Cache) -> Report {
    let report = Report::silent();
    report.use_blocks(Some(&cache.settings()));
    report
}

fn entries(numbers: std::ops::Range<u8>) -> Entries {
    let entry = |number| ([number; 32], format!("code of {number}\n").into_bytes());
    numbers.map(entry).collect()
}

/// Returns the numbers of the first ten entries that are found, which must be as they were kept.
fn found(cache: &Cache) -> Vec<u8> {
    let entries = entries(0..10);
    let keys: Vec<CodeKey> = entries.iter().map(|(key, _)| *key).collect();
    let all = report(cache).find(&keys);
    assert_eq!(all.len(), keys.len());
    let known = all.into_iter().zip(&entries).filter_map(|(found, kept)| {
        assert!(found.is_none() || found.as_ref() == Some(&kept.1));
        found.map(|_| kept.0[0])
    });
    known.collect()
}

fn files_of(cache: &Cache) -> Vec<PathBuf> {
    code::list(&cache.blocks())
}

#[test]
fn byte_code_is_found_by_what_it_depends_on() {
    let cache = Cache::new();
    assert!(found(&cache).is_empty());
    report(&cache).keep(&entries(0..3));
    assert_eq!(found(&cache), [0, 1, 2]);
    report(&cache).keep(&entries(7..8));
    assert_eq!(found(&cache), [0, 1, 2, 7]);
    // A build that finds everything adds nothing, and one without caches finds nothing.
    let files = files_of(&cache);
    assert_eq!(files.len(), 2);
    assert!(Report::silent().code().is_none() && report(&cache).code().is_some());
    // They are files that `clean` knows.
    assert!(files.iter().all(|file| is_own(file.file_name().unwrap())));
    for other in ["x.code", "1.code", &"0".repeat(64)] {
        assert!(!is_own(other.as_ref()), "{other}");
    }
    assert!(cache.settings().verify()[0].faults.is_empty());
}

/// Byte code that is damaged, cut off, or could be another user's is as if it were not there.
#[test]
fn only_whole_byte_code_of_this_user_is_used() {
    let cache = Cache::new();
    report(&cache).keep(&entries(0..3));
    let path = files_of(&cache).remove(0);
    let good = fs_err::read(&path).unwrap();
    let contents = good.len() - "code of 0\n".len() * 3;
    for at in 0..good.len() {
        fs_err::write(&path, &good[..at]).unwrap();
        assert!(found(&cache).is_empty(), "{at}");
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        fs_err::write(&path, flipped).unwrap();
        assert_eq!(cache.settings().verify()[0].faults.len(), 1, "{at}");
        // The other entries are as they were. What is compiled again gets into a new file.
        let left = if at < contents { 0 } else { 2 };
        assert_eq!(found(&cache).len(), left, "{at}");
        assert_eq!(path.exists(), at < contents, "{at}");
    }
    fs_err::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(found(&cache).is_empty());
    fs_err::write(&path, &good).unwrap();
    assert_eq!(found(&cache).len(), 3);
    let mode = |bits| fs_err::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
    mode(0o666);
    assert!(found(&cache).is_empty());
    mode(0o644);
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(12345), Some(12345)).unwrap();
        assert!(found(&cache).is_empty());
        chown(&path, Some(0), Some(0)).unwrap();
    }
    assert_eq!(found(&cache).len(), 3);
    fs_err::rename(&path, cache.path("elsewhere")).unwrap();
    symlink(cache.path("elsewhere"), &path).unwrap();
    assert!(found(&cache).is_empty());
}

/// A list that is whole can say anything about lengths.
#[test]
fn forged_lengths_make_no_large_allocations() {
    use sha2::{Digest as _, Sha256};
    let cache = Cache::new();
    report(&cache).keep(&entries(0..1));
    let path = files_of(&cache).remove(0);
    let digits = "00".repeat(32);
    for lengths in [
        &["10", "18446744073709551615"][..],
        &["1000000000000"],
        &["-1"],
    ] {
        let lines = lengths
            .iter()
            .map(|length| format!("{digits} {length} {digits}\n"));
        let list: String = lines.collect();
        let sha256 = hex::encode(Sha256::digest(&list));
        let text = format!("condense code 1 {} {sha256}\n{list}code of 0\n", list.len());
        fs_err::write(&path, text).unwrap();
        assert!(found(&cache).is_empty(), "{lengths:?}");
    }
    for length in ["18446744073709551615", "99999999999999999999", "x"] {
        fs_err::write(&path, format!("condense code 1 {length} {digits}\n")).unwrap();
        assert!(found(&cache).is_empty(), "{length}");
    }
}

/// Byte code counts to the size of the cache: what was used longest ago goes.
#[test]
fn byte_code_is_limited() {
    let cache = Cache::new();
    let age = |path: &Path, seconds| {
        let file = fs_err::File::options().write(true).open(path).unwrap();
        let time = SystemTime::now() - Duration::from_secs(seconds);
        file.file().set_modified(time).unwrap();
    };
    for number in 0..70 {
        report(&cache).keep(&entries(number..number + 1));
        for path in files_of(&cache) {
            if path
                .metadata()
                .unwrap()
                .modified()
                .unwrap()
                .elapsed()
                .unwrap()
                .as_secs()
                < 50
            {
                age(&path, 1000 - u64::from(number));
            }
        }
    }
    assert_eq!(files_of(&cache).len(), 64);
    assert_eq!(found(&cache), [6, 7, 8, 9]);
    // Those that were just looked for were used last.
    let one = files_of(&cache)[0].metadata().unwrap().len();
    limit(&cache.blocks(), one * 4 + one / 2);
    assert_eq!(
        (found(&cache), files_of(&cache).len()),
        (vec![6, 7, 8, 9], 4)
    );
    // What has no room is not written.
    let small = BlockCacheSettings {
        size_max: 100,
        ..cache.settings()
    };
    let report = Report::silent();
    report.use_blocks(Some(&small));
    report.keep(&entries(100..101));
    assert_eq!(files_of(&cache).len(), 4);
}
