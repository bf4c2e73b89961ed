//! Responsible for the order in which file contents are packed, which determines their positions in
//! the image.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::source::ImageFile;
use crate::tree::{EntryId, Kind};
use crate::{BlockSize, Error, Reader, Source, Tree};

/// Maximum length of an extension with its dot, in bytes. A longer extension counts as a part of
/// the name.
const EXTENSION_MAX: usize = 8;

/// Contents of a tree in the order in which they are packed: hot files first, in the order of the
/// profile.
///
/// The lists of other files are sorted by extension, then by path: similar content compresses
/// better side by side, and the modules of a package stay together.
#[derive(Debug, Default)]
pub(crate) struct Plan<'t> {
    /// Hot files shorter than a block, without the empty ones.
    pub(crate) hot_small: Vec<EntryId>,
    /// Hot files of one block or more.
    pub(crate) hot_large: Vec<EntryId>,
    /// Hot files whose blocks are the donor's.
    pub(crate) hot_kept: Vec<EntryId>,
    /// Files shorter than a block, without the hot and the empty ones. Several of them share a
    /// block.
    pub(crate) small: Vec<EntryId>,
    /// Files of one block or more, without the hot ones.
    pub(crate) large: Vec<EntryId>,
    /// Groups of large files of the same size. Files of a group may be equal.
    pub(crate) same_size_groups: Vec<SameSizeGroup>,
    /// Files whose blocks are copied from the donor.
    pub(crate) kept: Vec<KeptFile<'t>>,
    /// Kept files that have the same name and size as a small file, so that the two may be equal.
    pub(crate) kept_small: Vec<EntryId>,
    /// Size of all files in bytes.
    pub(crate) bytes: u64,
    /// Number of entries that have a name.
    pub(crate) inodes: u32,
    /// Newest modification time in the tree, in seconds since 1970.
    pub(crate) newest_mtime: u32,
}

/// Files of a profile.
#[derive(Debug, Default)]
pub(crate) struct HotFiles {
    /// Files in the order of the profile.
    pub(crate) files: Vec<EntryId>,
    /// Files of the donor that are packed anew, because they share a block with files that are not
    /// hot.
    pub(crate) anew: HashSet<EntryId>,
}

impl HotFiles {
    /// Finds the files of a profile. Those of the donor can move to the front with their blocks if
    /// they share none, or if that block is in the zone of the donor.
    pub(crate) fn find(
        tree: &Tree,
        paths: &[PathBuf],
        donor: Option<&Arc<Reader>>,
    ) -> Result<HotFiles, Error> {
        let files = tree.hot_files(paths);
        let mut anew = HashSet::new();
        if let Some(reader) = donor {
            let zone = reader.hot_zone()?;
            for id in &files {
                let (_, source) = tree.file(*id);
                let Some(file) = file_of_donor(source, donor) else {
                    continue;
                };
                let shared = file.layout()?.fragment;
                let shared = shared.map(|(index, _)| reader.fragment_place(index));
                if let Some((at, _)) = shared.transpose()?
                    && zone.is_none_or(|zone| !zone.contains(at, at + 1))
                {
                    anew.insert(*id);
                }
            }
        }
        Ok(HotFiles { files, anew })
    }
}

/// File of a tree whose blocks are copied from the donor.
#[derive(Debug)]
pub(crate) struct KeptFile<'t> {
    pub(crate) id: EntryId,
    /// Size of the file in bytes.
    pub(crate) size: u64,
    /// File in the donor.
    pub(crate) file: &'t ImageFile,
}

/// Large files of the same size, some of which may be equal.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SameSizeGroup {
    pub(crate) files: Vec<EntryId>,
    /// Files of this size whose blocks are the donor's. They are not compared with each other,
    /// because their blocks exist already.
    pub(crate) kept: Vec<EntryId>,
}

impl<'t> Plan<'t> {
    /// Leaves out the kept files that no hot file may equal, because its content would then be
    /// among that of other files.
    pub(crate) fn keep_apart(&mut self, can_be_hot: impl Fn(EntryId) -> bool) {
        let hot: HashSet<EntryId> = self.hot_large.iter().copied().collect();
        for group in &mut self.same_size_groups {
            if group.files.iter().any(|id| hot.contains(id)) {
                group.kept.retain(|id| can_be_hot(*id));
            }
        }
    }

    /// Returns whether the profile names a file with content.
    pub(crate) fn has_hot(&self) -> bool {
        !(self.hot_small.is_empty() && self.hot_large.is_empty() && self.hot_kept.is_empty())
    }

    /// Plans the order of a tree whose `hot` files come first. With a donor, the files of the tree
    /// that come from that image are kept.
    pub(crate) fn new(
        tree: &'t Tree,
        block_size: BlockSize,
        donor: Option<&Arc<Reader>>,
        hot: &HotFiles,
    ) -> Plan<'t> {
        let mut plan = Plan::default();
        let ranks: HashMap<EntryId, usize> = hot.files.iter().copied().zip(0..).collect();
        let mut hot_files = Vec::new();
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
            plan.newest_mtime = plan.newest_mtime.max(entry.mtime);
            match &entry.kind {
                Kind::Directory(children) => {
                    pending.extend(children.iter().rev().map(|child| (child.id, &*child.name)));
                }
                Kind::File { size, source } if *size > 0 => {
                    plan.bytes += size;
                    let of_donor = file_of_donor(source, donor);
                    if let Some(file) = of_donor.filter(|_| !hot.anew.contains(&id)) {
                        let size = *size;
                        plan.kept.push(KeptFile { id, size, file });
                        kept.push((name, id, size));
                        plan.hot_kept.extend(ranks.contains_key(&id).then_some(id));
                    } else if let Some(rank) = ranks.get(&id) {
                        hot_files.push((*rank, id, *size, name));
                    } else {
                        files.push((extension(name), files.len(), id, *size, name));
                    }
                }
                _ => {}
            }
        }
        plan.hot_kept.sort_unstable_by_key(|id| ranks[id]);
        hot_files.sort_unstable_by_key(|&(rank, ..)| rank);
        files.sort_unstable_by_key(|&(extension, walked, ..)| (extension, walked));
        let hot_files = hot_files
            .into_iter()
            .map(|(_, id, size, name)| (true, id, size, name));
        let files = files
            .into_iter()
            .map(|(_, _, id, size, name)| (false, id, size, name));
        let mut sizes: HashMap<u64, SameSizeGroup> = HashMap::new();
        // Many small files have the same size as another file. Files of the donor are therefore
        // compared only with small files of the same name and size.
        let mut names: HashSet<(u64, &[u8])> = HashSet::new();
        for (is_hot, id, size, name) in hot_files.chain(files) {
            if size < u64::from(block_size.bytes()) {
                let small = if is_hot {
                    &mut plan.hot_small
                } else {
                    &mut plan.small
                };
                small.push(id);
                if !kept.is_empty() {
                    names.insert((size, name));
                }
            } else {
                let large = if is_hot {
                    &mut plan.hot_large
                } else {
                    &mut plan.large
                };
                large.push(id);
                sizes.entry(size).or_default().files.push(id);
            }
        }
        for (name, id, size) in kept {
            if let Some(group) = sizes.get_mut(&size) {
                group.kept.push(id);
            } else if names.contains(&(size, name)) {
                plan.kept_small.push(id);
            }
        }
        plan.same_size_groups = sizes
            .into_values()
            .filter(|group| group.files.len() + group.kept.len() > 1)
            .collect();
        plan.same_size_groups.sort_unstable();
        plan
    }
}

/// Returns the file of the donor that a source is, if it is one.
fn file_of_donor<'t>(source: &'t Source, donor: Option<&Arc<Reader>>) -> Option<&'t ImageFile> {
    match source {
        Source::Image(file) => donor
            .is_some_and(|donor| file.reader().is(donor))
            .then_some(file),
        _ => None,
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
        let plan = Plan::new(&tree, BlockSize::MIN, None, &HotFiles::default());
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
        assert_eq!(plan.same_size_groups.len(), 1);
        assert_eq!(plan.bytes, 2 * 4096 + 5 * 10);
        assert_eq!(plan.inodes, 12);

        // Hot files leave the other lists. A name of a hard link, a link and a missing file count
        // as what they lead to.
        tree.add_symlink("b/link", "../big2.so").unwrap();
        let hot: Vec<PathBuf> = [
            "b/0.pyc", "none", "b/link", "a/1.py", "c/1.py", "a", "empty",
        ]
        .map(PathBuf::from)
        .into();
        let hot = HotFiles::find(&tree, &hot, None).unwrap();
        let plan = Plan::new(&tree, BlockSize::MIN, None, &hot);
        assert_eq!(named(&plan.hot_small), ["b/0.pyc", "c/1.py"]);
        assert_eq!(named(&plan.hot_large), ["big2.so"]);
        assert_eq!(named(&plan.small), ["z", "b/2.py", "a/1.pyc"]);
        assert_eq!(named(&plan.large), ["big1.so"]);
        assert_eq!(plan.same_size_groups[0].files[..1], plan.hot_large);
    }
}
