//! Responsible for what lies at a destination.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::claim::{Claim, Replacing};
use super::{CURRENT, MODE_EXECUTABLE, MODE_SHARED_DIR, SHARED, STATE_DIR};
use crate::bind::check_destination;
use crate::error::{Error, Result};
use crate::receipt::Receipt;

/// A directory to install into, and what was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    dir: PathBuf,
    state: State,
}

/// What lies at a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Absent,
    /// An empty directory, or one where a first build was interrupted before it became visible.
    Empty,
    /// An installation of ours.
    Ours {
        /// The visible generation.
        generation: u32,
        /// Its receipt, if it can be read: a replacement should keep the mount point.
        receipt: Option<Box<Receipt>>,
    },
    /// An installation made by Tykky.
    Tykky,
    /// Somebody else's files.
    Foreign,
}

impl Destination {
    /// Looks without touching anything.
    ///
    /// # Errors
    /// [`Error::CannotBind`] for a path that no container can show, [`Error::NotADirectory`] for a
    /// file or a dangling link, [`Error::Io`] if it cannot be looked at.
    pub fn inspect(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).map_err(|source| Error::at("resolve", dir, source))?;
        check_destination(&dir)?;
        let state = match fs_err::symlink_metadata(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::Absent,
            Err(error) => return Err(Error::Io(error)),
            Ok(_) if !dir.is_dir() => return Err(Error::NotADirectory { path: dir }),
            Ok(_) => find_state(&dir)?,
        };
        if let Ok(physical) = dir.canonicalize() {
            check_destination(&physical)?;
        }
        Ok(Self { dir, state })
    }

    /// The destination: absolute, links kept.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was found.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Reserves an installation that is there for a change of it; one of Tykky's becomes the first
    /// generation when the next is published.
    ///
    /// # Errors
    /// [`Error::NoInstallation`], [`Error::Busy`]; [`Error::Io`] if it cannot be written.
    pub fn claim_for_update(self) -> Result<Claim> {
        match self.state {
            State::Tykky | State::Ours { .. } => Claim::within(self.dir, Replacing::Change),
            _ => Err(Error::NoInstallation { path: self.dir }),
        }
    }

    /// Reserves the destination for one build. Proves that it can be written to, and clears away
    /// what killed builds left.
    ///
    /// # Errors
    /// [`Error::AlreadyInstalled`] without `replace`, [`Error::TykkyInstallation`],
    /// [`Error::NotEmpty`] or [`Error::Busy`] where it is refused; [`Error::Io`] if the
    /// destination cannot be written.
    pub fn claim(self, replace: bool) -> Result<Claim> {
        let path = self.dir.clone();
        match self.state {
            State::Tykky => Err(Error::TykkyInstallation { path }),
            State::Foreign => Err(Error::NotEmpty { path }),
            State::Ours { .. } if !replace => Err(Error::AlreadyInstalled { path }),
            State::Absent => Claim::beside(self.dir),
            State::Empty | State::Ours { .. } => Claim::within(
                self.dir,
                if replace {
                    Replacing::Ours
                } else {
                    Replacing::Nothing
                },
            ),
        }
    }
}

/// What a directory holds.
pub(super) fn find_state(dir: &Path) -> Result<State> {
    if let Some(generation) = find_current(dir) {
        let receipt = Receipt::load(&generation_dir(dir, generation))
            .ok()
            .map(Box::new);
        return Ok(State::Ours {
            generation,
            receipt,
        });
    }
    let mut empty = true;
    for name in names_of(dir)? {
        empty &= name == STATE_DIR || links_through_current(dir, &name);
    }
    if empty {
        return Ok(State::Empty);
    }
    let tykky = ["bin", "_bin", "common.sh"]
        .iter()
        .all(|name| dir.join(name).exists());
    Ok(if tykky { State::Tykky } else { State::Foreign })
}

/// The visible generation, if there is one.
pub(super) fn find_current(dir: &Path) -> Option<u32> {
    let link = std::fs::read_link(dir.join(STATE_DIR).join(CURRENT)).ok()?;
    let generation = link.to_str()?.parse().ok()?;
    generation_dir(dir, generation)
        .is_dir()
        .then_some(generation)
}

pub(super) fn generation_dir(dir: &Path, generation: u32) -> PathBuf {
    dir.join(STATE_DIR).join(generation.to_string())
}

pub(super) fn target_through_current(name: &OsStr) -> PathBuf {
    Path::new(STATE_DIR).join(CURRENT).join(name)
}

pub(super) fn links_through_current(dir: &Path, name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref();
    std::fs::read_link(dir.join(name)).is_ok_and(|target| target == target_through_current(name))
}

/// The names in a destination that are links through `current`.
pub(super) fn links_of(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = names_of(dir)?;
    names.retain(|name| links_through_current(dir, name));
    Ok(names)
}

/// The names in a directory, sorted.
pub(super) fn names_of(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(dir).map_err(Error::Io)? {
        names.push(entry.map_err(Error::Io)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// A directory with the mode that everybody expects, whatever the umask is.
pub(super) fn create_dir(path: &Path) -> Result<()> {
    fs_err::create_dir(path).map_err(Error::Io)?;
    set_mode(path, mode_of_dir(path)?)
}

/// What a directory's mode is to be: a project's members may go on with what one of them has begun.
pub(super) fn mode_of_dir(path: &Path) -> Result<u32> {
    Ok(if is_shared(parent_of(path))? {
        MODE_SHARED_DIR
    } else {
        MODE_EXECUTABLE
    })
}

/// Whether a directory belongs to a group: what is made in it is the group's, and the group may
/// write.
pub(super) fn is_shared(dir: &Path) -> Result<bool> {
    let metadata = fs_err::metadata(dir).map_err(Error::Io)?;
    Ok(metadata.mode() & SHARED == SHARED)
}

/// Returns the directory that contains the last name of the path.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().expect("only the root directory has none")
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(Error::Io)
}
