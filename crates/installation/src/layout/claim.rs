//! Responsible for allowing one build at a time into a destination, and for removing the remains of
//! killed builds.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use condense_publish::{
    Lock, OwnerState, Staging, discard_quietly, remove_if_ended, remove_tree, sweep, sync_directory,
};

use super::adopt::{ADOPTED, complete_adoption};
use super::destination::{State, find_state};
use super::lock::{lock, mode_of_lock};
use super::paths::{
    LOCK, STATE_DIR, create_dir, find_current, generation_dir, links_of, mode_of_dir, names_of,
    parent_of, set_mode,
};
use crate::error::{Error, Result};

/// Number of random letters at the end of a hidden sibling's name, `.NAME.condense-XXXXXX`.
const RANDOM_LETTERS: usize = 6;

/// Name of an image that is being written. The next build removes every name that ends in `.tmp`.
const IMAGE_IN_THE_MAKING: &str = "img.sqfs.tmp";

/// End of the name of a hidden sibling that version 0.1.0 made and has not locked yet.
const UNLOCKED_SUFFIX: &str = ".new";

/// Age at which an unlocked sibling belongs to a killed build. A live build locks it within
/// microseconds.
const GRACE: Duration = Duration::from_secs(60);

/// The kinds of installation that a build may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacing {
    /// At most an empty directory.
    Nothing,
    /// A generation of a condense installation.
    Generation,
    /// A condense installation or one made by Tykky.
    Any,
}

/// A destination that is reserved for one build. Dropping the claim leaves everything as it was.
#[derive(Debug)]
pub struct Claim {
    /// Absolute path of the destination.
    pub(super) dir: PathBuf,
    /// Directory that holds the generations of this build: the destination, or its hidden sibling.
    pub(super) root: PathBuf,
    pub(super) generation: u32,
    /// Directories above the destination that this build has created.
    parents: Parents,
    /// Whether the destination held no visible generation before.
    pub(super) first: bool,
    /// Number of the visible generation, if there is one.
    visible: Option<u32>,
    /// Whether Tykky's installation becomes a generation when this build is published.
    pub(super) adopts: bool,
    pub(super) published: bool,
    /// Lock that is held as long as this claim exists.
    lock: Option<Lock>,
}

impl Claim {
    /// Returns the destination directory: absolute, links kept.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the number of the generation that this build makes.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns the directory of the visible generation or of Tykky's installation. It does not
    /// change while this claim exists.
    pub fn visible_dir(&self) -> Option<PathBuf> {
        if self.adopts {
            return Some(self.dir.clone());
        }
        self.visible
            .map(|generation| generation_dir(&self.dir, generation))
    }

    /// Returns the path to which the caller may write the image before it is staged. The path is on
    /// the file system of the destination, so that staging the image is a rename. Dropping the
    /// claim removes a file at this path.
    pub fn image_path(&self) -> PathBuf {
        self.root.join(STATE_DIR).join(IMAGE_IN_THE_MAKING)
    }

    /// Checks whether the destination will appear as a whole, by a rename of its hidden sibling.
    pub(super) fn is_beside(&self) -> bool {
        self.root != self.dir
    }

    /// Reserves a directory that does not exist yet, by creating a hidden sibling.
    pub(super) fn beside(dir: PathBuf) -> Result<Self> {
        let parent = dir.parent().expect("the root directory exists").to_owned();
        let parents = Parents::create(&parent)?;
        let prefix = sibling_prefix(&dir);
        let (root, lock) = make_sibling(&dir, &parent, &prefix)?;
        let claim = Self {
            dir,
            root,
            generation: 1,
            first: true,
            visible: None,
            adopts: false,
            published: false,
            lock,
            parents,
        };
        // The search for other siblings begins only now, when other builds can see this one. Of two
        // builds that start at the same time, at least one refuses.
        clear_siblings(&claim, &parent, &prefix)?;
        Ok(claim)
    }

    /// Reserves a directory that exists.
    pub(super) fn within(dir: PathBuf, replacing: Replacing) -> Result<Self> {
        let state_dir = dir.join(STATE_DIR);
        let fresh = !state_dir.is_dir();
        if fresh {
            create_dir(&state_dir)?;
        }
        let lock = lock(&dir, &state_dir.join(LOCK)).inspect_err(|error| {
            if fresh && !matches!(error, Error::Busy { .. }) {
                let _ = fs_err::remove_dir_all(&state_dir);
            }
        })?;
        repair(&dir)?;
        // The state is read again, because no other build can write now, and a first build may have
        // ended in between.
        let mut adopts = false;
        let visible = match find_state(&dir)? {
            State::Condense { .. } if replacing == Replacing::Nothing => {
                return Err(Error::AlreadyInstalled { path: dir });
            }
            State::Condense { generation, .. } => Some(generation),
            State::Empty => None,
            State::Tykky if replacing == Replacing::Any => {
                adopts = true;
                None
            }
            State::Absent | State::Tykky | State::Foreign => {
                if fresh {
                    fs_err::remove_dir_all(&state_dir).map_err(Error::Io)?;
                }
                return Err(Error::NotEmpty { path: dir });
            }
        };
        let mut newest: u32 = if adopts { ADOPTED } else { 0 };
        for name in names_of(&state_dir)? {
            let number = name.to_str().and_then(|name| name.parse().ok());
            newest = newest.max(number.unwrap_or(0));
        }
        Ok(Self {
            root: dir.clone(),
            dir,
            generation: newest + 1,
            first: visible.is_none(),
            visible,
            adopts,
            published: false,
            lock: Some(lock),
            parents: Parents::default(),
        })
    }

    /// Waits until the name of the destination is on disk.
    pub(super) fn store_name(&self) -> Result<()> {
        let above = self.parents.0.iter().rev();
        for path in std::iter::once(&self.dir).chain(above) {
            sync_directory(parent_of(path))?;
        }
        Ok(())
    }

    fn clean(&mut self) {
        if self.is_beside() {
            discard_quietly(&self.root, self.lock.take());
            return;
        }
        if find_current(&self.root) == Some(self.generation) {
            // The failure came after the generation was published, so it is already in use.
            return;
        }
        let state_dir = self.root.join(STATE_DIR);
        let _ = fs_err::remove_file(self.image_path());
        // A generation that is partly removed must never look like a complete one.
        let own = generation_dir(&self.root, self.generation);
        let _ = std::fs::rename(&own, own.with_extension("tmp"));
        for generation in [ADOPTED, self.generation] {
            remove_tree(&state_dir.join(format!("{generation}.tmp")));
        }
        if self.first {
            let links = if self.adopts {
                None
            } else {
                links_of(&self.root).ok()
            };
            for name in links.into_iter().flatten() {
                let _ = fs_err::remove_file(self.root.join(name));
            }
            let others = fs_err::read_dir(&state_dir)
                .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != LOCK));
            if !others {
                let _ = fs_err::remove_dir_all(&state_dir);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.published {
            self.clean();
        }
    }
}

/// Returns `.NAME.condense-`, the part of a hidden sibling's name before the random letters.
fn sibling_prefix(dir: &Path) -> OsString {
    let name = dir
        .file_name()
        .expect("the root directory exists")
        .as_bytes();
    // File names are limited to 255 bytes. Two long names may get the same prefix, which is
    // harmless.
    let name = &name[..name.len().min(200)];
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(name));
    prefix.push(".condense-");
    prefix
}

/// Creates a hidden directory that is already locked when it gets its name.
fn make_sibling(dir: &Path, parent: &Path, prefix: &OsStr) -> Result<(PathBuf, Option<Lock>)> {
    loop {
        let mut staging = Staging::create(parent)?;
        let state_dir = staging.path().join(STATE_DIR);
        set_mode(staging.path(), mode_of_dir(dir)?)?;
        set_mode(&state_dir, mode_of_dir(&state_dir)?)?;
        let lock = state_dir.join(LOCK);
        set_mode(&lock, mode_of_lock(&lock)?)?;
        let letters = staging.path().as_os_str().as_bytes();
        let letters = &letters[letters.len() - RANDOM_LETTERS..];
        let mut name = prefix.to_owned();
        name.push(OsStr::from_bytes(letters));
        if staging.rename(&name)? {
            return Ok(staging.into_parts());
        }
    }
}

/// Removes the remains of killed builds into the same destination. Returns an error if one of the
/// builds is alive.
fn clear_siblings(claim: &Claim, parent: &Path, prefix: &OsStr) -> Result<()> {
    for entry in fs_err::read_dir(parent).map_err(Error::Io)? {
        let entry = entry.map_err(Error::Io)?;
        let (name, path) = (entry.file_name(), entry.path());
        let Some(rest) = name.as_bytes().strip_prefix(prefix.as_bytes()) else {
            continue;
        };
        if path == claim.root || !path.is_dir() {
            continue;
        }
        if rest.len() == RANDOM_LETTERS {
            match remove_if_ended(&path) {
                OwnerState::Running => {
                    return Err(Error::Busy {
                        path: claim.dir.clone(),
                        held: path,
                    });
                }
                OwnerState::NoLock => discard_quietly(&path, None),
                OwnerState::Ended | OwnerState::Unknown => {}
            }
        } else if rest.len() == RANDOM_LETTERS + UNLOCKED_SUFFIX.len()
            && rest.ends_with(UNLOCKED_SUFFIX.as_bytes())
        {
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > GRACE) {
                discard_quietly(&path, None);
            }
        }
    }
    Ok(())
}

/// Directories above the destination that a build has created. Dropping this value removes those
/// that are still empty.
#[derive(Debug, Default)]
struct Parents(Vec<PathBuf>);

impl Parents {
    fn create(dir: &Path) -> Result<Self> {
        let missing: Vec<&Path> = dir
            .ancestors()
            .take_while(|ancestor| !ancestor.exists())
            .collect();
        let mut parents = Self::default();
        for path in missing.into_iter().rev() {
            match fs_err::create_dir(path) {
                Ok(()) => parents.0.push(path.to_owned()),
                Err(error)
                    if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(Error::Io(error)),
            }
        }
        Ok(parents)
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// Removes the remains of killed builds, and completes an adoption that a killed build has begun.
/// The caller must hold the lock.
pub(super) fn repair(dir: &Path) -> Result<()> {
    sweep(parent_of(dir));
    let state_dir = dir.join(STATE_DIR);
    for name in names_of(&state_dir)? {
        let path = state_dir.join(name);
        if path.extension() == Some("tmp".as_ref()) {
            remove(&path)?;
        }
    }
    complete_adoption(dir)
}

fn remove(path: &Path) -> Result<()> {
    let is_dir = fs_err::symlink_metadata(path).map_err(Error::Io)?.is_dir();
    if is_dir {
        remove_tree(path);
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        // This call returns the error that explains why the directory cannot be removed.
        fs_err::remove_dir_all(path)
    } else {
        fs_err::remove_file(path)
    }
    .map_err(Error::Io)
}
