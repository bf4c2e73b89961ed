//! Responsible for what lies at a destination, and for one build at a time into it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::{CURRENT, LINKS, LOCK, MODE_EXECUTABLE, MODE_PLAIN, STATE_DIR};
use crate::bind::check_destination;
use crate::error::{Error, Result};
use crate::receipt::Receipt;

/// A hidden sibling is called `.NAME.condense-` and this many random letters.
const RANDOM_LETTERS: usize = 6;

/// Behind the name of a hidden sibling that is not locked yet.
const NEWBORN: &str = ".new";

/// What is still newborn after this time was killed; a live build needs microseconds.
const GRACE: Duration = Duration::from_secs(60);

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
    /// [`Error::CannotBind`] for a path that no container can show, [`Error::NotADirectory`] for a file or a dangling link,
    /// [`Error::Io`] if it cannot be looked at.
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

    /// Reserves the destination for one build. Proves that it can be written to, and clears away what killed builds left.
    ///
    /// # Errors
    /// [`Error::AlreadyInstalled`] without `replace`, [`Error::TykkyInstallation`], [`Error::NotEmpty`] or [`Error::Busy`]
    /// where it is refused; [`Error::Io`] if the destination cannot be written.
    pub fn claim(self, replace: bool) -> Result<Claim> {
        let path = self.dir.clone();
        match self.state {
            State::Tykky => Err(Error::TykkyInstallation { path }),
            State::Foreign => Err(Error::NotEmpty { path }),
            State::Ours { .. } if !replace => Err(Error::AlreadyInstalled { path }),
            State::Absent => Claim::beside(self.dir),
            State::Empty | State::Ours { .. } => Claim::within(self.dir, replace),
        }
    }
}

/// A destination reserved for one build. Dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Claim {
    /// The destination.
    pub(super) dir: PathBuf,
    /// Where the generations of this build lie: the destination, or its hidden sibling.
    pub(super) root: PathBuf,
    pub(super) generation: u32,
    /// Directories above the destination that did not exist before.
    _parents: Parents,
    /// Nothing of ours was visible before.
    pub(super) first: bool,
    pub(super) published: bool,
    /// Open and locked for as long as this lives.
    _lock: File,
}

impl Claim {
    /// The destination: absolute, links kept.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of the generation that this build makes.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Says whether the destination appears as a whole, by a rename.
    pub(super) fn is_beside(&self) -> bool {
        self.root != self.dir
    }

    /// Reserves a directory that does not exist yet, by a hidden sibling of it.
    fn beside(dir: PathBuf) -> Result<Self> {
        let parent = dir.parent().expect("the root directory exists").to_owned();
        let parents = Parents::create(&parent)?;
        let prefix = sibling_prefix(&dir);
        // Born under another name: a sibling without a lock could not be told from what a killed build left.
        let newborn = tempfile::Builder::new()
            .prefix(&prefix)
            .rand_bytes(RANDOM_LETTERS)
            .suffix(NEWBORN)
            .tempdir_in(&parent)
            .map_err(|error| Error::at("write into", &parent, error))?;
        let state_dir = newborn.path().join(STATE_DIR);
        create_dir(&state_dir)?;
        let lock = lock(&dir, &state_dir.join(LOCK))?;
        let root = newborn.path().with_extension("");
        fs_err::rename(newborn.path(), &root).map_err(Error::Io)?;
        let _ = newborn.keep();
        let claim = Self {
            dir,
            root,
            generation: 1,
            first: true,
            published: false,
            _lock: lock,
            _parents: parents,
        };
        // Looked for only now that others can see this one: of two that start at once, at least one refuses.
        clear_siblings(&claim, &parent, &prefix)?;
        Ok(claim)
    }

    /// Reserves a directory that exists.
    fn within(dir: PathBuf, replace: bool) -> Result<Self> {
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
        // Looked at again, now that nobody else can write: a first build may have ended in between.
        let first = match find_state(&dir)? {
            State::Ours { .. } if !replace => return Err(Error::AlreadyInstalled { path: dir }),
            State::Ours { .. } => false,
            State::Empty => true,
            State::Absent | State::Tykky | State::Foreign => {
                if fresh {
                    fs_err::remove_dir_all(&state_dir).map_err(Error::Io)?;
                }
                return Err(Error::NotEmpty { path: dir });
            }
        };
        let mut newest: u32 = 0;
        for entry in fs_err::read_dir(&state_dir).map_err(Error::Io)? {
            let entry = entry.map_err(Error::Io)?;
            let path = entry.path();
            if path.extension() == Some("tmp".as_ref()) {
                remove(&path)?;
            } else if let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                newest = newest.max(number);
            }
        }
        Ok(Self {
            root: dir.clone(),
            dir,
            generation: newest + 1,
            first,
            published: false,
            _lock: lock,
            _parents: Parents::default(),
        })
    }

    fn clean(&self) {
        if self.is_beside() {
            let _ = fs_err::remove_dir_all(&self.root);
            return;
        }
        let state_dir = self.root.join(STATE_DIR);
        for name in [
            format!("{}.tmp", self.generation),
            self.generation.to_string(),
        ] {
            let _ = fs_err::remove_dir_all(state_dir.join(name));
        }
        if self.first {
            for name in LINKS
                .iter()
                .filter(|name| links_through_current(&self.root, name))
            {
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

/// What a directory holds.
fn find_state(dir: &Path) -> Result<State> {
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
    for entry in fs_err::read_dir(dir).map_err(Error::Io)? {
        let name = entry.map_err(Error::Io)?.file_name();
        let leftover = name == STATE_DIR
            || LINKS
                .iter()
                .any(|link| *link == name && links_through_current(dir, link));
        empty &= leftover;
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
fn find_current(dir: &Path) -> Option<u32> {
    let link = std::fs::read_link(dir.join(STATE_DIR).join(CURRENT)).ok()?;
    let generation = link.to_str()?.parse().ok()?;
    generation_dir(dir, generation)
        .is_dir()
        .then_some(generation)
}

pub(super) fn generation_dir(dir: &Path, generation: u32) -> PathBuf {
    dir.join(STATE_DIR).join(generation.to_string())
}

pub(super) fn target_through_current(name: &str) -> PathBuf {
    [STATE_DIR, CURRENT, name].iter().collect()
}

pub(super) fn links_through_current(dir: &Path, name: &str) -> bool {
    std::fs::read_link(dir.join(name)).is_ok_and(|target| target == target_through_current(name))
}

/// A directory with the mode that everybody expects, whatever the umask is.
pub(super) fn create_dir(path: &Path) -> Result<()> {
    fs_err::create_dir(path).map_err(Error::Io)?;
    set_mode(path, MODE_EXECUTABLE)
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(Error::Io)
}

/// `.NAME.condense-`, in front of the random letters.
fn sibling_prefix(dir: &Path) -> OsString {
    let name = dir
        .file_name()
        .expect("the root directory exists")
        .as_bytes();
    // 255 bytes are the limit for a name; what two long names have in common makes them neighbours, which is harmless.
    let name = &name[..name.len().min(200)];
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(name));
    prefix.push(".condense-");
    prefix
}

/// Removes what killed builds of the same destination left; refuses if one of them is alive.
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
            match File::open(path.join(STATE_DIR).join(LOCK)).map(|file| try_lock(&file)) {
                Ok(Locking::Held) => {
                    return Err(Error::Busy {
                        path: claim.dir.clone(),
                        held: path,
                    });
                }
                Ok(Locking::Unknown) => {}
                Ok(Locking::Free) | Err(_) => remove(&path)?,
            }
        } else if rest.len() == RANDOM_LETTERS + NEWBORN.len() && rest.ends_with(NEWBORN.as_bytes())
        {
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > GRACE) {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

/// What came of trying to lock a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Locking {
    /// It is ours now.
    Free,
    /// Somebody else has it.
    Held,
    /// The file system has no locks: Lustre mounted without them, for example. Builds go on without.
    Unknown,
}

fn try_lock(file: &File) -> Locking {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Locking::Free,
        Err(rustix::io::Errno::WOULDBLOCK) => Locking::Held,
        Err(_) => Locking::Unknown,
    }
}

/// Opens and locks a lock file, or says who is in the way.
fn lock(dir: &Path, path: &Path) -> Result<File> {
    loop {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(Error::Io)?
            .into_parts()
            .0;
        if try_lock(&file) == Locking::Held {
            return Err(Error::Busy {
                path: dir.to_owned(),
                held: path.to_owned(),
            });
        }
        // An interrupted first build removes its lock file; a lock on a removed file would protect nothing.
        let locked = file
            .metadata()
            .map_err(|error| Error::at("look at", path, error))?;
        match std::fs::metadata(path) {
            Ok(there) if there.ino() == locked.ino() && there.dev() == locked.dev() => {
                set_mode(path, MODE_PLAIN)?;
                return Ok(file);
            }
            _ => {}
        }
    }
}

/// Directories that a build made on the way to its destination; they go again if they are still empty.
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

fn remove(path: &Path) -> Result<()> {
    let is_dir = fs_err::symlink_metadata(path).map_err(Error::Io)?.is_dir();
    if is_dir {
        fs_err::remove_dir_all(path)
    } else {
        fs_err::remove_file(path)
    }
    .map_err(Error::Io)
}
