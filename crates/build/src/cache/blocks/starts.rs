//! Responsible for the recorded starts beside the blocks: which files a start of an environment
//! reads. A start takes as long as everything else of a build whose blocks are there, and it reads
//! the same files if nothing that it depends on has changed.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use condense_prefix::StartFiles;
use sha2::{Digest, Sha256};

use super::{
    files::{files_with, is_key_with, make_locked, open_trusted, remove_unused},
    place::Trust,
};

/// End of the names of recorded starts, behind the 64 digits of what they depend on.
const SUFFIX: &str = ".start";
/// First line of a recorded start. The second one is the SHA-256 of the rest.
const HEAD: &str = "condense start 1";
/// Maximum size of a recorded start in bytes.
const BYTES_MAX: u64 = 16 << 20;
/// Maximum number of recorded starts. Those that were used longest ago go first.
const STARTS_MAX: usize = 64;

/// Returns whether a name is that of a recorded start.
pub(super) fn is_start(name: &str) -> bool {
    is_key_with(name, SUFFIX)
}

/// Lists the recorded starts in a directory.
pub(super) fn list(dir: &Path) -> Vec<PathBuf> {
    files_with(dir, is_start)
}

/// Reads the start with this key, and notes that it was used. Returns `None` if there is none, or
/// none that is whole and this user's.
pub(super) fn read(dir: &Path, key: &str) -> Option<StartFiles> {
    let path = dir.join(format!("{key}{SUFFIX}"));
    let file = open_trusted(&path, &Trust::own()).ok()?;
    if file.metadata().ok()?.len() > BYTES_MAX {
        return None;
    }
    let mut text = String::new();
    Read::take(&file, BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let (digest, lines) = text
        .strip_prefix(HEAD)?
        .strip_prefix('\n')?
        .split_once('\n')?;
    if digest != hex::encode(Sha256::digest(lines)) {
        return None;
    }
    // Times of a cache that is only read stay as they are.
    let _ = file.set_modified(SystemTime::now());
    Some(StartFiles::parse(lines))
}

/// Writes a start, and removes those that were used longest ago if there are many.
///
/// # Errors
/// Returns the first error of writing.
pub(super) fn write(dir: &Path, key: &str, files: &StartFiles) -> std::io::Result<()> {
    let lines = files.lines();
    let digest = hex::encode(Sha256::digest(&lines));
    let mut new = make_locked(dir)?;
    new.write_all(format!("{HEAD}\n{digest}\n{lines}").as_bytes())?;
    new.persist(dir.join(format!("{key}{SUFFIX}")))
        .map_err(|error| error.error)?;
    remove_unused(list(dir), STARTS_MAX);
    Ok(())
}
