//! Responsible for removing a whole installation: nothing that is not part of one, and never half
//! of one in sight.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use condense_publish::{Lock, discard, sweep};

use super::adopt::names_of_tykky;
use super::destination::{Destination, State, links_through_current, names_of, parent_of};
use super::lock::lock;
use super::{LOCK, STATE_DIR};
use crate::error::{Error, Result};

/// An installation that is about to be removed; no build can begin in it meanwhile.
#[derive(Debug)]
pub struct Removal {
    dir: PathBuf,
    generations: usize,
    lock: Option<Lock>,
}

/// Looks whether `dir` can be removed, an installation of ours or of Tykky's, and removes nothing
/// yet.
///
/// # Errors
/// [`Error::NoInstallation`] for anything else, [`Error::Link`] for a link to one,
/// [`Error::NotOfInstallation`] names what somebody else has put there, [`Error::Busy`] while a
/// build runs, [`Error::Io`].
pub fn remove(dir: &Path) -> Result<Removal> {
    let destination = Destination::inspect(dir)?;
    let dir = destination.dir().to_owned();
    if dir.is_symlink() {
        let target = fs_err::read_link(&dir).map_err(Error::Io)?;
        return Err(Error::Link { path: dir, target });
    }
    let mut known: Vec<OsString> = super::usual_names().map(OsString::from).collect();
    let generations = match destination.state() {
        State::Ours { .. } => super::History::open(&dir)?.generations()?.len(),
        State::Tykky => {
            // One that cannot be read has no other names that could be known.
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
        State::Ours { .. } => Some(lock(&dir, &lock_path)?),
        _ => None,
    };
    Ok(Removal {
        dir,
        generations,
        lock,
    })
}

impl Removal {
    /// How many go with it.
    #[must_use]
    pub fn generations(&self) -> usize {
        self.generations
    }

    /// Takes it out of sight with one rename, then removes it.
    ///
    /// # Errors
    /// [`Error::Io`]; what is left then lies hidden beside it.
    pub fn finish(self) -> Result<()> {
        sweep(parent_of(&self.dir));
        Ok(discard(&self.dir, self.lock)?)
    }
}
