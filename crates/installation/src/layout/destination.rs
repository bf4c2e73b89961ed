//! Responsible for the state of a destination.

use std::path::{Path, PathBuf};

use super::claim::{Claim, Replacing};
use super::paths::{STATE_DIR, find_current, generation_dir, links_through_current, names_of};
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
    Condense {
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
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                let path = dir.ancestors().find(|path| path.symlink_metadata().is_ok());
                let path = path.unwrap_or(&dir).to_owned();
                return Err(Error::NotADirectory { path });
            }
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

    /// Returns the directory of the visible generation or of Tykky's installation, if there is one.
    pub fn visible_dir(&self) -> Option<PathBuf> {
        match self.state {
            State::Tykky => Some(self.dir.clone()),
            State::Condense { generation, .. } => Some(generation_dir(&self.dir, generation)),
            State::Absent | State::Empty | State::Foreign => None,
        }
    }

    /// Checks whether [`Destination::claim`] would refuse the destination, as far as that can be
    /// known without writing.
    ///
    /// # Errors
    /// Returns the errors of [`Destination::claim`], except [`Error::Busy`].
    pub fn check_claim(&self, replace: bool) -> Result<()> {
        self.refuse(replace)?;
        self.check_writable()
    }

    /// Checks whether [`Destination::claim_for_update`] would refuse the destination, as far as
    /// that can be known without writing.
    ///
    /// # Errors
    /// Returns the errors of [`Destination::claim_for_update`], except [`Error::Busy`].
    pub fn check_claim_for_update(&self) -> Result<()> {
        match self.state {
            State::Tykky | State::Condense { .. } => self.check_writable(),
            _ => Err(Error::NoInstallation {
                path: self.dir.clone(),
            }),
        }
    }

    /// Checks that this process may write into the destination, or into the directory in which the
    /// destination would be created.
    fn check_writable(&self) -> Result<()> {
        let parents = self.dir.ancestors();
        let there = match self.state {
            State::Absent => parents.skip(1).find(|dir| dir.exists()),
            _ => Some(self.dir.as_path()),
        };
        let Some(there) = there else { return Ok(()) };
        if !there.is_dir() {
            return Err(Error::NotADirectory {
                path: there.to_owned(),
            });
        }
        let writable = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(there, writable).map_err(|error| Error::at("write into", there, error))
    }

    /// Refuses a destination by its state.
    fn refuse(&self, replace: bool) -> Result<()> {
        let path = self.dir.clone();
        match self.state {
            State::Tykky => Err(Error::TykkyInstallation { path }),
            State::Foreign => Err(Error::NotEmpty { path }),
            State::Condense { .. } if !replace => Err(Error::AlreadyInstalled { path }),
            State::Absent | State::Empty | State::Condense { .. } => Ok(()),
        }
    }

    /// Reserves an existing installation for a change. An installation of Tykky becomes the first
    /// generation when the next generation is published.
    ///
    /// # Errors
    /// Returns [`Error::NoInstallation`] if there is no installation, [`Error::Busy`] while a build
    /// runs, and [`Error::Io`] if the destination cannot be written.
    pub fn claim_for_update(self) -> Result<Claim> {
        match self.state {
            State::Tykky | State::Condense { .. } => Claim::within(self.dir, Replacing::Any),
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
        self.refuse(replace)?;
        match self.state {
            State::Absent => Claim::beside(self.dir),
            _ => Claim::within(
                self.dir,
                if replace {
                    Replacing::Generation
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
        return Ok(State::Condense {
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
