//! Responsible for putting the base into a generation without a second copy of it, where that is
//! possible.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::MODE_EXECUTABLE;
use super::destination::set_mode;
use crate::error::{Error, Result};
use crate::receipt::Placement;

/// Whether the installation may depend on the file that the base was found in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseMode {
    /// Share the blocks, else be the same file, else be a link to it.
    #[default]
    Link,
    /// Share the blocks, else be the same file, else have a copy: where the base was found, it will
    /// not stay.
    Own,
    /// As it is in the generation before: the same link, else the same file.
    Again,
    /// Link to the path by which the base was named, even if that is a link itself.
    Share,
    /// Have a file of its own; it shares its blocks where the file system can.
    Copy,
}

/// Puts a base in place as `target`.
///
/// A directory is always linked to. So is a file that is neither on the same file system nor the
/// user's own, except where it was named by a link: such links move on when a site updates its
/// base.
pub(super) fn place(base: &Path, target: &Path, mode: BaseMode) -> Result<Placement> {
    let physical = fs_err::canonicalize(base).map_err(Error::Io)?;
    let metadata = fs_err::metadata(&physical).map_err(Error::Io)?;
    let is_link = base
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_symlink());
    if mode == BaseMode::Share {
        let named = std::path::absolute(base).map_err(|error| Error::at("find", base, error))?;
        fs_err::os::unix::fs::symlink(named, target).map_err(Error::Io)?;
        return Ok(Placement::Symlink);
    }
    if metadata.is_dir() || (mode == BaseMode::Again && is_link) {
        fs_err::os::unix::fs::symlink(&physical, target).map_err(Error::Io)?;
        return Ok(Placement::Symlink);
    }
    if reflink(&physical, target)? {
        return Ok(Placement::Reflink);
    }
    if mode != BaseMode::Copy {
        // Another user's file could be changed behind our back, and could not be removed by us
        // where links are protected.
        let own = metadata.uid() == rustix::process::geteuid().as_raw();
        if own && std::fs::hard_link(&physical, target).is_ok() {
            return Ok(Placement::HardLink);
        }
        if mode == BaseMode::Link && !is_link {
            fs_err::os::unix::fs::symlink(&physical, target).map_err(Error::Io)?;
            return Ok(Placement::Symlink);
        }
    }
    fs_err::copy(&physical, target).map_err(Error::Io)?;
    set_mode(target, MODE_EXECUTABLE)?;
    Ok(Placement::Copy)
}

/// Makes a file that shares its blocks with another; `false` where the file system cannot.
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

/// The digest of a file, in hexadecimal.
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
