//! Tests of showing and cleaning a cache.

#![allow(clippy::unwrap_used)]
use std::os::unix::fs::symlink;

use super::*;

struct TestDir {
    dir: tempfile::TempDir,
    dirs: CacheDirs,
}

impl TestDir {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let dirs = CacheDirs {
            packages: cache.clone(),
            images: cache.clone(),
            own: cache,
            images_max: 1 << 30,
        };
        Self { dir, dirs }
    }

    fn write(&self, name: &str, days: u64) -> PathBuf {
        let path = self.dir.path().join("cache").join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, [1; 5000]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let age = Duration::from_secs(days * 86_400);
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    }

    fn clean(&self, days: Option<u64>, dry_run: bool) -> Vec<CacheCleaned> {
        let cleaning = CacheCleaning {
            parts: CachePart::ALL.to_vec(),
            older_than: days.map(|days| Duration::from_secs(days * 86_400)),
            dry_run,
        };
        self.dirs.clean(&cleaning).unwrap()
    }
}

#[test]
fn old_files_of_the_parts_are_removed() {
    let test_dir = TestDir::new();
    let old = test_dir.write("archives/old.conda", 40);
    let new = test_dir.write("archives/new.conda", 1);
    let image = test_dir.write("oci/sif/x.sif", 40);
    let blocks = test_dir.write("blocks/01234567-3-0123456789abcdef.blocks", 40);
    let other = test_dir.write("notes", 40);
    let uses = test_dir.dirs.info();
    let shown: Vec<(&str, u64)> = uses
        .iter()
        .map(|one| (one.part.as_str(), one.files))
        .collect();
    assert_eq!(
        shown,
        [("packages", 2), ("images", 1), ("index", 0), ("blocks", 1)]
    );
    assert!(uses[0].bytes >= 10_000, "{uses:?}");
    let cleaned = test_dir.clean(Some(30), true);
    assert_eq!((cleaned[0].files, cleaned[1].files), (1, 1));
    assert_eq!(cleaned.last().unwrap().files, 1);
    assert!(old.exists());
    test_dir.clean(Some(30), false);
    assert!(!old.exists() && !image.exists() && !blocks.exists());
    assert!(new.exists() && other.exists());
    test_dir.clean(None, false);
    assert!(!new.exists() && other.exists());
}

#[test]
fn files_in_use_stay_with_those_that_their_locks_protect() {
    let test_dir = TestDir::new();
    let part = test_dir.write("oci/partial/sha256-ab", 1);
    let index = test_dir.write("index/ab.json", 1);
    let lock_file = test_dir.write("index/ab.lock", 1);
    let free = test_dir.write("index/cd.json", 1);
    let held = [&part, &lock_file].map(|path| {
        let file = File::open(path).unwrap();
        file.try_lock().unwrap();
        file
    });
    let staging = test_dir.write("oci/sif/.condense-abcdef/half", 1);
    let cleaned = test_dir.clean(None, false);
    assert_eq!((cleaned[0].in_use, cleaned[1].in_use), (1, 2));
    assert!(part.exists() && index.exists() && staging.exists() && !free.exists());
    drop(held);
}

#[test]
fn errors_of_locks_count_as_use_unless_there_are_no_locks() {
    let of = |errno: Errno| TryLockError::Error(errno.into());
    for (error, expected) in [
        (TryLockError::WouldBlock, false),
        (of(Errno::NOLCK), false),
        (of(Errno::BADF), false),
        (of(Errno::NOTSUP), true),
        (of(Errno::NOSYS), true),
    ] {
        assert_eq!(has_no_locks(&error), expected, "{error}");
    }
}

#[test]
fn no_link_leads_out_of_the_cache() {
    let test_dir = TestDir::new();
    let mine = test_dir.dir.path().join("thesis");
    fs_err::create_dir(&mine).unwrap();
    fs_err::write(mine.join("thesis.tex"), "years").unwrap();
    test_dir.write("archives/a.conda", 1);
    symlink(&mine, test_dir.dir.path().join("cache/archives/link")).unwrap();
    test_dir.clean(None, false);
    assert!(!test_dir.dir.path().join("cache/archives/link").exists());
    symlink(&mine, test_dir.dir.path().join("cache/index")).unwrap();
    let cleaning = CacheCleaning {
        parts: vec![CachePart::Index],
        older_than: None,
        dry_run: false,
    };
    let cleaned = test_dir.dirs.clean(&cleaning).unwrap();
    assert!(cleaned[0].problem.as_ref().unwrap().contains("is a link"));
    assert!(mine.join("thesis.tex").exists());
}

#[test]
fn a_cache_that_everybody_can_change_is_not_cleaned() {
    use std::os::unix::fs::PermissionsExt;
    let test_dir = TestDir::new();
    let file = test_dir.write("archives/a.conda", 1);
    let cache = test_dir.dir.path().join("cache");
    fs_err::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    let cleaning = CacheCleaning {
        parts: CachePart::ALL.to_vec(),
        older_than: None,
        dry_run: false,
    };
    let error = test_dir.dirs.clean(&cleaning).unwrap_err();
    assert!(error.to_string().contains("everybody can write"), "{error}");
    assert!(file.exists());
    let note = test_dir.dirs.info()[0].note.clone();
    assert!(note.unwrap().contains("not used"));
}

/// Name of a file of blocks.
const PACK: &str = "01234567-3-0123456789abcdef.blocks";

#[test]
fn only_blocks_that_condense_has_written_are_counted_and_removed() {
    let test_dir = TestDir::new();
    let pack = test_dir.write(&format!("blocks/{PACK}"), 1);
    let new = test_dir.write("blocks/.new-Ab12Cd", 1);
    let mut others = [
        "blocks/lego.blocks",
        "blocks/notes.txt",
        "blocks/.new-draft.tex",
        "blocks/11234567-3-0123456789abcdef.blocks/thesis.tex",
        "blocks/deep/21234567-3-0123456789abcdef.blocks",
    ]
    .map(|name| test_dir.write(name, 1));
    others.sort();
    let shown = test_dir.dirs.info();
    assert_eq!(shown.last().unwrap().files, 2);
    for dry_run in [true, false] {
        let cleaned = test_dir.clean(None, dry_run);
        let blocks = cleaned.last().unwrap();
        assert_eq!((blocks.files, blocks.left.len()), (2, 5), "{blocks:?}");
        assert_eq!((pack.exists(), new.exists()), (dry_run, dry_run));
    }
    assert!(others.iter().all(|path| path.exists()));
}

#[test]
fn a_link_of_the_user_to_blocks_is_followed_by_all() {
    let test_dir = TestDir::new();
    let elsewhere = test_dir.dir.path().join("elsewhere");
    fs_err::create_dir(&elsewhere).unwrap();
    fs_err::write(elsewhere.join(PACK), [1; 5000]).unwrap();
    fs_err::write(elsewhere.join("thesis.tex"), "years").unwrap();
    let cache = test_dir.write("archives/a.conda", 1);
    let blocks = cache.parent().unwrap().with_file_name("blocks");
    symlink(&elsewhere, &blocks).unwrap();
    assert_eq!(
        find_part(&blocks),
        Ok(Some(elsewhere.canonicalize().unwrap()))
    );
    assert_eq!(test_dir.dirs.info()[3].files, 1);
    let cleaned = test_dir.clean(None, false);
    assert_eq!(
        (cleaned[1].files, cleaned[1].left.len()),
        (1, 1),
        "{cleaned:?}"
    );
    assert!(!elsewhere.join(PACK).exists() && elsewhere.join("thesis.tex").exists());
}

#[test]
fn blocks_that_cannot_be_used_keep_no_other_part_from_being_shown_and_cleaned() {
    use std::os::unix::fs::PermissionsExt;
    let test_dir = TestDir::new();
    let cache = test_dir.dir.path().join("cache");
    let blocks = cache.join("blocks");
    let open = test_dir.dir.path().join("open");
    fs_err::create_dir(&open).unwrap();
    fs_err::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let make: [(&dyn Fn(), &str); 4] = [
        (
            &|| fs_err::write(&blocks, "mine").unwrap(),
            "is no directory",
        ),
        (
            &|| symlink("/nowhere/at/all", &blocks).unwrap(),
            "leads nowhere",
        ),
        (
            &|| symlink("/etc/passwd", &blocks).unwrap(),
            "leads to no directory",
        ),
        (
            &|| symlink(&open, &blocks).unwrap(),
            "everybody can write into",
        ),
    ];
    for (make, why) in make {
        let archive = test_dir.write("archives/a.conda", 1);
        make();
        let uses = test_dir.dirs.info();
        assert_eq!(uses[0].files, 1);
        assert!(uses[3].note.as_ref().unwrap().contains(why), "{uses:?}");
        let cleaned = test_dir.clean(None, false);
        let problem = cleaned[1].problem.as_ref().unwrap();
        assert!(problem.contains(why), "{problem}");
        assert!(!archive.exists() && blocks.symlink_metadata().is_ok());
        fs_err::remove_file(&blocks).unwrap();
    }
}
