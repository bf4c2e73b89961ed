//! Responsible for looking at single entries of a tree, and for leaving entries out together with
//! directories that were there for them alone.

use std::path::Path;

use super::{Entry, Kind, Tree};

impl Tree {
    /// The entry at a path, links on the way not followed.
    pub fn entry_at(&self, path: impl AsRef<Path>) -> Option<&Entry> {
        Some(self.entry(self.find(path.as_ref()).ok()?))
    }

    /// Takes out the entry at a path, with the directories above it that have nothing else in them.
    /// `false` if there is none.
    pub fn omit(&mut self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        if self.remove(path).is_err() {
            return false;
        }
        for above in path.ancestors().skip(1) {
            let is_empty = matches!(
                self.entry_at(above).map(|entry| &entry.kind),
                Some(Kind::Directory(children)) if children.is_empty()
            );
            if !is_empty || self.remove(above).is_err() {
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
    }
}
