//! Responsible for the temporary directory that an image is unpacked into, beside its destination,
//! and for its publication.

use std::fs::{DirBuilder, File};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use condense_publish::{Existing, sync_tree};
use rustix::fs::{Mode, OFlags};

use crate::Error;

/// Mode of directories until everything is unpacked: only the owner has access, so that no other
/// user can insert a symbolic link.
const PRIVATE: u32 = 0o700;
/// Write permission of the owner, without which a directory cannot be moved to another parent
/// directory.
const OWNER_MAY_WRITE: u32 = 0o200;

/// Temporary directory, which is removed if it is dropped before it is published.
#[derive(Debug)]
pub(super) struct Staging {
    whole: condense_publish::Staging,
    dir: PathBuf,
    root: OwnedFd,
}

impl Staging {
    /// Creates the directory. A target of any kind that already exists is refused.
    pub(super) fn create(target: &Path) -> Result<Staging, Error> {
        let exists = || Error::io("create", target)(std::io::ErrorKind::AlreadyExists.into());
        let Some(name) = target.file_name() else {
            return Err(exists());
        };
        if target.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let whole = condense_publish::Staging::beside(target)?;
        let dir = whole.path().join(name);
        DirBuilder::new()
            .mode(PRIVATE)
            .create(&dir)
            .map_err(Error::io("create", target))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&dir, flags, Mode::empty())
            .map_err(|error| Error::io("open", &dir)(error.into()))?;
        Ok(Staging { whole, dir, root })
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns the directory that all paths of the image are relative to.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.root)
    }

    /// Returns the temporary path of a path in the image.
    pub(super) fn full(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }

    pub(super) fn make_directory(&self, path: &Path) -> Result<(), Error> {
        rustix::fs::mkdirat(&self.root, path, Mode::from_raw_mode(PRIVATE))
            .map_err(|error| Error::io("create", self.full(path))(error.into()))
    }

    /// Creates a file, and fails if the path exists.
    pub(super) fn create_file(&self, path: &Path) -> Result<File, Error> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.root, path, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| Error::io("create", self.full(path))(error.into()))
    }

    /// Moves the directory to its final name, if that name is still free. With `durable`, first
    /// waits until all files are on disk.
    pub(super) fn publish(self, target: &Path, durable: bool) -> Result<(), Error> {
        if durable {
            sync_tree(&self.dir)?;
        }
        let mode = rustix::fs::stat(&self.dir)
            .map_err(|error| Error::io("look at", &self.dir)(error.into()))?
            .st_mode;
        let is_closed = mode & OWNER_MAY_WRITE == 0;
        let set_mode = |path: &Path, mode| {
            rustix::fs::chmod(path, Mode::from_raw_mode(mode))
                .map_err(|error| Error::io("create", path)(error.into()))
        };
        if is_closed {
            set_mode(&self.dir, mode | OWNER_MAY_WRITE)?;
        }
        self.whole.publish(&self.dir, target, Existing::Refuse)?;
        if is_closed {
            set_mode(target, mode)?;
        }
        Ok(())
    }
}

/// Returns whether an attribute's name is in a namespace that needs root, so that failing to set it
/// is expected.
pub(super) fn is_for_root(name: &std::ffi::OsStr) -> bool {
    !name.as_bytes().starts_with(b"user.")
}
