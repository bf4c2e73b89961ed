//! Tests that another library, which shares no code with this crate, reads what the packer writes.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use backhand::{FilesystemReader, InnerNode};
use condense_image::{PackOptions, Tree, pack};

#[test]
fn backhand_finds_every_name_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    tree.set_mtime_of_additions(1_700_000_000);
    let mut expected: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for number in 0..400_u32 {
        let content: Vec<u8> = (0..number * 997)
            .map(|n| (n.wrapping_mul(n) >> 5) as u8)
            .collect();
        let path = format!("deep/{}/file{number}", number % 7);
        tree.add_bytes(&path, content.clone(), 0o644).unwrap();
        expected.insert(PathBuf::from("/").join(path), content);
    }
    tree.add_symlink("deep/link", "0/file0").unwrap();
    tree.add_directory("empty").unwrap();
    // Only one of backhand's threads may be used: with several of them on one processor, it reads
    // nothing.
    for compression in ["zstd:3", "gzip:6", "xz:1", "none"] {
        let path = dir.path().join("image");
        let options = PackOptions {
            compression: compression.parse().unwrap(),
            ..PackOptions::default()
        };
        pack(&tree, &path, &options).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let image = FilesystemReader::from_reader(file).unwrap();
        let mut found = BTreeMap::new();
        let mut links = 0;
        for node in image.files() {
            if node.fullpath != Path::new("/") {
                assert_eq!(
                    node.header.mtime,
                    1_700_000_000,
                    "{}",
                    node.fullpath.display()
                );
            }
            match &node.inner {
                InnerNode::File(reader) => {
                    let mut content = Vec::new();
                    image
                        .file(reader)
                        .reader()
                        .read_to_end(&mut content)
                        .unwrap();
                    found.insert(node.fullpath.clone(), content);
                }
                InnerNode::Symlink(link) => {
                    assert_eq!(link.link, PathBuf::from("0/file0"));
                    links += 1;
                }
                InnerNode::Dir(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(found == expected, "{compression}");
        assert_eq!(links, 1);
        std::fs::remove_file(path).unwrap();
    }
}
