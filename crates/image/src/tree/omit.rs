//! Responsible for access to single entries of a tree, and for removing an entry together with the
//! parent directories that become empty.

use std::path::Path;

use super::{Entry, Kind, Tree};

impl Tree {
    /// Returns the entry at a path. Symlinks in the path are not followed.
    pub fn entry_at(&self, path: impl AsRef<Path>) -> Option<&Entry> {
        Some(self.entry(self.find(path.as_ref()).ok()?))
    }

    /// Removes the entry at a path, and the parent directories that have no other entries. Returns
    /// `false` if there is no such entry.
    pub fn omit(&mut self, path: impl AsRef<Path>) -> bool {
        self.omit_but(path, &|_| false)
    }

    /// Removes an entry like [`Tree::omit`], but no parent directory that stays even if empty.
    pub fn omit_but(&mut self, path: impl AsRef<Path>, stays: &dyn Fn(&Path) -> bool) -> bool {
        let path = path.as_ref();
        if self.remove(path).is_err() {
            return false;
        }
        for above in path.ancestors().skip(1) {
            let is_empty = matches!(
                self.entry_at(above).map(|entry| &entry.kind),
                Some(Kind::Directory(children)) if children.is_empty()
            );
            if !is_empty || stays(above) || self.remove(above).is_err() {
                break;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directories_go_with_the_last_thing_in_them() {
        let mut tree = Tree::new();
        for path in ["a/b/one", "a/b/two", "a/other"] {
            tree.add_bytes(path, *b"x", 0o644).unwrap();
        }
        assert!(tree.omit("a/b/one") && !tree.omit("a/b/one") && !tree.omit("a/b/one/none"));
        assert!(tree.entry_at("a/b").unwrap().kind.is_directory());
        assert!(tree.omit("/a/b/two"));
        assert!(tree.entry_at("a/b").is_none() && tree.entry_at("a/other").is_some());
        assert!(tree.omit("a/other") && tree.summary().directories == 1);
        tree.add_bytes("a/b/c/one", *b"x", 0o644).unwrap();
        assert!(tree.omit_but("a/b/c/one", &|path| path == Path::new("a/b")));
        assert!(tree.entry_at("a/b").is_some() && tree.entry_at("a/b/c").is_none());
    }
}
