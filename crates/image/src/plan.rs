//! Responsible for the order in which files' contents are packed, which fixes where they lie in the
//! image.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::tree::{EntryId, Kind};
use crate::{BlockSize, Reader, Source, Tree};

/// An extension is at most this long, with its dot, in bytes; what is longer is taken for a part of
/// the name.
const EXTENSION_MAX: usize = 8;

/// The contents of a tree in the order they are packed.
///
/// Both lists are sorted by extension, then path: like compresses well beside like, and a package's
/// modules stay together.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Files shorter than a block, without the empty ones: they share blocks.
    pub(crate) small: Vec<EntryId>,
    /// The other files with content.
    pub(crate) large: Vec<EntryId>,
    /// Groups of large files that have the same size, of which some may be equal.
    pub(crate) lookalikes: Vec<Lookalikes>,
    /// Files whose blocks are the donor's.
    pub(crate) kept: Vec<EntryId>,
    /// Kept files that small ones may equal, for they have the same name and size.
    pub(crate) kept_lookalikes: Vec<EntryId>,
    /// The sum of all files' sizes.
    pub(crate) bytes: u64,
    /// The number of entries with a name.
    pub(crate) inodes: u32,
    /// The newest modification time in the tree.
    pub(crate) newest: u32,
}

/// Large files of the same size, of which some may be equal.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lookalikes {
    pub(crate) files: Vec<EntryId>,
    /// Those whose blocks are the donor's; that some of them are equal would change nothing.
    pub(crate) kept: Vec<EntryId>,
}

impl Plan {
    /// With a donor, files of that image are kept as they are.
    pub(crate) fn new(tree: &Tree, block_size: BlockSize, donor: Option<&Arc<Reader>>) -> Plan {
        let mut plan = Plan::default();
        let mut files = Vec::new();
        let mut kept = Vec::new();
        let mut seen = vec![false; tree.capacity()];
        // A walk without paths: the order of names is all that sorting needs.
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
        // Many small files have the same size as another, so those of the donor are looked at only
        // under the same name.
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

/// What a name tells of the content: its extension, or `.so` for `libx.so.1.2`.
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
    fn like_comes_beside_like_and_the_empty_nowhere() {
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
