//! Responsible for the state of a destination.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::claim::{Claim, Replacing};
use super::{CURRENT, MODE_EXECUTABLE, MODE_SHARED_DIR, SHARED, STATE_DIR};
use crate::bind::check_destination;
use crate::error::{Error, Result};
use crate::receipt::Receipt;

/// A directory to install into, and the state in which it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    dir: PathBuf,
    state: State,
}

/// State of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The directory does not exist.
    Absent,
    /// An empty directory, or one where a first build was interrupted before it became visible.
    Empty,
    /// An installation made by condense.
    Ours {
        /// Number of the visible generation.
        generation: u32,
        /// Receipt of this generation, if it can be read. A new generation should keep the mount
        /// point of the receipt.
        receipt: Option<Box<Receipt>>,
    },
    /// An installation made by Tykky.
    Tykky,
    /// Files that belong to no installation.
    Foreign,
}

impl Destination {
    /// Finds out the state of a destination without changing anything.
    ///
    /// # Errors
    /// Returns [`Error::CannotBind`] for a path that cannot be bound into a container,
    /// [`Error::NotADirectory`] for a file or a dangling link, and [`Error::Io`] if the destination
    /// cannot be read.
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

    /// Returns the destination directory: absolute, links kept.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the state in which the destination was found.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Reserves an existing installation for a change. An installation of Tykky becomes the first
    /// generation when the next generation is published.
    ///
    /// # Errors
    /// Returns [`Error::NoInstallation`] if there is no installation, [`Error::Busy`] while a build
    /// runs, and [`Error::Io`] if the destination cannot be written.
    pub fn claim_for_update(self) -> Result<Claim> {
        match self.state {
            State::Tykky | State::Ours { .. } => Claim::within(self.dir, Replacing::Change),
            _ => Err(Error::NoInstallation { path: self.dir }),
        }
    }

    /// Reserves the destination for one build. This call proves that the destination can be written
    /// to, and removes the remains of killed builds.
    ///
    /// # Errors
    /// Returns [`Error::AlreadyInstalled`] if there is an installation and `replace` is false,
    /// [`Error::TykkyInstallation`], [`Error::NotEmpty`] or [`Error::Busy`] if the destination
    /// cannot be reserved, and [`Error::Io`] if it cannot be written.
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

/// Returns the state of a directory.
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

/// Returns the number of the visible generation, if there is one.
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

/// Returns the names in a destination that are links through `current`.
pub(super) fn links_of(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = names_of(dir)?;
    names.retain(|name| links_through_current(dir, name));
    Ok(names)
}

/// Returns the names in a directory, sorted.
pub(super) fn names_of(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(dir).map_err(Error::Io)? {
        names.push(entry.map_err(Error::Io)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Creates a directory with its standard mode, whatever the umask is.
pub(super) fn create_dir(path: &Path) -> Result<()> {
    fs_err::create_dir(path).map_err(Error::Io)?;
    set_mode(path, mode_of_dir(path)?)
}

/// Returns the mode for a directory. In a shared directory, every member of the project gets write
/// access.
pub(super) fn mode_of_dir(path: &Path) -> Result<u32> {
    Ok(if is_shared(parent_of(path))? {
        MODE_SHARED_DIR
    } else {
        MODE_EXECUTABLE
    })
}

/// Checks whether a directory is shared by a group: new files in it get its group, and the group
/// has write access.
pub(super) fn is_shared(dir: &Path) -> Result<bool> {
    let metadata = fs_err::metadata(dir).map_err(Error::Io)?;
    Ok(metadata.mode() & SHARED == SHARED)
}

/// Returns the directory that contains the last component of the path.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().expect("only the root directory has none")
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(Error::Io)
}
