//! Complete description of an image's entries, for comparisons.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use condense_image::Reader;
use condense_image::reader::{NodeKind, Xattr};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) type Facts = BTreeMap<PathBuf, Fact>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) kind: NodeKind,
    pub(crate) mode: u16,
    pub(crate) owners: (u32, u32),
    pub(crate) mtime: u32,
    pub(crate) nlink: u32,
    pub(crate) size: u64,
    pub(crate) device: u32,
    pub(crate) allocated_bytes: u64,
    pub(crate) xattrs: Vec<Xattr>,
    /// Hash of a file's bytes or of a link's target.
    pub(crate) content: u64,
    /// First path of the same inode.
    pub(crate) same_as: PathBuf,
}

/// Returns the description of everything below the root.
pub(crate) fn of(reader: &Reader) -> Facts {
    let mut first: HashMap<u32, PathBuf> = HashMap::new();
    reader
        .walk()
        .unwrap()
        .map(|next| {
            let (path, node) = next.unwrap();
            let content = match node.kind {
                NodeKind::File => xxh3_64(&reader.read(&node, u64::MAX).unwrap()),
                NodeKind::Symlink => {
                    let target = reader.read_link(&node).unwrap();
                    xxh3_64(target.as_os_str().as_encoded_bytes())
                }
                _ => 0,
            };
            let same_as = first.entry(node.inode).or_insert_with(|| path.clone());
            let fact = Fact {
                kind: node.kind,
                mode: node.mode,
                owners: (node.uid, node.gid),
                mtime: node.mtime,
                nlink: node.nlink,
                size: node.size,
                device: node.device,
                allocated_bytes: node.allocated_bytes(),
                xattrs: reader.xattrs(&node).unwrap(),
                content,
                same_as: same_as.clone(),
            };
            (path, fact)
        })
        .collect()
}

/// Returns the description of another image's entries, moved below a directory.
pub(crate) fn below(directory: &str, facts: &Facts) -> Facts {
    let directory = Path::new(directory);
    let moved = facts.iter().map(|(path, fact)| {
        let fact = Fact {
            same_as: directory.join(&fact.same_as),
            ..fact.clone()
        };
        (directory.join(path), fact)
    });
    moved.collect()
}

/// Compares two descriptions. A failure names the first path that differs, instead of printing
/// thousands.
pub(crate) fn check(found: &Facts, expected: &Facts, context: &str) {
    for (path, expected) in expected {
        assert_eq!(
            found.get(path),
            Some(expected),
            "{context}: {}",
            path.display()
        );
    }
    let extra = found.keys().find(|path| !expected.contains_key(*path));
    assert_eq!(extra, None, "{context}");
}
