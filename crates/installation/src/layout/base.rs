//! Responsible for putting the base into a generation, without a second copy of its data where that
//! is possible.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use condense_publish::copy_image;
use sha2::{Digest, Sha256};

use super::paths::{MODE_EXECUTABLE, set_mode};
use crate::error::{Error, Result};
use crate::receipt::Placement;

/// Way in which the installation may use the file in which the base was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseMode {
    /// Shares the blocks of the base; if that is impossible, is a hard link to it; if that is
    /// impossible, is a symbolic link.
    #[default]
    Link,
    /// Shares the blocks of the base; if that is impossible, is a hard link to it; if that is
    /// impossible, is a copy. For a base whose file will be removed after the build.
    LinkOrCopy,
    /// Keeps the placement of the previous generation: the same symbolic link, or else the same
    /// file.
    KeepPlacement,
    /// Is a symbolic link to the path by which the base was named, even if this path is itself a
    /// link.
    Symlink,
    /// Is a file of its own, which shares its blocks with the base if the file system can do that.
    Copy,
}

/// Puts a base in place as `target`.
///
/// A directory always gets a symbolic link. A base file also gets one if it can be neither
/// reflinked nor hard-linked, as on another file system or if it belongs to another user. A base
/// that was named by a link is copied in that case, because sites change such links when they
/// update their base.
pub(super) fn place(base: &Path, target: &Path, mode: BaseMode) -> Result<Placement> {
    let physical = fs_err::canonicalize(base).map_err(Error::Io)?;
    let metadata = fs_err::metadata(&physical).map_err(Error::Io)?;
    let is_link = base
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_symlink());
    if mode == BaseMode::Symlink {
        let named = std::path::absolute(base).map_err(|error| Error::at("find", base, error))?;
        fs_err::os::unix::fs::symlink(named, target).map_err(Error::Io)?;
        return Ok(Placement::Symlink);
    }
    if metadata.is_dir() || (mode == BaseMode::KeepPlacement && is_link) {
        fs_err::os::unix::fs::symlink(&physical, target).map_err(Error::Io)?;
        return Ok(Placement::Symlink);
    }
    if reflink(&physical, target)? {
        return Ok(Placement::Reflink);
    }
    if mode != BaseMode::Copy {
        // The owner of the file could change it later. Where links are protected, this user could
        // not remove the link.
        let own = metadata.uid() == rustix::process::geteuid().as_raw();
        if own && std::fs::hard_link(&physical, target).is_ok() {
            return Ok(Placement::HardLink);
        }
        if mode == BaseMode::Link && !is_link {
            fs_err::os::unix::fs::symlink(&physical, target).map_err(Error::Io)?;
            return Ok(Placement::Symlink);
        }
    }
    copy_image(&physical, target).map_err(|error| Error::at("copy", &physical, error))?;
    set_mode(target, MODE_EXECUTABLE)?;
    Ok(Placement::Copy)
}

/// Makes a file that shares its blocks with another one. Returns `false` if the file system cannot
/// do that.
fn reflink(source: &Path, target: &Path) -> Result<bool> {
    let from = condense_input::open(source).map_err(Error::Io)?;
    let to = fs_err::File::create_new(target).map_err(Error::Io)?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        set_mode(target, MODE_EXECUTABLE)?;
        return Ok(true);
    }
    drop(to);
    fs_err::remove_file(target).map_err(Error::Io)?;
    Ok(false)
}

/// Returns the SHA-256 digest of a file in hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|error| Error::at("open", path, error))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file
            .read(&mut buffer)
            .map_err(|error| Error::at("read", path, error))?
        {
            0 => return Ok(hex::encode(hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}
