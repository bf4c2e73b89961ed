//! Responsible for the directory that an image is unpacked into, beside its destination, and for
//! its publication.

use std::fs::{DirBuilder, File};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use condense_publish::{Existing, sync_tree};
use rustix::fs::{Mode, OFlags};

use crate::Error;

/// For the owner alone until all is there: nobody can put a link in the way.
const PRIVATE: u32 = 0o700;
/// The owner's permission to write, without which a directory cannot be moved to another parent
/// directory.
const OWNER_MAY_WRITE: u32 = 0o200;

/// Removed when dropped before it is published.
#[derive(Debug)]
pub(super) struct Staging {
    whole: condense_publish::Staging,
    dir: PathBuf,
    root: OwnedFd,
}

impl Staging {
    /// Refuses a target that is there already, whatever it is.
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

    /// What all paths of the image are relative to.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.root)
    }

    /// Where a path of the image is while it is unpacked.
    pub(super) fn full(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }

    pub(super) fn make_directory(&self, path: &Path) -> Result<(), Error> {
        rustix::fs::mkdirat(&self.root, path, Mode::from_raw_mode(PRIVATE))
            .map_err(|error| Error::io("create", self.full(path))(error.into()))
    }

    /// A new file, which is never one that is there already.
    pub(super) fn create_file(&self, path: &Path) -> Result<File, Error> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.root, path, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| Error::io("create", self.full(path))(error.into()))
    }

    /// Moves the directory to its final name, if that is still free. With `durable`, first waits
    /// until all files are on disk.
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

/// Whether a name is one that the kernel hides from ordinary users, so that failing to set it is no
/// surprise.
pub(super) fn is_for_root(name: &std::ffi::OsStr) -> bool {
    !name.as_bytes().starts_with(b"user.")
}
