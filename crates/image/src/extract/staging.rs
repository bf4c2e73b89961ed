//! Responsible for the directory that an image is unpacked into, beside its destination, and for its publication.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::Error;

/// For the owner alone until all is there: nobody can put a link in the way.
const PRIVATE: u32 = 0o700;

/// Removed when dropped before it is published.
#[derive(Debug)]
pub(super) struct Staging {
    dir: TempDir,
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
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(PRIVATE))
            .tempdir_in(parent)
            .map_err(Error::io("create", target))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir.path(), flags, Mode::empty())
            .map_err(|error| Error::io("open", dir.path())(error.into()))?;
        Ok(Staging { dir, root })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What all paths of the image are relative to.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.root)
    }

    /// Where a path of the image is while it is unpacked.
    pub(super) fn full(&self, path: &Path) -> PathBuf {
        self.dir.path().join(path)
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

    /// Lets what is in a directory be removed, should its final mode not.
    pub(super) fn make_writable(&self, path: &Path) {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        // What cannot be removed then is told by its name beside the target.
        let _ = rustix::fs::chmodat(
            &self.root,
            path,
            Mode::from_raw_mode(PRIVATE),
            AtFlags::empty(),
        );
    }

    /// Removes all of it. The error that led here is told; a failure to remove would only hide it.
    pub(super) fn remove(self) {
        let _ = self.dir.close();
    }

    /// Gives the directory its name, if that is still free.
    pub(super) fn publish(self, target: &Path) -> Result<(), Error> {
        let from = self.dir.keep();
        let renamed =
            match rustix::fs::renameat_with(CWD, &from, CWD, target, RenameFlags::NOREPLACE) {
                // Not every file system can do both at once.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    if target.symlink_metadata().is_ok() {
                        Err(Errno::EXIST)
                    } else {
                        rustix::fs::rename(&from, target)
                    }
                }
                other => other,
            };
        renamed.map_err(|error| {
            // The whole tree is there, but its name is taken: the error says so.
            let _ = std::fs::remove_dir_all(&from);
            Error::io("create", target)(error.into())
        })
    }
}

/// Whether a name is one that the kernel hides from ordinary users, so that failing to set it is no surprise.
pub(super) fn is_for_root(name: &std::ffi::OsStr) -> bool {
    !name.as_bytes().starts_with(b"user.")
}
