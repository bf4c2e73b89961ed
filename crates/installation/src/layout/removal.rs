//! Responsible for removing a whole installation. Files that are no part of the installation are
//! never removed, and a partly removed installation is never visible.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use condense_publish::{Lock, discard, sweep};

use super::adopt::names_of_tykky;
use super::destination::{Destination, State};
use super::history::History;
use super::lock::lock;
use super::paths::{LOCK, STATE_DIR, links_through_current, names_of, parent_of, usual_names};
use crate::error::{Error, Result};

/// An installation that is about to be removed. No build can begin in it meanwhile.
#[derive(Debug)]
pub struct Removal {
    dir: PathBuf,
    generations: usize,
    lock: Option<Lock>,
}

/// Checks whether `dir` can be removed, and removes nothing yet. `dir` may be an installation of
/// condense or of Tykky.
///
/// # Errors
/// Returns [`Error::NoInstallation`] for any other directory, [`Error::Link`] for a link to an
/// installation, [`Error::NotOfInstallation`] if the directory holds a file that is no part of the
/// installation, [`Error::Busy`] while a build runs, and [`Error::Io`] if the directory cannot be
/// read.
pub fn remove(dir: &Path) -> Result<Removal> {
    let destination = Destination::inspect(dir)?;
    let dir = destination.dir().to_owned();
    if dir.is_symlink() {
        let target = fs_err::read_link(&dir).map_err(Error::Io)?;
        return Err(Error::Link { path: dir, target });
    }
    let mut known: Vec<OsString> = usual_names().map(OsString::from).collect();
    let generations = match destination.state() {
        State::Condense { .. } => History::open(&dir)?.generations()?.len(),
        State::Tykky => {
            // If the configuration of Tykky cannot be read, only the usual names are known.
            known.extend(names_of_tykky(&dir).unwrap_or_default());
            1
        }
        _ => return Err(Error::NoInstallation { path: dir }),
    };
    let is_known = |name: &OsString| {
        name == STATE_DIR || known.contains(name) || links_through_current(&dir, name)
    };
    if let Some(name) = names_of(&dir)?.into_iter().find(|name| !is_known(name)) {
        return Err(Error::NotOfInstallation { path: dir, name });
    }
    let lock_path = dir.join(STATE_DIR).join(LOCK);
    let lock = match destination.state() {
        State::Condense { .. } => Some(lock(&dir, &lock_path)?),
        _ => None,
    };
    Ok(Removal {
        dir,
        generations,
        lock,
    })
}

impl Removal {
    /// Returns the number of generations that will be removed.
    #[must_use]
    pub fn generations(&self) -> usize {
        self.generations
    }

    /// Hides the installation with one rename, then removes it.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file system reports an error. The remains are then in a hidden
    /// directory beside the installation.
    pub fn finish(self) -> Result<()> {
        sweep(parent_of(&self.dir));
        Ok(discard(&self.dir, self.lock)?)
    }
}
