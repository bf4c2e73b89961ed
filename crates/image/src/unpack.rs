//! Responsible for writing a tree to a directory in which programs may change it, and for reading
//! it back so that everything unchanged keeps its source.

mod changes;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::SpaceUnit;
use crate::tree::EntryId;
use crate::{Error, Tree};

pub use changes::Changes;

/// Mode of directories while files are written into them.
const PRIVATE: u32 = 0o700;

/// Options of writing a tree to a directory.
#[derive(Clone, Default)]
pub struct UnpackOptions {
    /// Number of workers. `None` means one for each core.
    pub threads: Option<NonZeroUsize>,
    /// Paths at which an empty file is written instead of the tree's entry. Something is mounted
    /// there while programs run. When the directory is read back, the entries are again those of
    /// the tree.
    pub placeholders: Vec<PathBuf>,
    /// Progress callback. It receives the number of bytes that were written since its last call.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// Cancel flag. Once it is true, the work ends with [`Error::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
}

impl std::fmt::Debug for UnpackOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnpackOptions")
            .field("threads", &self.threads)
            .field("placeholders", &self.placeholders)
            .finish_non_exhaustive()
    }
}

/// Tree that was written to a directory.
///
/// Owners, devices and the extended attributes that only root may set are not written. They are
/// those of the tree again when the directory is read back.
#[derive(Debug)]
pub struct Unpacked {
    root: PathBuf,
    tree: Tree,
    /// State of each regular file after it was written.
    stamps: HashMap<EntryId, Stamp>,
    /// Paths of the entries that were not written.
    unwritten: BTreeSet<PathBuf>,
}

/// State of a file on disk that changes whenever the file is written to or replaced, or its
/// attributes are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn read(path: &Path) -> Result<Stamp, Error> {
        let found =
            std::fs::symlink_metadata(path).map_err(Error::io("read the attributes of", path))?;
        Ok(Stamp {
            inode: found.ino(),
            size: found.len(),
            mode: found.mode(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Tree {
    /// Writes the tree to the directory `root`, which must not exist yet. Nothing is ever written
    /// outside the directory, since no symbolic link of the tree is followed.
    ///
    /// # Errors
    /// Returns [`Error::NoSpace`] before anything is written, [`Error::Io`], [`Error::Corrupt`] for
    /// a damaged image, or [`Error::Cancelled`]. The directory may then be there in part.
    pub fn unpack(self, root: &Path, options: &UnpackOptions) -> Result<Unpacked, Error> {
        std::fs::create_dir(root).map_err(Error::io("create", root))?;
        let set = std::fs::set_permissions(root, std::fs::Permissions::from_mode(PRIVATE));
        set.map_err(Error::io("set the attributes of", root))?;
        self.check_free_space(root)?;
        let unwritten = write::write(&self, root, options)?;
        let mut stamps = HashMap::new();
        for (path, id) in self.walk_ids() {
            let is_file = matches!(self.entry(id).kind, crate::Kind::File { .. });
            if is_file && !unwritten.contains(&path) && !stamps.contains_key(&id) {
                stamps.insert(id, Stamp::read(&root.join(&path))?);
            }
        }
        Ok(Unpacked {
            root: root.to_owned(),
            tree: self,
            stamps,
            unwritten,
        })
    }

    fn check_free_space(&self, root: &Path) -> Result<(), Error> {
        let summary = self.summary();
        let stat = rustix::fs::statvfs(root)
            .map_err(|error| Error::io("read the free space of", root)(error.into()))?;
        let refused = |needed, free, unit| {
            Err(Error::NoSpace {
                path: root.to_owned(),
                needed,
                free,
                unit,
            })
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if summary.bytes > free {
            return refused(summary.bytes, free, SpaceUnit::Bytes);
        }
        let inodes = summary.files + summary.directories + summary.symlinks + summary.others;
        // A file system without a fixed number of inodes reports zero.
        if stat.f_files > 0 && inodes > stat.f_favail {
            return refused(inodes, stat.f_favail, SpaceUnit::Files);
        }
        Ok(())
    }
}

impl Unpacked {
    /// Returns the directory that the tree was written to.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
