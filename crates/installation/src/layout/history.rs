//! Responsible for the generations of an installation: listing them, going back to one, and
//! removing those that are not visible.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use condense_publish::{Lock, sync_directory};

use super::claim::repair;
use super::destination::{Destination, State};
use super::lock::lock;
use super::paths::{LOCK, STATE_DIR, generation_dir};
use super::staged::show;
use crate::error::{Error, Result};
use crate::receipt::Receipt;

/// One generation of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Number of the generation; a later build has a higher number.
    pub number: u32,
    /// Whether this is the visible generation.
    pub is_current: bool,
    /// Directory of the generation.
    pub dir: PathBuf,
    /// Receipt of the generation, if it can be read.
    pub receipt: Option<Box<Receipt>>,
    /// Number of bytes that removing the generation would free. Files with further hard links are
    /// not counted.
    pub bytes: u64,
}

/// All generations of an installation, for reading and for changing which one is visible.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    current: u32,
}

impl History {
    /// Opens the history of an installation without changing anything.
    ///
    /// # Errors
    /// Returns [`Error::NoInstallation`] if the directory holds no condense installation, and any
    /// error of [`Destination::inspect`].
    pub fn open(dir: &Path) -> Result<Self> {
        let destination = Destination::inspect(dir)?;
        match destination.state() {
            State::Condense { generation, .. } => Ok(Self {
                dir: destination.dir().to_owned(),
                current: *generation,
            }),
            _ => Err(Error::NoInstallation {
                path: destination.dir().to_owned(),
            }),
        }
    }

    /// Returns all generations, the oldest first.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the generations cannot be read.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir(self.dir.join(STATE_DIR)).map_err(Error::Io)? {
            let entry = entry.map_err(Error::Io)?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(number) = number.filter(|_| entry.path().is_dir()) else {
                continue;
            };
            let dir = generation_dir(&self.dir, number);
            found.push(Generation {
                number,
                is_current: number == self.current,
                receipt: Receipt::load(&dir).ok().map(Box::new),
                bytes: own_bytes(&dir)?,
                dir,
            });
        }
        found.sort_by_key(|generation| generation.number);
        Ok(found)
    }

    /// Makes an older generation visible again, by the same rename that published it. This is the
    /// generation with the number `to`, or else the newest one below the visible generation.
    /// Running jobs keep the generation with which they started.
    ///
    /// # Errors
    /// Returns [`Error::NoGeneration`] if there is no such generation, [`Error::Busy`] while a
    /// build runs, and [`Error::Io`] if the file system reports an error.
    pub fn roll_back(self, to: Option<u32>) -> Result<Generation> {
        let _lock = self.lock()?;
        // The history is read again, because no other process can change it now.
        let history = Self::open(&self.dir)?;
        let mut generations = history.generations()?;
        let place = match to {
            Some(number) => generations
                .iter()
                .position(|generation| generation.number == number),
            None => generations
                .iter()
                .rposition(|generation| generation.number < history.current),
        };
        let Some(place) = place else {
            return Err(Error::NoGeneration {
                path: self.dir,
                asked: to,
            });
        };
        let chosen = generations.swap_remove(place);
        if !chosen.is_current {
            show(&self.dir, chosen.number)?;
        }
        Ok(Generation {
            is_current: true,
            ..chosen
        })
    }

    /// Removes the generations that are not visible, except the newest `keep` of them, and starts
    /// with the oldest. Returns the removed generations. With `dry_run`, only returns them.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] while a build runs, and [`Error::Io`] if the file system reports an
    /// error. Generations that were removed before the error stay removed.
    pub fn collect(self, keep: usize, dry_run: bool) -> Result<Vec<Generation>> {
        let _lock = self.lock()?;
        let history = Self::open(&self.dir)?;
        let mut others = history.generations()?;
        others.retain(|generation| !generation.is_current);
        others.truncate(others.len().saturating_sub(keep));
        if dry_run {
            return Ok(others);
        }
        for generation in &others {
            // A generation that is partly removed must never look like a complete one. The next
            // build removes a directory with this name.
            let going = generation.dir.with_extension("tmp");
            fs_err::rename(&generation.dir, &going).map_err(Error::Io)?;
            if let Err(error) = sync_directory(&self.dir.join(STATE_DIR)) {
                let _ = std::fs::rename(&going, &generation.dir);
                return Err(error.into());
            }
            fs_err::remove_dir_all(&going).map_err(Error::Io)?;
        }
        Ok(others)
    }

    fn lock(&self) -> Result<Lock> {
        let lock = lock(&self.dir, &self.dir.join(STATE_DIR).join(LOCK))?;
        repair(&self.dir)?;
        Ok(lock)
    }
}

/// Returns the number of bytes on disk below a directory, without files that have further hard
/// links.
fn own_bytes(dir: &Path) -> Result<u64> {
    /// Unit of `st_blocks` in bytes.
    const SECTOR_BYTES: u64 = 512;
    let mut bytes = 0;
    for entry in fs_err::read_dir(dir).map_err(Error::Io)? {
        let entry = entry.map_err(Error::Io)?;
        let metadata = entry
            .metadata()
            .map_err(|error| Error::at("look at", &entry.path(), error))?;
        if metadata.is_dir() {
            bytes += own_bytes(&entry.path())?;
        } else if metadata.nlink() == 1 {
            bytes += metadata.blocks() * SECTOR_BYTES;
        }
    }
    Ok(bytes)
}
