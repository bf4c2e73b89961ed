//! Responsible for the paths of staging directories and of the files in them.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The directory inside a staging directory for files that do not belong to the result.
pub const STATE_DIR: &str = ".condense";

/// The file in [`STATE_DIR`] that is locked for as long as the maker runs.
pub const LOCK: &str = "lock";

/// The part of the name of a staging directory that comes before its random letters.
pub(crate) const STAGING: &str = ".condense-";
/// The number of random letters in the names of such directories.
pub(crate) const LETTERS: usize = 6;

/// Returns the directory that contains the last name of the path.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

/// Returns whether the open file is still the one that has this path.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let there = std::fs::symlink_metadata(path);
    file.metadata()
        .is_ok_and(|here| there.is_ok_and(|there| same(&here, &there)))
}

fn same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
