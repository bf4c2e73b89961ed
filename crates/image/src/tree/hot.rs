//! Responsible for finding the files of a profile in a tree. Symlinks are followed as a program in
//! the image would follow them.

use std::collections::{HashSet, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{EntryId, Kind, Tree};

/// Maximum number of symlinks that are followed for one path, as in the kernel.
const LINKS_MAX: u32 = 40;

impl Tree {
    /// Returns the files with content that the paths lead to, in the order of the paths and each
    /// only once. Paths that lead to anything else are left out.
    pub(crate) fn hot_files(&self, paths: &[PathBuf]) -> Vec<EntryId> {
        let mut seen = HashSet::new();
        let found = paths.iter().filter_map(|path| self.follow(path));
        found
            .filter(|id| matches!(self.entry(*id).kind, Kind::File { size, .. } if size > 0))
            .filter(|id| seen.insert(*id))
            .collect()
    }

    /// Returns the entry that a path leads to, or `None` if there is none.
    fn follow(&self, path: &Path) -> Option<EntryId> {
        let mut pending: VecDeque<&[u8]> = names(path.as_os_str().as_bytes()).collect();
        let mut parents = Vec::new();
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            let directory = parents.last().copied().unwrap_or(EntryId::ROOT);
            if name == b".." {
                parents.pop();
                continue;
            }
            let at = self.position(directory, name).ok()?;
            let next = self.children(directory)[at].id;
            let Kind::Symlink(target) = &self.entry(next).kind else {
                parents.push(next);
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            if target.first() == Some(&b'/') {
                parents.clear();
            }
            for name in names(target).rev() {
                pending.push_front(name);
            }
        }
        parents.last().copied()
    }
}

/// Returns the names in a path.
fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let names = path.split(|byte| *byte == b'/');
    names.filter(|name| !matches!(*name, b"" | b"."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_are_followed_within_the_tree() {
        let mut tree = Tree::new();
        tree.add_bytes("usr/lib/libz.so.1.3", *b"z", 0o644).unwrap();
        tree.add_bytes("usr/lib/empty", *b"", 0o644).unwrap();
        tree.add_symlink("usr/lib/libz.so.1", "libz.so.1.3")
            .unwrap();
        tree.add_symlink("lib", "usr/lib").unwrap();
        tree.add_symlink("lib64", "/usr/../../usr/lib").unwrap();
        tree.add_symlink("round", "round").unwrap();
        tree.add_symlink("nowhere", "/none").unwrap();
        let file = tree.find(Path::new("usr/lib/libz.so.1.3")).unwrap();
        for (path, found) in [
            ("lib/libz.so.1", true),
            ("/lib64/libz.so.1", true),
            ("./usr/lib/../lib/libz.so.1.3", true),
            ("lib/libz.so.1/more", false),
            ("lib/empty", false),
            ("round", false),
            ("nowhere", false),
            ("lib", false),
            ("", false),
        ] {
            let expected = if found { vec![file] } else { Vec::new() };
            assert_eq!(tree.hot_files(&[path.into()]), expected, "{path}");
        }
        let twice = ["lib/libz.so.1", "usr/lib/libz.so.1.3"].map(PathBuf::from);
        assert_eq!(tree.hot_files(&twice), [file]);
    }
}
