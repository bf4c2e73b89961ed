//! Tests that unpacking gives the same files as the reference tool, unsquashfs.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use condense_image::{CheckOptions, ExtractOptions, Reader, check, extract};

use crate::model;

/// Returns everything that `stat`, `readlink`, `getxattr` and `read` return for all entries below a
/// directory.
fn look(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(path) = ahead.pop() {
        let full = directory.join(&path);
        let metadata = full.symlink_metadata().unwrap();
        let mut told = format!(
            "{:o} {}:{} {} {}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.rdev()
        );
        if metadata.is_dir() {
            for entry in fs_err::read_dir(&full).unwrap() {
                ahead.push(path.join(entry.unwrap().file_name()));
            }
        } else {
            told += &format!(" {} {}", metadata.nlink(), metadata.len());
        }
        if metadata.is_symlink() {
            told += &format!(" {}", full.read_link().unwrap().display());
        } else if metadata.is_file() {
            told += &format!(" {:?}", fs_err::read(&full).unwrap());
        }
        let mut value = [0; 100];
        if let Ok(len) = rustix::fs::lgetxattr(&full, "user.test", &mut value[..]) {
            told += &format!(" {:?}", &value[..len]);
        }
        found.insert(path, told);
    }
    found
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .expect("a program is missing: `apt-get install squashfs-tools`");
    assert!(output.status.success(), "{program}: {output:?}");
}

#[test]
#[ignore = "needs: squashfs-tools"]
fn what_is_unpacked_is_what_unsquashfs_unpacks() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    fs_err::create_dir(&tree).unwrap();
    let mut model = model::small();
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    model.insert("noise".into(), model::Content::File(noise));
    model::write(&model, &tree);
    for path in ["etc", "usr/lib/blocks"] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(tree.join(path), "user.test", b"value", flags)
            .expect("the scratch file system has no extended attributes");
    }
    let text = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    for (codec, block_size) in [
        ("gzip", "128K"),
        ("zstd", "4K"),
        ("lz4", "1M"),
        ("xz", "64K"),
    ] {
        let (image, theirs) = (text(codec), text(&format!("{codec}-theirs")));
        let pseudo = ["-p", "pipe i 600 0 0 f", "-p", "null c 666 0 0 1 3"];
        let pack = [
            &text("tree"),
            &image,
            "-comp",
            codec,
            "-b",
            block_size,
            "-xattrs",
        ];
        run("mksquashfs", &[&pack[..], &pseudo].concat());
        run("unsquashfs", &["-d", &theirs, &image]);
        let reader = Reader::open_raw(&image).unwrap();
        check(&reader, &CheckOptions::default()).unwrap();
        let ours = scratch.path().join(format!("{codec}-ours"));
        extract(&reader, &ours, &ExtractOptions::default()).unwrap();
        let (ours, theirs) = (look(&ours), look(Path::new(&theirs)));
        assert_eq!(ours.len(), model.len() + 3);
        for (path, told) in theirs {
            assert!(
                ours[&path] == told,
                "{codec}: {} is another",
                path.display()
            );
        }
    }
}
