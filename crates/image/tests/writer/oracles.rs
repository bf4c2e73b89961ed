//! Images of the packer, unpacked by `unsquashfs` and mounted by the kernel.

use std::{
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::Command,
};

use condense_image::verify;

use super::{TIME, odd, pack_with, scan};

/// Compares two trees on disk: names, types, contents, targets, and which names are hard links.
fn assert_same(expected: &Path, found: &Path, context: &str) {
    let list = |root: &Path| {
        let mut all = Vec::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                if path.symlink_metadata().unwrap().is_dir() {
                    dirs.push(path.clone());
                }
                all.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
        all.sort();
        all
    };
    let names = list(expected);
    assert_eq!(names, list(found), "{context}");
    assert!(names.len() > 300);
    for name in names {
        let (one, other) = (expected.join(&name), found.join(&name));
        let (one_data, other_data) = (
            one.symlink_metadata().unwrap(),
            other.symlink_metadata().unwrap(),
        );
        assert_eq!(
            one_data.file_type(),
            other_data.file_type(),
            "{context}: {}",
            name.display()
        );
        assert_eq!(
            other_data.mtime(),
            i64::from(TIME),
            "{context}: {}",
            name.display()
        );
        if one_data.is_file() {
            assert!(
                std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap(),
                "{context}: {}",
                name.display()
            );
            assert_eq!(
                one_data.nlink(),
                other_data.nlink(),
                "{context}: {}",
                name.display()
            );
        } else if one_data.is_symlink() {
            assert_eq!(
                std::fs::read_link(&one).unwrap(),
                std::fs::read_link(&other).unwrap(),
                "{context}"
            );
        }
    }
}

#[test]
#[ignore = "needs: squashfs-tools"]
fn unsquashfs_finds_what_was_packed() {
    let (dir, root) = odd();
    let tree = scan(&root);
    for compression in ["zstd:3", "gzip:6", "lz4", "lz4:hc", "xz:6", "none"] {
        let image = pack_with(&tree, &dir.path().join("image"), compression, 2);
        let out = dir.path().join("out");
        let output = Command::new("unsquashfs")
            .args(["-no-progress", "-d"])
            .arg(&out)
            .arg(&image.path)
            .output();
        let output = output.expect("`unsquashfs` is needed: run scripts/install-apptainer");
        assert!(
            output.status.success(),
            "{compression}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_same(&root, &out, compression);
        std::fs::remove_dir_all(out).unwrap();
        std::fs::remove_file(&image.path).unwrap();
    }
}

#[test]
#[ignore = "needs: root, loop devices"]
fn the_kernel_finds_what_was_packed() {
    let (dir, root) = odd();
    let tree = scan(&root);
    let available = std::fs::read_to_string("/proc/filesystems").unwrap();
    assert!(
        available.contains("squashfs"),
        "this kernel has no squashfs"
    );
    for compression in ["zstd:3", "gzip:6", "lz4", "xz:6", "none"] {
        let image = pack_with(&tree, &dir.path().join("image"), compression, 2);
        let point = dir.path().join("mounted");
        std::fs::create_dir_all(&point).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "squashfs", "-o", "loop,ro"])
            .arg(&image.path)
            .arg(&point)
            .output()
            .unwrap();
        assert!(
            mount.status.success(),
            "{compression}: run as root: {}",
            String::from_utf8_lossy(&mount.stderr)
        );
        let result = std::panic::catch_unwind(|| assert_same(&root, &point, compression));
        assert!(
            Command::new("umount")
                .arg(&point)
                .status()
                .unwrap()
                .success()
        );
        result.unwrap();
        std::fs::remove_file(&image.path).unwrap();
    }
}

#[test]
#[ignore = "needs: squashfs-tools"]
fn a_file_of_more_than_four_gibibytes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let file = std::fs::File::create(root.join("huge")).unwrap();
    file.set_len((4 << 30) + 70_000).unwrap();
    file.write_all_at(b"the end", (4 << 30) + 69_000).unwrap();
    let tree = scan(&root);
    let image = pack_with(&tree, &dir.path().join("image"), "zstd:1", 2);
    verify(&image, &tree, None).unwrap();
    let output = Command::new("unsquashfs")
        .args(["-ll"])
        .arg(&image.path)
        .output();
    let output = output.expect("`unsquashfs` is needed: run scripts/install-apptainer");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("4295037296"),
        "{output:?}"
    );
}
