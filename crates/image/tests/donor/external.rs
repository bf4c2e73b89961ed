//! Tests with images of other programs as donors, and with other programs that read the result:
//! `mksquashfs`, `unsquashfs` and the kernel.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use condense_image::{Donor, Existing, Modes, PackOptions, ScanOptions, Tree};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Place, onto, pack_and_verify, trees};

fn run(program: &str, arguments: &[&str]) {
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
        "this test needs root: it makes devices, and mounts; run it with sudo"
    );
}

/// Way in which a tree on disk was made, which decides what can be compared.
#[derive(Clone, Copy)]
enum View {
    /// Mounted image. Link counts of directories are compared, but extended attributes are not,
    /// because not every kernel supports those of SquashFS.
    Mounted,
    /// Any tree. Neither link counts of directories nor extended attributes are compared.
    Anywhere,
    /// Unpacked image. Extended attributes are compared, but link counts of directories are not.
    Unpacked,
}

fn list(root: &Path, view: View) -> BTreeMap<PathBuf, String> {
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let metadata = fs_err::symlink_metadata(&full).unwrap();
        let content = if metadata.is_dir() {
            let names = fs_err::read_dir(&full)
                .unwrap()
                .map(|entry| entry.unwrap().file_name());
            pending.extend(names.map(|name| path.join(name)));
            pending.sort_by(|one, other| other.cmp(one));
            0
        } else if metadata.is_file() {
            xxh3_64(&fs_err::read(&full).unwrap())
        } else if metadata.is_symlink() {
            xxh3_64(
                fs_err::read_link(&full)
                    .unwrap()
                    .as_os_str()
                    .as_encoded_bytes(),
            )
        } else {
            metadata.rdev()
        };
        let xattrs = match view {
            View::Unpacked => xattrs(&full),
            View::Mounted | View::Anywhere => BTreeMap::new(),
        };
        let links = if metadata.is_dir() && !matches!(view, View::Mounted) {
            0
        } else {
            metadata.nlink()
        };
        let same_as = first.entry(metadata.ino()).or_insert_with(|| path.clone());
        let size = if metadata.is_dir() {
            0
        } else {
            metadata.size()
        };
        let fact = format!(
            "{:o} {}:{} {} {size} {links} {content:x} {xattrs:?} {}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            same_as.display()
        );
        found.insert(path, fact);
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    let read = names.map(|name| {
        let name = std::str::from_utf8(name).unwrap();
        let mut value = vec![0_u8; 65_536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        (name.to_owned(), value[..length].to_vec())
    });
    read.collect()
}

fn check(found: &BTreeMap<PathBuf, String>, expected: &BTreeMap<PathBuf, String>, context: &str) {
    for (path, expected) in expected {
        assert_eq!(
            found.get(path),
            Some(expected),
            "{context}: {}",
            path.display()
        );
    }
    assert_eq!(found.len(), expected.len(), "{context}");
}

/// Writes a tree with everything that a file system can hold to disk.
fn write(root: &Path) {
    trees::odd(root);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("null"),
        rustix::fs::FileType::CharacterDevice,
        0o644.into(),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    for (path, owner) in [("null", 7), ("large.so", 100_000), ("soft", 12)] {
        std::os::unix::fs::lchown(root.join(path), Some(owner), Some(owner + 1)).unwrap();
    }
    let flags = rustix::fs::XattrFlags::empty();
    for (path, name, value) in [
        ("large.so", "user.long", &[b'v'; 3000][..]),
        ("hello.txt", "user.one", b"1"),
        ("hello.txt", "user.two", b""),
        ("bin", "user.dir", b"directory"),
    ] {
        rustix::fs::lsetxattr(root.join(path), name, value, flags).unwrap();
    }
    // This is CAP_NET_RAW, which `ping` has.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::lsetxattr(
        root.join("bin/tool"),
        "security.capability",
        &capability,
        flags,
    )
    .unwrap();
    let mut random = trees::Random(99);
    for number in 0..2000 {
        let path = root.join(format!("many/sub{}/file-{number}.py", number % 3));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let length = random.below(3000) as usize;
        fs_err::write(path, random.bytes(length)).unwrap();
    }
}

struct Mount(PathBuf);

impl Mount {
    fn new(image: &Path, at: PathBuf) -> Mount {
        fs_err::create_dir_all(&at).unwrap();
        let (image, place) = (image.to_str().unwrap(), at.to_str().unwrap());
        run("mount", &["-t", "squashfs", "-o", "loop,ro", image, place]);
        Mount(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Options of mksquashfs for every codec that both mksquashfs and this crate write, including
/// options that the new image must keep.
const DONORS: [&[&str]; 9] = [
    &["-comp", "gzip"],
    &[
        "-comp",
        "gzip",
        "-Xcompression-level",
        "1",
        "-Xwindow-size",
        "10",
        "-b",
        "4K",
    ],
    &["-comp", "zstd", "-Xcompression-level", "1", "-b", "1M"],
    &["-comp", "zstd", "-Xcompression-level", "5"],
    &["-comp", "lz4"],
    &["-comp", "lz4", "-Xhc", "-b", "16K"],
    &["-comp", "xz"],
    &[
        "-comp",
        "xz",
        "-Xbcj",
        "x86,arm",
        "-Xdict-size",
        "50%",
        "-b",
        "64K",
    ],
    &["-noI", "-noD", "-noF", "-noX"],
];

#[test]
#[ignore = "needs: squashfs-tools, root, loop devices"]
fn the_kernel_and_unsquashfs_find_the_base_and_what_was_added() {
    need_root();
    let place = Place::new();
    let (root, extra) = (place.path("root"), place.path("extra"));
    fs_err::create_dir_all(&root).unwrap();
    fs_err::create_dir_all(&extra).unwrap();
    write(&root);
    trees::odd(&extra);
    let added = Tree::scan(&extra, &ScanOptions::default()).unwrap();
    for (number, words) in DONORS.iter().enumerate() {
        let context = words.join(" ");
        let base = place.path(&format!("base-{number}"));
        let start = [
            root.to_str().unwrap(),
            base.to_str().unwrap(),
            "-no-progress",
            "-quiet",
        ];
        run("mksquashfs", &[&start[..], words].concat());
        let donor = Donor::open(&base).unwrap();
        let mut tree = donor.tree().unwrap();
        tree.graft("opt/env", added.clone(), Existing::Refuse)
            .unwrap();
        let out = place.path(&format!("out-{number}"));
        let image = pack_and_verify(&tree, &out, &onto(&donor, 3));
        assert!(image.taken_bytes > 0, "{context}");

        let alone = place.path(&format!("alone-{number}"));
        pack_and_verify(&added, &alone, &PackOptions::default());
        for view in [View::Mounted, View::Anywhere, View::Unpacked] {
            let look = |image: &Path| {
                if let View::Unpacked = view {
                    let to = place.path("unpacked");
                    unsquash(image, &to);
                    let found = list(&to, view);
                    fs_err::remove_dir_all(to).unwrap();
                    found
                } else {
                    list(&Mount::new(image, place.path("mount")).0, view)
                }
            };
            let mut expected = look(&base);
            let below = look(&alone).into_iter();
            let below = below.filter(|(path, _)| !path.as_os_str().is_empty());
            expected.extend(below.map(|(path, fact)| (Path::new("opt/env").join(path), fact)));
            let found = look(&out).into_iter().map(|(path, fact)| {
                // A hard link is described by its first path, which differs if the tree was packed
                // alone.
                (path, fact.replace(" opt/env/", " "))
            });
            let mut found: BTreeMap<_, _> = found.collect();
            for made in ["", "opt", "opt/env"] {
                assert!(found.remove(Path::new(made)).is_some(), "{context}: {made}");
            }
            // The root has one more directory.
            expected.remove(Path::new(""));
            check(&found, &expected, &context);
        }
        for image in [base, out] {
            fs_err::remove_file(image).unwrap();
        }
    }
}

fn unsquash(image: &Path, to: &Path) {
    let words = ["-no-progress", "-quiet", "-xattrs", "-dest"];
    let paths = [to.to_str().unwrap(), image.to_str().unwrap()];
    run("unsquashfs", &[&words[..], &paths].concat());
}

/// Tests that the extended attributes and modes of scanned trees are kept on request.
#[test]
#[ignore = "needs: squashfs-tools, root"]
fn unsquashfs_finds_extended_attributes_and_modes_of_a_scanned_tree() {
    need_root();
    let place = Place::new();
    let root = place.path("root");
    fs_err::create_dir_all(&root).unwrap();
    write(&root);
    let flags = rustix::fs::XattrFlags::empty();
    let hidden = rustix::fs::lsetxattr(root.join("noise"), "trusted.lov", b"stripes", flags);
    hidden.unwrap();
    let options = ScanOptions {
        xattrs: true,
        modes: Modes::Keep,
        ..ScanOptions::default()
    };
    let tree = Tree::scan(&root, &options).unwrap();
    for codec in ["zstd:3", "gzip:6", "none"] {
        let image = place.image(codec, &tree, codec, "128K");
        rustix::fs::lremovexattr(root.join("noise"), "trusted.lov").ok();
        let expected = list(&root, View::Unpacked);
        let unpacked = place.path("unpacked");
        unsquash(&image, &unpacked);
        let found = list(&unpacked, View::Unpacked);
        fs_err::remove_dir_all(unpacked).unwrap();
        // Owners become root; everything else is unchanged.
        let without_owners = |facts: BTreeMap<PathBuf, String>| -> BTreeMap<PathBuf, String> {
            facts
                .into_iter()
                .map(|(path, fact)| {
                    let words: Vec<&str> = fact.split(' ').collect();
                    (path, [&words[..1], &words[2..]].concat().join(" "))
                })
                .collect()
        };
        check(&without_owners(found), &without_owners(expected), codec);
    }
}
