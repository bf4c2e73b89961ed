//! Tests of the packer's output with the tree that was packed: by our own reader, by `unsquashfs`,
//! and by the kernel.
#![allow(clippy::unwrap_used)]

mod dump;
mod oracles;
mod pinned;

use std::{
    ffi::OsStr,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use condense_image::{
    BlockSize, Compression, Error, Image, Mtime, PackOptions, Progress, Reader, ScanOptions, Tree,
    pack, verify,
};

const TIME: u32 = 1_700_000_000;

/// Returns bytes that compress a little, from a seed.
fn bytes(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27) as u8 + b'a'
    });
    next.take(length).collect()
}

/// Writes everything that may occur in an environment, and some entries that should not.
fn write_odd_tree(root: &Path) {
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    file("empty", b"", 0o644);
    file("one-byte", b"x", 0o600);
    file("program", b"#!/bin/sh\n", 0o711);
    file("setuid", b"s", 0o4755);
    file("secret", b"nobody may read this", 0o400);
    for (number, length) in [
        4095, 4096, 131_071, 131_072, 131_073, 262_144, 300_000, 1_000_003,
    ]
    .into_iter()
    .enumerate()
    {
        file(
            &format!("sizes/{length}"),
            &bytes(number as u32, length),
            0o644,
        );
    }
    for number in 0..300 {
        file(
            &format!("small/{number:03}.py"),
            &bytes(number, 50 + number as usize * 7),
            0o644,
        );
    }
    for number in 0..3 {
        file(
            &format!("same/small{number}"),
            b"the same small content",
            0o644,
        );
        file(&format!("same/large{number}"), &bytes(77, 400_000), 0o644);
    }
    file("zeros", &vec![0; 500_000], 0o644);
    file(
        "no end of noise",
        &bytes(5, 131_072)
            .iter()
            .enumerate()
            .map(|(n, b)| b ^ (n * n / 7) as u8)
            .collect::<Vec<_>>(),
        0o644,
    );
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    sparse.write_all_at(b"island", 1_500_000).unwrap();
    std::fs::hard_link(root.join("program"), root.join("same/hard link")).unwrap();
    std::fs::hard_link(
        root.join("sizes/300000"),
        root.join("a hard link to a large file"),
    )
    .unwrap();
    for (name, target) in [
        ("link", "program".to_owned()),
        ("dangling", "/nowhere".to_owned()),
        ("long-link", "x/".repeat(300)),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    std::fs::create_dir_all(root.join("deep/".repeat(40))).unwrap();
    std::fs::create_dir(root.join("empty directory")).unwrap();
    for name in [
        &b"not UTF-8 \xff\xfe"[..],
        b"new\nline",
        b"quote'\"$`\\",
        "ünïcödé".as_bytes(),
        &[b'n'; 255],
    ] {
        std::fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
}

fn scan(root: &Path) -> Tree {
    Tree::scan(
        root,
        &ScanOptions {
            mtime: Mtime::Set(TIME),
            ..ScanOptions::default()
        },
    )
    .unwrap()
}

fn pack_with(tree: &Tree, path: &Path, compression: &str, threads: usize) -> Image {
    let options = PackOptions {
        compression: compression.parse().unwrap(),
        threads: std::num::NonZeroUsize::new(threads),
        ..PackOptions::default()
    };
    pack(tree, path, &options).unwrap()
}

fn odd() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    write_odd_tree(&root);
    (dir, root)
}

#[test]
fn our_reader_finds_what_was_packed_in_every_codec() {
    let (dir, root) = odd();
    let tree = scan(&root);
    for compression in [
        "zstd:1", "zstd:3", "zstd:19", "gzip:1", "gzip:6", "gzip:12", "lz4", "lz4:hc", "xz:0",
        "xz:6", "none",
    ] {
        for block in ["4K", "128K", "1M"] {
            let path = dir.path().join("image");
            let options = PackOptions {
                compression: compression.parse().unwrap(),
                block_size: block.parse::<BlockSize>().unwrap(),
                ..PackOptions::default()
            };
            let image = pack(&tree, &path, &options).unwrap();
            verify(&image, &tree, None)
                .unwrap_or_else(|error| panic!("{compression} {block}: {error}"));
            assert_eq!(image.size_bytes % 4096, 0);
            assert!(
                image.duplicate_files >= 4,
                "{} duplicates",
                image.duplicate_files
            );
            let digest = {
                use sha2::Digest;
                sha2::Sha256::digest(std::fs::read(&path).unwrap())
            };
            assert_eq!(image.sha256().unwrap()[..], digest[..]);
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn verification_notices_what_is_not_there() {
    let (dir, root) = odd();
    let tree = scan(&root);
    let path = dir.path().join("image");
    let image = pack_with(&tree, &path, "none", 1);
    // One byte of a file's content is changed, in an image without checksums.
    let mut content = std::fs::read(&path).unwrap();
    let noise = bytes(6, 300_000);
    let at = content
        .windows(64)
        .position(|window| window == &noise[1000..1064])
        .unwrap();
    content[at] ^= 1;
    std::fs::write(&path, content).unwrap();
    let error = verify(&image, &tree, None).unwrap_err();
    assert!(
        matches!(&error, Error::Mismatch { entry, .. } if entry.to_string_lossy().contains("300000") || entry.to_string_lossy().contains("hard link")),
        "{error}"
    );
    let mut other = scan(&root);
    other.add_bytes("one more", *b"x", 0o644).unwrap();
    assert!(matches!(
        verify(&image, &other, None),
        Err(Error::Mismatch { .. })
    ));
}

#[test]
fn the_same_tree_is_the_same_bytes_for_any_number_of_threads() {
    let (dir, root) = odd();
    let digests: Vec<_> = [1, 2, 3, 8]
        .into_iter()
        .map(|threads| {
            pack_with(
                &scan(&root),
                &dir.path().join(format!("image{threads}")),
                "zstd:3",
                threads,
            )
            .sha256()
            .unwrap()
        })
        .collect();
    assert!(
        digests.windows(2).all(|pair| pair[0] == pair[1]),
        "{digests:?}"
    );
}

#[test]
fn the_order_of_creation_and_the_modes_of_an_umask_do_not_show() {
    let digest = |umask: u32, backwards: bool| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let mut numbers: Vec<u32> = (0..200).collect();
        if backwards {
            numbers.reverse();
        }
        for number in numbers {
            let path = root.join(format!("file{number}"));
            std::fs::write(&path, bytes(number, 1000)).unwrap();
            let mode = if number % 3 == 0 { 0o777 } else { 0o666 } & !umask;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        pack_with(&scan(&root), &dir.path().join("image"), "zstd:3", 2)
            .sha256()
            .unwrap()
    };
    assert_eq!(digest(0o022, false), digest(0o077, true));
}

#[test]
fn links_and_holes_stay_links_and_holes() {
    let (dir, root) = odd();
    let image = pack_with(&scan(&root), &dir.path().join("image"), "zstd:3", 2);
    let reader = Reader::open_raw(&image.path).unwrap();
    let node = |path: &str| reader.lookup(Path::new(path)).unwrap().unwrap();
    assert_eq!(node("program").inode, node("same/hard link").inode);
    assert_eq!(node("program").nlink, 2);
    assert_eq!(
        reader
            .read_link(&node("long-link"))
            .unwrap()
            .as_os_str()
            .len(),
        600
    );
    assert_eq!(
        (node("setuid").mode & 0o7777, node("secret").mode & 0o7777),
        (0o755, 0o644)
    );
    assert_eq!(
        (
            node("program").uid,
            node("program").gid,
            node("program").mtime
        ),
        (0, 0, TIME)
    );
    let sparse = node("sparse");
    let content = reader.read(&sparse, 4_000_000).unwrap();
    assert_eq!(&content[1_500_000..1_500_006], b"island");
    let without = pack_with(
        &scan(&root.join("small")),
        &dir.path().join("small"),
        "none",
        2,
    );
    assert!(
        without.size_bytes < image.bytes_in,
        "holes and duplicates take room"
    );
}

#[test]
fn a_directory_of_fifty_thousand_entries_is_found_through() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    for number in 0..50_000_u32 {
        tree.add_bytes(
            format!("many/entry-{number:05}"),
            number.to_le_bytes().to_vec(),
            0o644,
        )
        .unwrap();
    }
    let image = pack_with(&tree, &dir.path().join("image"), "zstd:3", 2);
    let reader = Reader::open_raw(&image.path).unwrap();
    for number in [0, 1, 255, 256, 25_000, 49_999_u32] {
        let node = reader
            .lookup(Path::new(&format!("many/entry-{number:05}")))
            .unwrap()
            .unwrap();
        assert_eq!(reader.read(&node, 16).unwrap(), number.to_le_bytes());
    }
}

#[test]
fn a_file_that_changes_after_the_scan_is_named_and_no_image_stays() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("vanished", |path| std::fs::remove_file(path).unwrap()),
        ("shrunk", |path| std::fs::write(path, b"less").unwrap()),
        ("grown", |path| {
            std::fs::write(path, vec![7; 1_900_000]).unwrap();
        }),
        ("replaced by a link", |path| {
            std::fs::remove_file(path).unwrap();
            symlink("one-byte", path).unwrap();
        }),
        ("replaced by a fifo", |path| {
            std::fs::remove_file(path).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                0o644.into(),
                0,
            )
            .unwrap();
        }),
    ];
    for name in ["small/123.py", "sizes/1000003"] {
        for (how, change) in changes {
            let (dir, root) = odd();
            let tree = scan(&root);
            change(&root.join(name));
            let path = dir.path().join("image");
            let error = pack(&tree, &path, &PackOptions::default()).unwrap_err();
            let text = error.to_string();
            assert!(
                matches!(error, Error::Changed { .. } | Error::Io { .. }) && text.contains(name),
                "{name} {how}: {text}"
            );
            assert!(!path.exists(), "{name} {how}: half an image stayed");
        }
    }
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thesis");
    std::fs::write(&path, "years").unwrap();
    assert!(pack(&Tree::new(), &path, &PackOptions::default()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"years");
}

/// Progress callback that counts bytes, and cancels once enough has been packed.
struct Stop {
    packed: AtomicU64,
    flag: Arc<AtomicBool>,
}

impl Progress for Stop {
    fn packed(&self, bytes: u64) {
        if self.packed.fetch_add(bytes, Ordering::Relaxed) + bytes > 100_000 {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn progress_adds_up_and_a_cancelled_pack_leaves_nothing() {
    let (dir, root) = odd();
    let tree = scan(&root);
    let flag = Arc::new(AtomicBool::new(false));
    let listener = Arc::new(Stop {
        packed: AtomicU64::new(0),
        flag: Arc::clone(&flag),
    });
    let progress: Arc<dyn Progress> = Arc::<Stop>::clone(&listener);
    let path = dir.path().join("image");
    let mut options = PackOptions {
        progress: Some(progress),
        cancel: Some(flag),
        ..PackOptions::default()
    };
    assert!(matches!(
        pack(&tree, &path, &options),
        Err(Error::Cancelled)
    ));
    assert!(!path.exists());
    listener.packed.store(0, Ordering::Relaxed);
    options.cancel = None;
    let image = pack(&tree, &path, &options).unwrap();
    assert_eq!(listener.packed.load(Ordering::Relaxed), image.bytes_in);
}

#[test]
fn what_is_excluded_is_not_there() {
    let (dir, root) = odd();
    let options = ScanOptions {
        exclude: vec!["small".into(), "sizes/4096".into()],
        ..ScanOptions::default()
    };
    let tree = Tree::scan(&root, &options).unwrap();
    let image = pack_with(&tree, &dir.path().join("image"), "zstd:3", 2);
    let reader = Reader::open_raw(&image.path).unwrap();
    assert!(reader.lookup(Path::new("small")).unwrap().is_none());
    assert!(reader.lookup(Path::new("sizes/4096")).unwrap().is_none());
    assert!(reader.lookup(Path::new("sizes/4095")).unwrap().is_some());
}

#[test]
fn impossible_options_are_refused() {
    for text in [
        "zstd:0", "zstd:23", "gzip:13", "lz4:9", "xz:10", "brotli", "zstd:", "none:1", "",
    ] {
        assert!(
            matches!(
                text.parse::<Compression>(),
                Err(Error::InvalidOption { .. })
            ),
            "{text}"
        );
    }
    for text in ["2K", "3K", "2M", "128000", "0", ""] {
        assert!(
            matches!(text.parse::<BlockSize>(), Err(Error::InvalidOption { .. })),
            "{text}"
        );
    }
}
