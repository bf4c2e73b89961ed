//! Responsible for the order in which file contents are packed, which determines their positions in
//! the image.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::tree::{EntryId, Kind};
use crate::{BlockSize, Reader, Source, Tree};

/// Maximum length of an extension with its dot, in bytes. A longer extension counts as a part of
/// the name.
const EXTENSION_MAX: usize = 8;

/// Contents of a tree in the order in which they are packed.
///
/// Both lists are sorted by extension, then by path: similar content compresses better side by
/// side, and the modules of a package stay together.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Files shorter than a block, without the empty ones. Several of them share a block.
    pub(crate) small: Vec<EntryId>,
    /// Files of one block or more.
    pub(crate) large: Vec<EntryId>,
    /// Groups of large files of the same size. Files of a group may be equal.
    pub(crate) lookalikes: Vec<Lookalikes>,
    /// Files whose blocks are copied from the donor.
    pub(crate) kept: Vec<EntryId>,
    /// Kept files that have the same name and size as a small file, so that the two may be equal.
    pub(crate) kept_lookalikes: Vec<EntryId>,
    /// Size of all files in bytes.
    pub(crate) bytes: u64,
    /// Number of entries that have a name.
    pub(crate) inodes: u32,
    /// Newest modification time in the tree, in seconds since 1970.
    pub(crate) newest: u32,
}

/// Large files of the same size, some of which may be equal.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lookalikes {
    pub(crate) files: Vec<EntryId>,
    /// Files of this size whose blocks are the donor's. They are not compared with each other,
    /// because their blocks exist already.
    pub(crate) kept: Vec<EntryId>,
}

impl Plan {
    /// Plans the order of a tree. With a donor, the files of the tree that come from that image are
    /// kept.
    pub(crate) fn new(tree: &Tree, block_size: BlockSize, donor: Option<&Arc<Reader>>) -> Plan {
        let mut plan = Plan::default();
        let mut files = Vec::new();
        let mut kept = Vec::new();
        let mut seen = vec![false; tree.capacity()];
        // The tree is walked without building paths, because sorting only needs the order of names.
        let mut pending = vec![(EntryId::ROOT, &b""[..])];
        while let Some((id, name)) = pending.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            let entry = tree.entry(id);
            plan.inodes += 1;
            plan.newest = plan.newest.max(entry.mtime);
            match &entry.kind {
                Kind::Directory(children) => {
                    pending.extend(children.iter().rev().map(|child| (child.id, &*child.name)));
                }
                Kind::File { size, source } if *size > 0 => {
                    plan.bytes += size;
                    if is_of(source, donor) {
                        plan.kept.push(id);
                        kept.push((name, id, *size));
                    } else {
                        files.push((extension(name), files.len(), id, *size, name));
                    }
                }
                _ => {}
            }
        }
        files.sort_unstable_by_key(|&(extension, walked, ..)| (extension, walked));
        let mut sizes: HashMap<u64, Lookalikes> = HashMap::new();
        // Many small files have the same size as another file. Files of the donor are therefore
        // compared only with small files of the same name and size.
        let mut names: HashSet<(u64, &[u8])> = HashSet::new();
        for (_, _, id, size, name) in files {
            if size < u64::from(block_size.bytes()) {
                plan.small.push(id);
                if !kept.is_empty() {
                    names.insert((size, name));
                }
            } else {
                plan.large.push(id);
                sizes.entry(size).or_default().files.push(id);
            }
        }
        for (name, id, size) in kept {
            if let Some(group) = sizes.get_mut(&size) {
                group.kept.push(id);
            } else if names.contains(&(size, name)) {
                plan.kept_lookalikes.push(id);
            }
        }
        plan.lookalikes = sizes
            .into_values()
            .filter(|group| group.files.len() + group.kept.len() > 1)
            .collect();
        plan.lookalikes.sort_unstable();
        plan
    }
}

fn is_of(source: &Source, donor: Option<&Arc<Reader>>) -> bool {
    match (source, donor) {
        (Source::Image(file), Some(donor)) => file.reader().is(donor),
        _ => false,
    }
}

/// Returns the part of a name that indicates the kind of content: the extension, or `.so` for
/// `libx.so.1.2`.
fn extension(name: &[u8]) -> &[u8] {
    let Some(dot) = name
        .iter()
        .rposition(|byte| *byte == b'.')
        .filter(|dot| *dot > 0)
    else {
        return b"";
    };
    let extension = &name[dot..];
    if extension.len() <= EXTENSION_MAX && !extension[1..].iter().all(u8::is_ascii_digit) {
        extension
    } else if name.windows(4).any(|part| part == b".so.") {
        b".so"
    } else {
        b""
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn extensions_tell_kinds_apart() {
        for (name, expected) in [
            ("a.py", ".py"),
            ("libz.so", ".so"),
            ("libz.so.1.3.1", ".so"),
            ("python3.12", ""),
            ("README", ""),
            (".profile", ""),
            ("conf.", ""),
            ("a.longerthanthat", ""),
            ("m.cpython-312.pyc", ".pyc"),
        ] {
            assert_eq!(extension(name.as_bytes()), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn similar_files_are_adjacent_and_empty_files_are_left_out() {
        let mut tree = Tree::new();
        for name in [
            "b/2.py", "a/1.pyc", "a/1.py", "z", "big2.so", "big1.so", "b/0.pyc",
        ] {
            let size = if name.starts_with("big") { 4096 } else { 10 };
            tree.add_bytes(name, vec![1; size], 0o644).unwrap();
        }
        tree.add_bytes("empty", vec![], 0o644).unwrap();
        tree.add_hard_link("c/1.py", "a/1.py").unwrap();
        let plan = Plan::new(&tree, BlockSize::MIN, None);
        let paths: HashMap<EntryId, _> = tree.walk_ids().map(|(path, id)| (id, path)).collect();
        let named = |ids: &[EntryId]| {
            ids.iter()
                .map(|id| paths[id].display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            named(&plan.small),
            ["z", "c/1.py", "b/2.py", "a/1.pyc", "b/0.pyc"]
        );
        assert_eq!(named(&plan.large), ["big1.so", "big2.so"]);
        assert_eq!(plan.lookalikes.len(), 1);
        assert_eq!(plan.bytes, 2 * 4096 + 5 * 10);
        assert_eq!(plan.inodes, 12);
    }
}
