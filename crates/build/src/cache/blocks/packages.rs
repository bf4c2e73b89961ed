//! Responsible for the unpacked packages beside the blocks: one file for each package. A build that
//! finds one there neither decodes the archive nor writes what is in it into scratch.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use condense_prefix::{NewPackage, is_whole_package};

use super::{
    files::{files_with, make_locked, open_trusted, remove_until},
    place::Trust,
};

/// End of the names of unpacked packages, behind the 64 digits of the archive's digest.
const SUFFIX: &str = ".package";
/// Divisor of the cache's size, of which unpacked packages take at most one part.
const PARTS: u64 = 2;

/// Returns whether a name is that of an unpacked package.
pub(super) fn is_package(name: &str) -> bool {
    let key = name.strip_suffix(SUFFIX).unwrap_or("");
    key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Lists the unpacked packages in a directory.
pub(super) fn list(dir: &Path) -> Vec<PathBuf> {
    files_with(dir, is_package)
}

/// Opens the package whose archive has this digest, and notes that it was used. Returns `None` if
/// there is none that is this user's.
pub(super) fn open(dir: &Path, sha256: &[u8; 32]) -> Option<File> {
    let file = open_trusted(&path(dir, sha256), &Trust::own()).ok()?;
    // Times of a cache that is only read stay as they are.
    let _ = file.set_modified(SystemTime::now());
    Some(file)
}

/// Checks whether the file of a package is whole and a trusted user's.
///
/// # Errors
/// Returns the reason for which it is not used.
pub(super) fn check(path: &Path, trust: &Trust) -> Result<(), String> {
    let file = open_trusted(path, trust).map_err(|why| why.to_string())?;
    let digits = path.file_stem().unwrap_or_default().as_encoded_bytes();
    if hex::decode(digits).is_ok_and(|sha256| is_whole_package(&file, &sha256)) {
        return Ok(());
    }
    Err("its checksums are not those of its contents".to_owned())
}

/// Writes those packages for which there is room. Those that were used longest ago go. Returns the
/// number of bytes.
///
/// # Errors
/// Returns the first error of writing, with what was written before.
pub(super) fn keep(
    dir: &Path,
    packages: &[NewPackage],
    size_max: u64,
    cancel: &AtomicBool,
) -> (u64, std::io::Result<()>) {
    let room = size_max / PARTS;
    let mut kept = 0;
    for package in packages {
        if kept + package.bytes() > room {
            continue;
        }
        remove_until(list(dir), room - package.bytes());
        match write(dir, package, cancel) {
            Ok(()) => kept += package.bytes(),
            Err(error) => return (kept, Err(error)),
        }
    }
    (kept, Ok(()))
}

fn write(dir: &Path, package: &NewPackage, cancel: &AtomicBool) -> std::io::Result<()> {
    let new = make_locked(dir)?;
    package.write(new.as_file(), &|| cancel.load(Ordering::Relaxed))?;
    let path = path(dir, package.sha256());
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn path(dir: &Path, sha256: &[u8; 32]) -> PathBuf {
    dir.join(format!("{}{SUFFIX}", hex::encode(sha256)))
}
