//! Tests of images that mksquashfs makes during the test, with options that no stored image covers.

use std::path::{Path, PathBuf};
use std::process::Command;

use condense_image::reader::NodeKind;
use condense_image::{Codec, Reader};

use crate::model::{self, Content};

/// Packs `tree` and opens the image.
///
/// # Streams
/// The output of mksquashfs is shown if it fails.
fn pack(tree: &Path, image: &Path, options: &[&str]) -> Reader {
    let output = Command::new("mksquashfs")
        .args([tree, image])
        .args(["-noappend", "-all-root", "-all-time"])
        .arg(model::MTIME.to_string())
        .args(options)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .expect("mksquashfs is missing: `apt-get install squashfs-tools`");
    assert!(output.status.success(), "{options:?}: {output:?}");
    Reader::open_raw(image).unwrap()
}

#[test]
#[ignore = "needs: squashfs-tools"]
fn images_of_every_codec_and_option_hold_what_was_packed() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    fs_err::create_dir(&tree).unwrap();
    let mut model = model::small();
    // The listing has more than 64 KiB, so the directory needs an extended inode, with an index.
    model.insert("many".into(), Content::Directory);
    for i in 0..5000 {
        let path = format!("many/{i:04}-{}", "n".repeat(30)).into();
        model.insert(path, Content::File(b"same".to_vec()));
    }
    // The file is larger than a block of any size.
    let noise: Vec<u8> = (0..1_500_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    model.insert("noise".into(), Content::File(noise));
    model::write(&model, &tree);
    for (name, options) in [
        ("gzip", &["-comp", "gzip"][..]),
        (
            "gzip9",
            &[
                "-comp",
                "gzip",
                "-Xcompression-level",
                "9",
                "-Xwindow-size",
                "9",
            ],
        ),
        ("lz4", &["-comp", "lz4"]),
        ("lz4hc", &["-comp", "lz4", "-Xhc", "-b", "1M"]),
        ("xz", &["-comp", "xz"]),
        ("xz-x86", &["-comp", "xz", "-Xbcj", "x86", "-b", "1M"]),
        ("xz-small", &["-comp", "xz", "-Xdict-size", "8K"]),
        ("zstd", &["-comp", "zstd"]),
        (
            "zstd22",
            &["-comp", "zstd", "-Xcompression-level", "22", "-b", "4K"],
        ),
        ("none", &["-noI", "-noD", "-noF", "-noX"]),
        ("no-fragments", &["-no-fragments"]),
        ("all-fragments", &["-always-use-fragments", "-b", "64K"]),
        ("no-sparse", &["-no-sparse", "-no-duplicates"]),
        ("export", &["-no-exports"]),
    ] {
        let reader = pack(&tree, &scratch.path().join(name), options);
        model::check(&reader, &model);
    }
}

#[test]
#[ignore = "needs: squashfs-tools"]
fn special_files_and_attributes_are_seen() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    fs_err::create_dir(&tree).unwrap();
    let file = tree.join("file");
    fs_err::write(&file, b"text").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, flags)
            .expect("the scratch file system has no extended attributes");
    };
    for path in [&tree, &file] {
        set(path, "user.test", b"value");
    }
    // Equal long values are stored once and referred to.
    let long = vec![b'v'; 500];
    for name in ["long", "like"] {
        fs_err::write(tree.join(name), b"").unwrap();
        set(&tree.join(name), "user.a", name.as_bytes());
        set(&tree.join(name), "user.long", &long);
    }
    let image = scratch.path().join("image");
    let options = [
        "-xattrs",
        "-p",
        "null c 666 1 2 1 3",
        "-p",
        "disk b 660 0 6 259 300",
        "-p",
        "pipe i 600 0 0 f",
        "-p",
        "sock i 600 0 0 s",
    ];
    let reader = pack(&tree, &image, &options);
    let node = |path: &str| reader.lookup(path).unwrap().unwrap();
    assert!(node("/").has_xattrs);
    assert!(node("file").has_xattrs);
    assert!(!node("null").has_xattrs);
    let xattrs = |path: &str| -> Vec<(String, Vec<u8>)> {
        let xattrs = reader.xattrs(&node(path)).unwrap().into_iter();
        let mut xattrs: Vec<_> = xattrs
            .map(|xattr| (xattr.name.into_string().unwrap(), xattr.value))
            .collect();
        xattrs.sort();
        xattrs
    };
    assert_eq!(xattrs("/"), [("user.test".to_owned(), b"value".to_vec())]);
    assert_eq!(xattrs("file"), xattrs("/"));
    assert_eq!(xattrs("null"), []);
    for name in ["long", "like"] {
        let expected = [("user.a", name.as_bytes()), ("user.long", &long)]
            .map(|(name, value)| (name.to_owned(), value.to_vec()));
        assert_eq!(xattrs(name), expected);
    }
    assert_eq!(reader.read(&node("file"), 4).unwrap(), b"text");
    let null = node("null");
    assert_eq!(null.kind, NodeKind::CharacterDevice);
    assert_eq!((null.mode, null.device), (0o666, 1 << 8 | 3));
    let disk = node("disk");
    assert_eq!(disk.kind, NodeKind::BlockDevice);
    // The parts are the low eight bits of the minor number, the major number, and the rest of the
    // minor number.
    assert_eq!(disk.device, 0x0010_0000 | 259 << 8 | 0x2c);
    assert_eq!(node("pipe").kind, NodeKind::Fifo);
    assert_eq!(node("sock").kind, NodeKind::Socket);
    let paths: Vec<PathBuf> = reader.walk().unwrap().map(|item| item.unwrap().0).collect();
    assert_eq!(paths.len(), 7);
    assert_eq!(reader.superblock().codec, Codec::Gzip);
}
