//! Responsible for the record of a copy: the original, and those who use the copy.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Name of the record beside a copy.
const NAME: &str = "copy.json";

/// Properties by which an original is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    path: PathBuf,
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            // A path that is not UTF-8 is compared by its readable form, and by all the rest.
            path: path.to_string_lossy().into_owned().into(),
            size_bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            inode: found.ino(),
        })
    }

    /// Returns whether size, modification time and inode number are the same, as after two readings
    /// of a file that no program has written to. The time of the last status change does not count:
    /// it also changes when another installation makes or removes a hard link to a container image.
    pub(super) fn has_contents_of(&self, other: &Self) -> bool {
        let changed = other.changed;
        Self {
            changed,
            ..self.clone()
        } == *other
    }
}

/// Record of a copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Originals that have the bytes of the copy. There is at most one for each path.
    sources: Vec<Stamp>,
    /// Installations and files whose copy this is.
    owners: Vec<String>,
}

impl Record {
    pub(super) fn new(source: Stamp, owner: &Path) -> Self {
        Self {
            sources: vec![source],
            owners: vec![text(owner)],
        }
    }

    /// Reads the record of a copy. A damaged one counts as missing.
    pub(super) fn load(dir: &Path) -> Option<Self> {
        let most = condense_input::RECORD_MOST;
        let text = condense_input::read_to_string(dir.join(NAME), most).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(super) fn store(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).expect("a record has a JSON form");
        Ok(condense_publish::write(&dir.join(NAME), &text)?)
    }

    /// Returns whether an original has the bytes of the copy.
    pub(super) fn has_source(&self, source: &Stamp) -> bool {
        self.sources.contains(source)
    }

    /// Adds an original, in place of an earlier one at the same path. Returns `false` if it was
    /// known.
    pub(super) fn add_source(&mut self, source: Stamp) -> bool {
        let is_new = !self.has_source(&source);
        if is_new {
            self.sources.retain(|known| known.path != source.path);
            self.sources.push(source);
        }
        is_new
    }

    /// Adds an owner. Returns `false` if it was known.
    pub(super) fn add(&mut self, owner: &Path) -> bool {
        let owner = text(owner);
        let is_new = !self.owners.contains(&owner);
        if is_new {
            self.owners.push(owner);
        }
        is_new
    }

    /// Removes an owner. Returns `false` if it was none.
    pub(super) fn remove(&mut self, owner: &Path) -> bool {
        let owner = text(owner);
        let before = self.owners.len();
        self.owners.retain(|known| *known != owner);
        self.owners.len() < before
    }

    pub(super) fn is_free(&self) -> bool {
        self.owners.is_empty()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
