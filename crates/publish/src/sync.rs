//! Responsible for making contents and names survive a power failure.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::Error;

/// The number of files above which one call for the whole file system costs less than one call for
/// each file.
const FILES_ONE_BY_ONE: usize = 64;

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// Returns [`Error::Io`] if the directory cannot be opened or stored. File systems that cannot do
/// this for directories cause no error.
pub fn sync_directory(dir: &Path) -> Result<(), Error> {
    let file = match open(dir, OFlags::DIRECTORY) {
        Ok(file) => file,
        // A user may be allowed to create names in a directory but not to read it. Then it cannot
        // be opened for this call.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(Error::io("open", dir)(error)),
    };
    match rustix::fs::fsync(&file) {
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => Ok(()),
        Err(error) => Err(Error::io("store the names in", dir)(error)),
    }
}

/// Waits until a directory and everything below it is on disk. Symbolic links are not followed.
///
/// # Errors
/// Returns [`Error::Io`] if the tree cannot be listed, opened or stored.
pub fn sync_tree(dir: &Path) -> Result<(), Error> {
    let mut found = Found::default();
    if found.collect(dir)? {
        for path in &found.files {
            match open(path, OFlags::NOFOLLOW) {
                Ok(file) => file.sync_all().map_err(Error::io("store", path))?,
                // The file may be unreadable even for the user who made it.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    return sync_file_system(dir);
                }
                Err(error) => return Err(Error::io("open", path)(error)),
            }
        }
        // The lowest directories come first: a name must not be on disk before its contents.
        return found
            .directories
            .iter()
            .rev()
            .try_for_each(|dir| sync_directory(dir));
    }
    sync_file_system(dir)
}

fn sync_file_system(dir: &Path) -> Result<(), Error> {
    let file = open(dir, OFlags::DIRECTORY).map_err(Error::io("open", dir))?;
    rustix::fs::syncfs(&file).map_err(Error::io("store what is in", dir))
}

fn open(path: &Path, flags: OFlags) -> std::io::Result<File> {
    // Opening a pipe or a device must not block.
    let flags = flags | OFlags::NONBLOCK;
    File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// The directories of a tree, parents first, and its files.
#[derive(Default)]
struct Found {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Found {
    /// Collects the tree. Returns `false` if there are too many files to write them to disk one by
    /// one.
    fn collect(&mut self, dir: &Path) -> Result<bool, Error> {
        self.directories.push(dir.to_owned());
        for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let entry = entry.map_err(Error::io("list", dir))?;
            let kind = entry.file_type().map_err(Error::io("look at", dir))?;
            if kind.is_file() {
                self.files.push(entry.path());
            }
            if self.files.len() + self.directories.len() > FILES_ONE_BY_ONE
                || (kind.is_dir() && !self.collect(&entry.path())?)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn trees_of_every_size_and_kind_are_stored() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("tree");
        fs_err::create_dir_all(dir.join("a/b")).unwrap();
        fs_err::write(dir.join("a/b/file"), "text").unwrap();
        fs_err::os::unix::fs::symlink("nowhere", dir.join("a/link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let unreadable = dir.join("unreadable");
        fs_err::write(&unreadable, "text").unwrap();
        fs_err::set_permissions(&unreadable, std::fs::Permissions::from_mode(0o000)).unwrap();
        sync_tree(&dir).unwrap();
        for number in 0..FILES_ONE_BY_ONE {
            fs_err::write(dir.join(number.to_string()), "").unwrap();
        }
        let mut found = Found::default();
        assert!(!found.collect(&dir).unwrap());
        sync_tree(&dir).unwrap();
        assert!(sync_tree(&dir.join("none")).is_err());
        assert!(sync_directory(&dir.join("none")).is_err());
        sync_directory(Path::new("/proc/self")).unwrap();
    }
}
