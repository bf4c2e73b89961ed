//! Small tree with one entry for each special case of an image.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use condense_image::Reader;
use condense_image::reader::{Node, NodeKind};

/// Modification time of all entries in the images, in seconds since 1970.
pub(crate) const MTIME: u32 = 1_700_000_000;

pub(crate) enum Content {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    /// Another name of a file.
    HardLink(&'static str),
}

pub(crate) type Model = BTreeMap<PathBuf, Content>;

/// Returns the model, made for blocks of 4 KiB: files of no, one and several blocks with and
/// without a partial last block, a hole, two names of one file, targets of more than 255 bytes, and
/// more names than one metadata block holds.
pub(crate) fn small() -> Model {
    let lines = (0..1000).fold(String::new(), |lines, i| lines + &format!("line {i}\n"));
    let mut sparse = vec![0; 9000];
    sparse.extend_from_slice(b"end");
    let mut model = Model::new();
    for directory in ["empty", "etc", "usr", "usr/lib", "var", "var/deep"] {
        model.insert(directory.into(), Content::Directory);
    }
    for (path, contents) in [
        ("etc/os-release", b"ID=debian\n".to_vec()),
        ("usr/lib/blocks", lines.into_bytes()),
        ("usr/lib/exact", vec![b'x'; 8192]),
        ("usr/lib/none", Vec::new()),
        ("usr/lib/sparse", sparse),
    ] {
        model.insert(path.into(), Content::File(contents));
    }
    model.insert("usr/lib/twin".into(), Content::HardLink("usr/lib/blocks"));
    for (path, target) in [
        ("lib", "usr/lib".to_owned()),
        ("usr/lib/long", "t".repeat(300)),
        ("usr/lib/os-release", "/etc/os-release".to_owned()),
        ("var/circle", "circle".to_owned()),
        ("var/etc", "../../../../etc".to_owned()),
    ] {
        model.insert(path.into(), Content::Symlink(target));
    }
    for i in 0..300 {
        let contents = if i % 7 == 0 {
            i.to_string()
        } else {
            String::new()
        };
        let path = format!("var/deep/{i:03}").into();
        model.insert(path, Content::File(contents.into_bytes()));
    }
    model
}

pub(crate) fn write(model: &Model, directory: &Path) {
    for (path, content) in model {
        let path = directory.join(path);
        match content {
            Content::Directory => fs_err::create_dir(&path).unwrap(),
            Content::File(bytes) => {
                fs_err::write(&path, bytes).unwrap();
                fs_err::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
            }
            Content::Symlink(target) => symlink(target, &path).unwrap(),
            Content::HardLink(to) => fs_err::hard_link(directory.join(to), &path).unwrap(),
        }
    }
}

/// Checks that the image holds the model and nothing more, in the order of a walk.
pub(crate) fn check(reader: &Reader, model: &Model) {
    let mut nodes: Vec<(PathBuf, Node)> = Vec::new();
    for item in reader.walk().unwrap() {
        nodes.push(item.unwrap());
    }
    // Paths compare by component, so the order of the model is that of a walk.
    assert!(nodes.iter().map(|(path, _)| path).eq(model.keys()));
    let numbers: BTreeMap<&Path, u32> = nodes
        .iter()
        .map(|(path, node)| (path.as_path(), node.inode))
        .collect();
    // Only some paths are looked up, because the time of a lookup grows with the size of the
    // directory.
    for (path, node) in nodes.iter().step_by(23) {
        assert_eq!(reader.lookup(path).unwrap().as_ref(), Some(node));
    }
    for (path, node) in &nodes {
        assert_eq!((node.uid, node.gid, node.mtime), (0, 0, MTIME));
        let bytes = match &model[path] {
            Content::Directory => {
                assert_eq!(node.kind, NodeKind::Directory);
                continue;
            }
            Content::Symlink(target) => {
                assert_eq!(reader.read_link(node).unwrap(), Path::new(target));
                assert_eq!(node.size, target.len() as u64);
                continue;
            }
            Content::File(bytes) => bytes,
            Content::HardLink(to) => {
                assert_eq!(numbers[Path::new(to)], node.inode);
                assert_eq!(node.nlink, 2);
                let Content::File(bytes) = &model[Path::new(to)] else {
                    panic!("{to} is a file");
                };
                bytes
            }
        };
        assert_eq!(node.mode, 0o640);
        assert_eq!(
            &reader.read(node, node.size).unwrap(),
            bytes,
            "{}",
            path.display()
        );
        let mut copy = Vec::new();
        reader.read_to(node, &mut copy).unwrap();
        assert_eq!(&copy, bytes);
    }
}
