//! Listings of the files in a SIF, as lines that can be compared.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use condense_image::Sif;
use condense_image::reader::NodeKind;
use sha2::{Digest, Sha256};

/// Lines by path: kind, mode, contents, first path of the same inode, and time.
pub(crate) type Listing = BTreeMap<String, String>;

pub(crate) fn listing(sif: &Path) -> Listing {
    let reader = Sif::open(sif).unwrap().reader().unwrap();
    let mut found = Listing::new();
    let mut first: HashMap<u32, String> = HashMap::new();
    let root = reader.locate("/").unwrap().unwrap().1;
    found.insert(String::new(), format!("d {:04o}", root.mode));
    for entry in reader.walk().unwrap() {
        let (path, node) = entry.unwrap();
        let path = path.display().to_string();
        assert_eq!((node.uid, node.gid), (0, 0), "{path}");
        let mut text = match node.kind {
            // The time of a directory is left out, because it changes whenever a file is added to
            // the directory.
            NodeKind::Directory => format!("d {:04o}", node.mode),
            NodeKind::Symlink => format!("l {}", reader.read_link(&node).unwrap().display()),
            NodeKind::File => {
                let mut contents = reader.contents(&node).unwrap();
                let mut hasher = Sha256::new();
                while let Some(block) = contents.next_block().unwrap() {
                    hasher.update(block);
                }
                let digest = hex::encode(&hasher.finalize()[..6]);
                format!("f {:04o} {} {digest}", node.mode, node.size)
            }
            other => format!("{other:?} {:04o}", node.mode),
        };
        if node.nlink > 1 && node.kind != NodeKind::Directory {
            let first = first.entry(node.inode).or_insert_with(|| path.clone());
            text.push_str(&format!(" = {first}"));
        }
        for xattr in reader.xattrs(&node).unwrap() {
            let name = xattr.name.display();
            text.push_str(&format!(" {name}={}", hex::encode(xattr.value)));
        }
        if node.kind == NodeKind::File {
            text.push_str(&format!(" @{}", node.mtime));
        }
        found.insert(path, text);
    }
    found
}
