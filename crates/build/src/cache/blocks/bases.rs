//! Responsible for the digests of base images beside the blocks. Reading a base of many gigabytes
//! takes longer than everything else of a build whose blocks are there, and its digest is the same
//! as long as the file has not changed.

use std::{
    fs::Metadata,
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use super::{
    files::{files_with, is_key_with, make_locked, open_trusted, remove_unused},
    place::Trust,
};

/// End of the names of digests, behind the 64 digits of the file that they are of.
const SUFFIX: &str = ".base";
/// First word of a digest's file. The digest and a digest of the name with both follow.
const HEAD: &str = "condense-base-1";
/// Maximum number of digests. Those that were used longest ago go first.
const BASES_MAX: usize = 64;
/// Time for which a file must not have changed. Within the resolution of its times, two changes
/// look like one.
const SETTLED: Duration = Duration::from_secs(10);

/// State of a file: two equal ones are of the same contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileState(String);

impl FileState {
    /// Returns the state of a file, or `None` if it has changed just now. The status change time is
    /// a part of it: programs cannot set it.
    pub(crate) fn of(path: &Path, found: &Metadata) -> Option<FileState> {
        Self::settled(path, found, SETTLED)
    }

    /// Returns the state of a file whose contents are known, and to which this process has just
    /// made a link.
    pub(crate) fn after_link(path: &Path, found: &Metadata) -> Option<FileState> {
        Self::settled(path, found, Duration::ZERO)
    }

    /// Does the work of [`Self::of`] for another time without a change.
    pub(super) fn settled(path: &Path, found: &Metadata, time: Duration) -> Option<FileState> {
        let changed = u64::try_from(found.ctime()).ok()?;
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        let is_settled = changed.elapsed().is_ok_and(|since| since >= time);
        let mut hasher = Sha256::new();
        for number in [found.dev(), found.ino(), found.size()] {
            hasher.update(number.to_le_bytes());
        }
        for time in [
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ] {
            hasher.update(time.to_le_bytes());
        }
        hasher.update(path.as_os_str().as_bytes());
        is_settled.then(|| FileState(hex::encode(hasher.finalize())))
    }
}

/// Returns whether a name is that of a digest.
pub(super) fn is_base(name: &str) -> bool {
    is_key_with(name, SUFFIX)
}

/// Lists the digests in a directory.
pub(super) fn list(dir: &Path) -> Vec<PathBuf> {
    files_with(dir, is_base)
}

fn text_of(state: &FileState, digest: &str) -> String {
    let sum = Sha256::digest(format!("{} {digest}", state.0));
    format!("{HEAD} {digest} {}\n", hex::encode(sum))
}

/// Reads the SHA-256 digest of a file with this state. Returns `None` if there is none that is
/// whole and this user's.
pub(super) fn read(dir: &Path, state: &FileState) -> Option<String> {
    let path = dir.join(format!("{}{SUFFIX}", state.0));
    let file = open_trusted(&path, &Trust::own()).ok()?;
    let mut text = String::new();
    Read::take(&file, 4096).read_to_string(&mut text).ok()?;
    let digest = text.split(' ').nth(1)?;
    if text != text_of(state, digest) {
        return None;
    }
    // Times of a cache that is only read stay as they are.
    let _ = file.set_modified(SystemTime::now());
    Some(digest.to_owned())
}

/// Writes the SHA-256 digest of a file with this state.
///
/// # Errors
/// Returns the first error of writing.
pub(super) fn write(dir: &Path, state: &FileState, digest: &str) -> std::io::Result<()> {
    let mut new = make_locked(dir)?;
    new.write_all(text_of(state, digest).as_bytes())?;
    new.persist(dir.join(format!("{}{SUFFIX}", state.0)))
        .map_err(|error| error.error)?;
    remove_unused(list(dir), BASES_MAX);
    Ok(())
}
