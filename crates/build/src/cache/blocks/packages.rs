//! Responsible for the unpacked packages beside the blocks: one file for each package. A build that
//! finds one there neither decodes the archive nor writes what is in it into scratch.

use std::{
    fs::TryLockError,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use condense_prefix::{NewPackage, is_whole_package};

use super::{
    files::{aged, files_with, is_key_with, limit, make_locked, open_trusted},
    place::Trust,
};

/// End of the names of unpacked packages, behind the 64 digits of the archive's digest.
const SUFFIX: &str = ".package";
/// Maximum number of packages that are written at a time.
const WORKERS_MAX: usize = 4;
/// Number of parts of the cache's size, of which unpacked packages take at most one.
const PARTS: u64 = 2;

/// Returns whether a name is that of an unpacked package.
pub(super) fn is_package(name: &str) -> bool {
    is_key_with(name, SUFFIX)
}

/// Lists the unpacked packages in a directory.
pub(super) fn list(dir: &Path) -> Vec<PathBuf> {
    files_with(dir, is_package)
}

/// Opens the package whose archive has this digest, and notes that it was used. As long as it is
/// open, no build removes it. Returns `None` if there is none that is this user's.
pub(super) fn open(dir: &Path, sha256: &[u8; 32]) -> Option<fs_err::File> {
    let path = path(dir, sha256);
    let file = open_trusted(&path, &Trust::own()).ok()?;
    // Without locks, a file that is removed can be read on, but on network file systems.
    let _ = file.try_lock_shared();
    // Times of a cache that is only read stay as they are.
    let _ = file.set_modified(SystemTime::now());
    Some(fs_err::File::from_parts(file, path))
}

/// Removes the file of a package, which is damaged. A failure leaves it for the limit of the cache.
pub(super) fn remove(dir: &Path, sha256: &[u8; 32]) {
    let _ = std::fs::remove_file(path(dir, sha256));
}

/// Checks whether the file of a package is whole and a trusted user's.
///
/// # Errors
/// Returns the reason for which it is not used.
pub(super) fn check(path: &Path, trust: &Trust) -> Result<(), String> {
    let file = open_trusted(path, trust).map_err(|why| why.to_string())?;
    let digits = path.file_stem().unwrap_or_default().as_encoded_bytes();
    let file = fs_err::File::from_parts(file, path);
    if hex::decode(digits).is_ok_and(|sha256| is_whole_package(file, &sha256)) {
        return Ok(());
    }
    Err("its checksums are not those of its contents".to_owned())
}

/// Writes those packages for which there is room: in half of the cache, and in all of it. Those
/// that were used longest ago go, but for packages that a build has open. Returns the number of
/// bytes.
///
/// # Errors
/// Returns the first error of writing, with what was written.
pub(super) fn keep(
    dir: &Path,
    packages: &[NewPackage],
    size_max: u64,
    cancel: &AtomicBool,
) -> (u64, std::io::Result<()>) {
    let half = size_max / PARTS;
    let mut there = aged(list(dir));
    let mut of_packages: u64 = there.iter().map(|file| file.bytes).sum();
    let mut chosen = Vec::new();
    for package in packages {
        let path = path(dir, package.sha256());
        // Another build has kept it meanwhile. A file that is not to be trusted is replaced.
        if package.bytes() > half || open_trusted(&path, &Trust::own()).is_ok() {
            continue;
        }
        while of_packages + package.bytes() > half
            && let Some(oldest) = there.pop_front()
        {
            if remove_unless_open(&oldest.path) {
                of_packages -= oldest.bytes;
            }
        }
        if of_packages + package.bytes() <= half {
            of_packages += package.bytes();
            chosen.push((package, path));
        }
    }
    // No worker begins a large one last.
    chosen.sort_by_key(|(package, _)| std::cmp::Reverse(package.bytes()));
    let bytes: u64 = chosen.iter().map(|(package, _)| package.bytes()).sum();
    limit(dir, size_max.saturating_sub(bytes));
    write_all(dir, &chosen, cancel)
}

/// Writes packages, several at a time. Returns the number of bytes.
///
/// # Errors
/// Returns the first error of writing, with what was written.
fn write_all(
    dir: &Path,
    packages: &[(&NewPackage, PathBuf)],
    cancel: &AtomicBool,
) -> (u64, std::io::Result<()>) {
    let (next, kept) = (AtomicUsize::new(0), AtomicU64::new(0));
    let problem = Mutex::new(Ok(()));
    let work = || {
        while let Some((package, path)) = packages.get(next.fetch_add(1, Ordering::Relaxed))
            && !cancel.load(Ordering::Relaxed)
        {
            match write(dir, package, path, cancel) {
                Ok(()) => {
                    kept.fetch_add(package.bytes(), Ordering::Relaxed);
                }
                Err(error) => {
                    let mut problem = problem.lock().unwrap_or_else(PoisonError::into_inner);
                    if problem.is_ok() {
                        *problem = Err(error);
                    }
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    condense_threads::all(cores.min(WORKERS_MAX), work);
    let problem = problem.into_inner().unwrap_or_else(PoisonError::into_inner);
    (kept.into_inner(), problem)
}

/// Removes a package unless a build has it open. Returns whether it is removed.
pub(super) fn remove_unless_open(path: &Path) -> bool {
    let Ok(file) = open_trusted(path, &Trust::own()) else {
        return false;
    };
    let is_in_use = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    !is_in_use && std::fs::remove_file(path).is_ok()
}

fn write(
    dir: &Path,
    package: &NewPackage,
    path: &Path,
    cancel: &AtomicBool,
) -> std::io::Result<()> {
    let new = make_locked(dir)?;
    package.write(new.as_file(), &|| cancel.load(Ordering::Relaxed))?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn path(dir: &Path, sha256: &[u8; 32]) -> PathBuf {
    dir.join(format!("{}{SUFFIX}", hex::encode(sha256)))
}
