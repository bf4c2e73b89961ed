//! Tests that other programs read packed images: `unsquashfs` and the kernel find every name, mode,
//! owner, time, link, device and byte.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use condense_image::{Entry, Kind, PackOptions, ScanOptions, Source, Tree, pack};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Place, options, trees};

/// Complete description of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    kind: String,
    mode: u32,
    mtime: i64,
    owners: (u32, u32),
    links: u64,
    /// First path with the same inode.
    same_as: PathBuf,
}

fn expected(tree: &Tree) -> BTreeMap<PathBuf, Facts> {
    let mut first: BTreeMap<*const Entry, PathBuf> = BTreeMap::new();
    tree.walk()
        .map(|(path, entry)| {
            let kind = match &entry.kind {
                Kind::Directory(_) => "directory".to_owned(),
                Kind::File { source, .. } => match source {
                    Source::Bytes(bytes) => file(bytes),
                    Source::Disk(disk) => file(&fs_err::read(disk.path()).unwrap()),
                    Source::Range(_) | Source::Image(_) => {
                        unreachable!("these trees are scanned or made of bytes")
                    }
                },
                Kind::Symlink(target) => format!("symlink {target:?}"),
                Kind::BlockDevice(number) => format!("block {number}"),
                Kind::CharacterDevice(number) => format!("character {number}"),
                Kind::Fifo => "fifo".to_owned(),
                Kind::Socket => "socket".to_owned(),
                _ => panic!("unknown kind"),
            };
            let same_as = first.entry(entry).or_insert_with(|| path.clone()).clone();
            let facts = Facts {
                kind,
                mode: u32::from(entry.mode),
                mtime: i64::from(entry.mtime),
                owners: (entry.uid, entry.gid),
                links: u64::from(entry.links),
                same_as,
            };
            (path, facts)
        })
        .collect()
}

fn file(bytes: &[u8]) -> String {
    format!("file of {} with {:x}", bytes.len(), xxh3_64(bytes))
}

fn found(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all: BTreeMap<PathBuf, Metadata> = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let metadata = fs_err::symlink_metadata(root.join(&path)).unwrap();
        if metadata.is_dir() {
            for entry in fs_err::read_dir(root.join(&path)).unwrap() {
                pending.push(path.join(entry.unwrap().file_name()));
            }
        }
        all.insert(path, metadata);
    }
    // The order is that of a walk, in which the entries of a directory come before a longer name
    // beside it.
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    all.iter()
        .map(|(path, metadata)| {
            let number = metadata.rdev();
            let number = (rustix::fs::major(number) << 8) | rustix::fs::minor(number);
            let full = root.join(path);
            let kind = match metadata.file_type() {
                kind if kind.is_dir() => "directory".to_owned(),
                kind if kind.is_file() => file(&fs_err::read(&full).unwrap()),
                kind if kind.is_symlink() => {
                    let target = fs_err::read_link(&full).unwrap().into_os_string();
                    format!("symlink {:?}", bytes(target))
                }
                kind if kind.is_block_device() => format!("block {number}"),
                kind if kind.is_char_device() => format!("character {number}"),
                kind if kind.is_fifo() => "fifo".to_owned(),
                _ => "socket".to_owned(),
            };
            let same_as = first
                .entry(metadata.ino())
                .or_insert_with(|| path.clone())
                .clone();
            let facts = Facts {
                kind,
                mode: metadata.mode() & 0o7777,
                mtime: metadata.mtime(),
                owners: (metadata.uid(), metadata.gid()),
                links: metadata.nlink(),
                same_as,
            };
            (path.clone(), facts)
        })
        .collect()
}

fn bytes(text: OsString) -> Box<[u8]> {
    use std::os::unix::ffi::OsStringExt;
    text.into_vec().into_boxed_slice()
}

fn run(program: &str, arguments: &[&Path]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("this test needs `{program}`: run scripts/test, which installs squashfs-tools: {error}")
    });
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
}

fn need_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: it makes devices, and owners that are kept; run it with sudo"
    );
}

/// Returns the odd tree with devices, and a random tree beside it that fills directories and
/// tables.
fn tree(place: &Place) -> Tree {
    need_root();
    trees::odd(&place.root());
    let character = rustix::fs::FileType::CharacterDevice;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.root().join("null"),
        character,
        0o644.into(),
        null,
    )
    .unwrap();
    let mut random = trees::Random(99);
    for number in 0..3000 {
        let path = place
            .root()
            .join(format!("many/sub{}/file-{number}.py", number % 3));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let length = random.below(3000) as usize;
        fs_err::write(path, random.bytes(length)).unwrap();
    }
    for number in 0..5000 {
        let path = place
            .root()
            .join(format!("wide/entry-with-some-name-{number}"));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, number.to_string()).unwrap();
    }
    Tree::scan(&place.root(), &ScanOptions::default()).unwrap()
}

const CODECS: [&str; 7] = [
    "zstd:3", "zstd:15", "gzip:6", "lz4", "lz4:hc", "xz:1", "none",
];

/// Returns options of an image with a hot zone, whose record no reader of SquashFS minds.
fn hot_options(codec: &str, block_size: &str) -> PackOptions {
    PackOptions {
        hot: ["large.so", "hello.txt", "many/sub1/file-7.py"]
            .map(PathBuf::from)
            .into(),
        ..options(codec, block_size, 3)
    }
}

#[test]
#[ignore = "needs: squashfs-tools, root"]
fn unsquashfs_finds_everything() {
    let place = Place::new();
    let tree = tree(&place);
    for codec in CODECS {
        for block_size in ["4K", "128K", "1M"] {
            let image = place.path(&format!("{codec}-{block_size}.sqfs"));
            pack(&tree, &image, &hot_options(codec, block_size)).unwrap();
            let root = place.path(&format!("{codec}-{block_size}"));
            run(
                "unsquashfs",
                &[
                    Path::new("-no-progress"),
                    Path::new("-quiet"),
                    Path::new("-dest"),
                    &root,
                    &image,
                ],
            );
            check(&expected(&tree), &found(&root), false, codec);
            fs_err::remove_dir_all(root).unwrap();
        }
    }
}

#[test]
#[ignore = "needs: root, loop devices"]
fn the_kernel_finds_everything() {
    let place = Place::new();
    let tree = tree(&place);
    for codec in CODECS {
        for block_size in ["4K", "128K", "1M"] {
            let image = place.path(&format!("{codec}-{block_size}.sqfs"));
            pack(&tree, &image, &hot_options(codec, block_size)).unwrap();
            let mount = Mount::new(&image, place.path("mount"));
            check(&expected(&tree), &found(&mount.0), true, codec);
        }
    }
}

/// Mounted image, which is unmounted when the value is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(image: &Path, at: PathBuf) -> Mount {
        fs_err::create_dir_all(&at).unwrap();
        let words = ["-t", "squashfs", "-o", "loop,ro"].map(Path::new);
        run("mount", &[&words[..], &[image, &at]].concat());
        Mount(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Compares two descriptions. Link counts of directories are those of the image only if it is
/// mounted; in an unpacked tree they are those of the file system.
fn check(
    expected: &BTreeMap<PathBuf, Facts>,
    found: &BTreeMap<PathBuf, Facts>,
    with_links: bool,
    codec: &str,
) {
    assert_eq!(expected.len(), found.len(), "{codec}");
    for (path, expected) in expected {
        let found = found
            .get(path)
            .unwrap_or_else(|| panic!("{codec}: no {}", path.display()));
        if with_links || expected.kind != "directory" {
            assert_eq!(
                expected.links,
                found.links,
                "{codec}: links of {}",
                path.display()
            );
        }
        let facts = |facts: &Facts| (facts.kind.clone(), facts.mode, facts.mtime, facts.owners);
        assert_eq!(facts(expected), facts(found), "{codec}: {}", path.display());
        assert_eq!(
            expected.same_as,
            found.same_as,
            "{codec}: {}",
            path.display()
        );
    }
}
