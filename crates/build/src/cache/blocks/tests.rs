#![allow(clippy::unwrap_used)]
use std::os::unix::fs::{chown, symlink};
use std::sync::atomic::AtomicUsize;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use condense_image::{PackOptions, Tree, pack, verify, write_block_pack};

use super::{files::FILES_BEFORE_MERGE, files::list, *};

mod bases;
mod code_of_builds;
mod digests;
mod places;
mod starts;

/// Size of a file of [`tree`], in bytes.
const FILE_BYTES: usize = 40_000;

/// Flag of a run that nobody stops.
static RUNS: AtomicBool = AtomicBool::new(false);

struct Cache {
    dir: tempfile::TempDir,
    images: AtomicUsize,
}

impl Cache {
    fn new() -> Cache {
        Cache {
            dir: tempfile::tempdir().unwrap(),
            images: AtomicUsize::new(0),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn blocks(&self) -> PathBuf {
        self.path("cache/blocks")
    }

    fn files(&self) -> Vec<PathBuf> {
        list(&self.blocks())
    }

    fn settings(&self) -> BlockCacheSettings {
        BlockCacheSettings {
            dir: self.path("cache"),
            own: self.path("cache"),
            sites: Vec::new(),
            size_max: 1 << 30,
            is_size_set: true,
        }
    }

    /// Packs a tree as a build does. Returns the SHA-256 of the image, and the number of bytes that
    /// were compressed.
    fn build(&self, tree: &Tree, settings: &BlockCacheSettings) -> ([u8; 32], u64) {
        self.build_with(&Report::silent(), tree, settings)
    }

    fn build_with(
        &self,
        report: &Report,
        tree: &Tree,
        settings: &BlockCacheSettings,
    ) -> ([u8; 32], u64) {
        report.use_blocks(Some(settings));
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        let options = report.with_blocks(PackOptions {
            block_size: "16K".parse().unwrap(),
            ..PackOptions::default()
        });
        let out = self.path(&format!("{number}.sqfs"));
        let image = pack(tree, &out, &options).unwrap();
        verify(&image, tree, None).unwrap();
        report.hold_blocks(&image);
        report.keep_blocks();
        let found = (image.sha256().unwrap(), compressed(&image));
        fs_err::remove_file(&out).unwrap();
        found
    }
}

fn compressed(image: &Image) -> u64 {
    let anew = image.blocks.iter().filter(|it| !it.was_known);
    anew.map(|it| u64::from(it.length)).sum()
}

/// Returns a tree of text files, one for each number.
fn tree(numbers: impl IntoIterator<Item = u32>) -> Tree {
    let mut tree = Tree::new();
    for number in numbers {
        let lines = (0..).flat_map(|line: u32| {
            let mixed = line.wrapping_mul(number.wrapping_mul(2_654_435_761) | 1);
            format!("{number} {mixed}\n").into_bytes()
        });
        let text: Vec<u8> = lines.take(FILE_BYTES).collect();
        tree.add_bytes(format!("p{number}/data"), text, 0o644)
            .unwrap();
    }
    tree
}

#[test]
fn cold_warm_and_hot_builds_are_the_same_and_compress_only_what_is_new() {
    let cache = Cache::new();
    let all = tree(0..40);
    let bytes = 40 * FILE_BYTES as u64;
    let plain = Cache::new().build(&all, &cache.settings());
    fs_err::remove_dir_all(cache.path("cache")).unwrap();
    // A tenth of the files is new in the warm build.
    let (_, cold) = cache.build(&tree(0..36), &cache.settings());
    assert_eq!(cold, bytes * 9 / 10);
    let (warm, anew) = cache.build(&all, &cache.settings());
    assert!(anew * 100 <= bytes * 12, "{anew} of {bytes}");
    let (hot, none) = cache.build(&all, &cache.settings());
    assert_eq!(none, 0);
    assert_eq!((warm, hot), (plain.0, plain.0));
    assert_eq!(cache.files().len(), 2, "the hot build adds no file");
}

#[test]
fn whatever_happens_to_a_file_the_image_is_the_same() {
    let all = tree(0..12);
    let cache = Cache::new();
    let (plain, bytes) = cache.build(&all, &cache.settings());
    let [file] = &cache.files()[..] else {
        panic!("a build adds one file");
    };
    let good = fs_err::read(file).unwrap();
    let length = good.len();
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        bytes
    };
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let cases: [(&str, Vec<u8>); 11] = [
        ("empty", Vec::new()),
        ("a magic alone", good[..8].to_vec()),
        ("half", good[..length / 2].to_vec()),
        ("a byte short", good[..length - 1].to_vec()),
        ("a byte long", [&good[..], b"x"].concat()),
        ("the first byte", flip(0)),
        ("the codec", flip(8)),
        ("a byte of a block", flip(500)),
        ("a byte of the index", flip(length - 200)),
        ("a count of all numbers", with(length - 32, &[0xff; 8])),
        ("zeros", vec![0; length]),
    ];
    for (name, content) in cases {
        fs_err::remove_dir_all(cache.blocks()).unwrap();
        fs_err::create_dir(cache.blocks()).unwrap();
        fs_err::write(file, content).unwrap();
        let checked = cache.settings().verify();
        assert_eq!(checked[0].faults.len(), 1, "{name}");
        let (found, anew) = cache.build(&all, &cache.settings());
        assert_eq!(found, plain, "{name}");
        // One block is compressed again, or all of them.
        let expected = if name == "a byte of a block" {
            16 << 10
        } else {
            bytes
        };
        assert_eq!(anew, expected, "{name}");
        assert_eq!(cache.build(&all, &cache.settings()), (plain, 0), "{name}");
        assert!(cache.settings().verify()[0].faults.is_empty(), "{name}");
    }
    fs_err::write(file, &good).unwrap();
    assert_eq!(cache.build(&all, &cache.settings()), (plain, 0));
    assert!(cache.settings().verify()[0].faults.is_empty());
}

#[test]
fn a_forged_index_makes_no_large_allocations_and_no_wrong_image() {
    let all = tree(0..4);
    let cache = Cache::new();
    let (plain, bytes) = cache.build(&all, &cache.settings());
    let file = cache.files().remove(0);
    let (pack, blocks) = BlockPack::open(File::open(&file).unwrap()).unwrap();
    let forged = |change: fn(&mut PackedBlock)| {
        let mut blocks = blocks.clone();
        blocks.iter_mut().for_each(change);
        let source = PackSource {
            file: pack.file(),
            offset: 0,
            blocks,
        };
        let out = cache.path("forged");
        let new = File::create(&out).unwrap();
        write_block_pack(&new, pack.codec(), pack.format(), &[source], &RUNS).unwrap();
        out
    };
    // The lengths are those of gigabytes, or make a block longer than its content.
    let changes: [fn(&mut PackedBlock); 3] = [
        |it| it.length = u32::MAX,
        |it| it.length = it.packed,
        |it| it.length += 1,
    ];
    for change in changes {
        let forged = forged(change);
        fs_err::rename(&forged, &file).unwrap();
        assert_eq!(cache.build(&all, &cache.settings()), (plain, bytes));
        for file in cache.files() {
            fs_err::remove_file(file).unwrap();
        }
    }
}

#[test]
fn only_files_of_this_user_and_root_are_used() {
    let all = tree(0..4);
    let cache = Cache::new();
    let (plain, bytes) = cache.build(&all, &cache.settings());
    let file = cache.files().remove(0);
    let aside = cache.path("aside");
    let again = |expected: u64, what: &str| {
        assert_eq!(
            cache.build(&all, &cache.settings()),
            (plain, expected),
            "{what}"
        );
    };
    let mode = |mode| fs_err::set_permissions(&file, std::fs::Permissions::from_mode(mode));
    again(0, "as it is");
    mode(0o666).unwrap();
    // The build closes its cache by throwing away what others could have written.
    again(bytes, "a file that all can write");
    let file = cache.files().remove(0);
    fs_err::rename(&file, &aside).unwrap();
    symlink(&aside, &file).unwrap();
    again(bytes, "a link");
    fs_err::remove_dir_all(cache.blocks()).unwrap();
    fs_err::create_dir(cache.blocks()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::from(0o600)).unwrap();
    again(bytes, "a pipe");
    if rustix::process::geteuid().is_root() {
        fs_err::remove_dir_all(cache.blocks()).unwrap();
        fs_err::create_dir(cache.blocks()).unwrap();
        fs_err::copy(&aside, &file).unwrap();
        chown(&file, Some(12345), Some(12345)).unwrap();
        again(bytes, "another user's file");
    }
}

#[test]
fn a_site_s_blocks_are_used_if_nobody_else_can_write_there() {
    let all = tree(0..4);
    let cache = Cache::new();
    let (plain, bytes) = cache.build(&all, &cache.settings());
    fs_err::create_dir(cache.path("site")).unwrap();
    let site = cache.path("site/blocks");
    fs_err::rename(cache.blocks(), &site).unwrap();
    let settings = BlockCacheSettings {
        sites: vec![cache.path("missing"), site.clone()],
        ..cache.settings()
    };
    let build = || {
        let found = cache.build(&all, &settings);
        fs_err::remove_dir_all(cache.blocks()).unwrap();
        found
    };
    let mode = |path: &Path, mode| {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(build(), (plain, 0));
    for (at, closed, open) in [
        (&site, 0o755, 0o1777),
        (&site, 0o755, 0o775),
        (&cache.path("site"), 0o755, 0o777),
    ] {
        mode(at, open);
        assert_eq!(build(), (plain, bytes), "{}", at.display());
        mode(at, closed);
    }
    if rustix::process::geteuid().is_root() {
        let give = |path: &Path| chown(path, Some(12345), Some(12345)).unwrap();
        let file = list(&site).remove(0);
        give(&file);
        assert_eq!(
            build(),
            (plain, bytes),
            "a file of another user than the directory's"
        );
        give(&site);
        assert_eq!(build(), (plain, 0), "both are the site's");
        mode(&cache.path("site"), 0o1777);
        assert_eq!(
            build(),
            (plain, bytes),
            "anybody could have made the directory"
        );
        mode(&cache.path("site"), 0o755);
        give(&cache.path("site"));
        assert_eq!(build(), (plain, 0));
    }
}

#[test]
fn many_builds_at_once_keep_one_cache() {
    let cache = Cache::new();
    let trees: Vec<Tree> = (0..4).map(|first| tree(first * 2..first * 2 + 6)).collect();
    let plain: Vec<_> = trees
        .iter()
        .map(|tree| Cache::new().build(tree, &cache.settings()).0)
        .collect();
    fs_err::remove_dir_all(cache.path("cache")).unwrap();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (cache, tree, plain) = (&cache, &trees[number % 4], plain[number % 4]);
            scope.spawn(move || assert_eq!(cache.build(tree, &cache.settings()).0, plain));
        }
    });
    for (tree, plain) in trees.iter().zip(plain) {
        assert_eq!(cache.build(tree, &cache.settings()), (plain, 0));
    }
    assert!(cache.settings().verify()[0].faults.is_empty());
    let left = fs_err::read_dir(cache.blocks()).unwrap().count();
    assert_eq!(left, cache.files().len(), "nothing incomplete is left");
}

#[test]
fn incomplete_files_of_ended_processes_are_removed_and_others_stay() {
    let cache = Cache::new();
    cache.build(&tree(0..2), &cache.settings());
    let (left, used) = (
        cache.blocks().join(".new-left01"),
        cache.blocks().join(".new-used02"),
    );
    let new = cache.blocks().join(".new-fresh3");
    let drafts =
        ["draft.tex", "drafts1", "d-aft1"].map(|name| cache.blocks().join(format!(".new-{name}")));
    let long_ago = SystemTime::now() - Duration::from_secs(100);
    for (path, time) in [
        (&left, long_ago),
        (&used, long_ago),
        (&new, SystemTime::now()),
        (&drafts[0], long_ago),
        (&drafts[1], long_ago),
        (&drafts[2], long_ago),
    ] {
        fs_err::write(path, "half").unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }
    let lock = File::open(&used).unwrap();
    lock.try_lock().unwrap();
    assert_eq!(cache.build(&tree(0..2), &cache.settings()).1, 0);
    assert!(!left.exists() && used.exists());
    assert!(drafts.iter().all(|path| path.exists()), "the user's");
    assert!(new.exists(), "its process may be about to lock it");
    // Incomplete files count, and are not removed for room.
    fs_err::write(&new, vec![0; 1 << 20]).unwrap();
    let small = BlockCacheSettings {
        size_max: 1 << 20,
        ..cache.settings()
    };
    cache.build(&tree(0..2), &small);
    assert!(cache.files().is_empty() && new.exists());
}

#[test]
fn many_files_are_merged_and_the_size_has_a_limit() {
    let cache = Cache::new();
    for number in 0..30 {
        cache.build(&tree([number]), &cache.settings());
    }
    assert!(
        cache.files().len() <= FILES_BEFORE_MERGE,
        "{:?}",
        cache.files()
    );
    let (_, anew) = cache.build(&tree(0..30), &cache.settings());
    assert!(
        anew < 10 * FILE_BYTES as u64,
        "blocks of single files are in merged files"
    );
    let size = |cache: &Cache| -> u64 {
        let sizes = cache.files();
        let sizes = sizes
            .iter()
            .map(|path| fs_err::metadata(path).unwrap().len());
        sizes.sum()
    };
    let small = BlockCacheSettings {
        size_max: size(&cache) / 2,
        ..cache.settings()
    };
    // What was used last stays.
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    for file in cache.files() {
        File::open(file).unwrap().set_modified(long_ago).unwrap();
    }
    cache.build(&tree([3]), &small);
    assert!(size(&cache) <= small.size_max);
    assert_eq!(cache.build(&tree([3]), &small).1, 0);
    let none = BlockCacheSettings {
        size_max: 10,
        ..cache.settings()
    };
    cache.build(&tree(50..52), &none);
    assert!(cache.files().is_empty());
}

#[test]
fn a_cache_that_cannot_be_written_is_still_read() {
    let cache = Cache::new();
    let all = tree(0..4);
    let (plain, bytes) = cache.build(&all, &cache.settings());
    // A file in the directory's place stands for a disk that refuses everything.
    let blocked = BlockCacheSettings {
        dir: cache.path("blocked"),
        own: cache.path("blocked"),
        ..cache.settings()
    };
    fs_err::write(cache.path("blocked"), "").unwrap();
    assert_eq!(cache.build(&all, &blocked), (plain, bytes));
    let full = write(
        Path::new("/dev/full/none"),
        condense_image::Codec::Zstd,
        [0; 32],
        &[],
        None,
        &RUNS,
    );
    assert!(full.is_err());
    // Writing to a full disk is an error of writing, and leaves no file with a name.
    let file = File::options().write(true).open("/dev/full").unwrap();
    let source = File::open(cache.files().remove(0)).unwrap();
    let (pack, blocks) = BlockPack::open(source).unwrap();
    let source = PackSource {
        file: pack.file(),
        offset: 0,
        blocks,
    };
    let error = write_block_pack(&file, pack.codec(), pack.format(), &[source], &RUNS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

/// Writes a site's file with other keys than those of the blocks, or with blocks that are said to
/// be stored.
fn forge(cache: &Cache, site: &Path, change: impl Fn(&mut [PackedBlock])) {
    let file = cache.files().remove(0);
    let (pack, mut blocks) = BlockPack::open(File::open(&file).unwrap()).unwrap();
    change(&mut blocks);
    let source = PackSource {
        file: pack.file(),
        offset: 0,
        blocks,
    };
    let _ = fs_err::remove_dir_all(site);
    fs_err::create_dir_all(site).unwrap();
    fs_err::set_permissions(site, std::fs::Permissions::from_mode(0o755)).unwrap();
    let new = File::create(site.join("forged.blocks")).unwrap();
    write_block_pack(&new, pack.codec(), pack.format(), &[source], &RUNS).unwrap();
}

#[test]
fn a_site_s_blocks_with_swapped_keys_are_compressed_again() {
    let all = tree(0..4);
    let cache = Cache::new();
    let (plain, bytes) = cache.build(&all, &cache.settings());
    let site = cache.path("site");
    let settings = BlockCacheSettings {
        dir: cache.path("empty"),
        own: cache.path("empty"),
        sites: vec![site.clone()],
        ..cache.settings()
    };
    let build = || {
        let found = cache.build(&all, &settings);
        let _ = fs_err::remove_dir_all(cache.path("empty"));
        found
    };
    forge(&cache, &site, |_| {});
    assert_eq!(build(), (plain, 0));
    forge(&cache, &site, |blocks| {
        let first = blocks[0].key;
        let same_length = (1..blocks.len()).find(|at| blocks[*at].length == blocks[0].length);
        let other = same_length.unwrap();
        blocks[0].key = blocks[other].key;
        blocks[other].key = first;
    });
    let (found, anew) = build();
    assert_eq!(found, plain);
    assert!(anew > 0);
    forge(&cache, &site, |blocks| {
        for block in blocks {
            block.is_stored = true;
        }
    });
    assert_eq!(build(), (plain, bytes));
}

#[test]
fn blocks_of_a_shared_cache_are_in_a_directory_for_this_user_alone() {
    let all = tree(0..2);
    let cache = Cache::new();
    let shared = cache.path("shared");
    fs_err::create_dir(&shared).unwrap();
    let mode = |path: &Path, mode| {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&shared, 0o2770);
    let settings = BlockCacheSettings {
        dir: shared.clone(),
        ..cache.settings()
    };
    let (plain, bytes) = cache.build(&all, &settings);
    assert_eq!(cache.build(&all, &settings), (plain, 0));
    let dir = shared.join(dir_of_user());
    assert_eq!(list(&dir).len(), 1);
    assert!(!cache.path("cache").exists(), "nothing is kept elsewhere");
    assert_eq!(settings.verify()[0].dir, dir);
    mode(&dir, 0o770);
    assert_eq!(cache.build(&all, &settings), (plain, bytes));
    assert!(!cache.path("cache").exists());
}

#[test]
fn the_default_size_leaves_most_of_the_free_space() {
    let cache = Cache::new();
    cache.build(&tree(0..2), &cache.settings());
    let settings = BlockCacheSettings {
        size_max: u64::MAX,
        is_size_set: false,
        ..cache.settings()
    };
    let found = rustix::fs::statvfs(cache.dir.path()).unwrap();
    let all = found.f_blocks * found.f_frsize;
    let kept = size_of(&cache.blocks());
    let limit = settings.limit_of(&cache.blocks());
    assert!((kept..=kept + all / FREE_PARTS).contains(&limit), "{limit}");
}

#[test]
fn a_run_that_is_stopped_writes_no_blocks() {
    let cache = Cache::new();
    cache.build(&tree(0..2), &cache.settings());
    let (pack, blocks) = BlockPack::open(File::open(cache.files().remove(0)).unwrap()).unwrap();
    let source = PackSource {
        file: pack.file(),
        offset: 0,
        blocks,
    };
    let dir = cache.path("stopped");
    fs_err::create_dir(&dir).unwrap();
    let stopped = AtomicBool::new(true);
    let error = write(&dir, pack.codec(), pack.format(), &[source], None, &stopped).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(fs_err::read_dir(&dir).unwrap().count(), 0);
}
