//! Responsible for access to files below a directory that packages and scripts have filled, such
//! that no link in it leads to files outside of it.

mod error;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

pub use error::Error;

/// Number of names that are tried for a new file. If all of them exist, writing fails.
const NAMES_TRIED: u64 = 100;
/// Number of links that are followed, which is the kernel's limit.
const LINKS_FOLLOWED: usize = 40;
/// Mode of an executable file.
const PROGRAM: u32 = 0o755;
/// Mode bits that are kept.
const MODE: u32 = 0o777;
/// Flags to open a directory only as the start of further paths.
const PLACE: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Number in the name of the next new file, so that names differ.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// An open directory. Paths are relative to it, and links below it are followed as long as they
/// stay below it. Writing creates a new file and renames it, so that a link of that name is
/// replaced and never followed.
///
/// Each component of a path is opened by itself, and the kernel follows no link. Changes of the
/// directories during this cannot lead out either. `openat2` does the same, but older kernels do
/// not have it, and containers may block it.
///
/// # Examples
/// ```
/// # let root = tempfile::tempdir().expect("a directory");
/// let within = condense_within::Within::open(root.path())?;
/// std::os::unix::fs::symlink("/etc/hostname", root.path().join("history")).expect("a link");
/// assert!(within.read("history").is_err());
/// within.write("history", "mine")?;
/// assert_eq!(within.read("history")?.as_deref(), Some(&b"mine"[..]));
/// # Ok::<(), condense_within::Error>(())
/// ```
#[derive(Debug)]
pub struct Within {
    dir: OwnedFd,
    path: PathBuf,
}

/// Access mode for opening a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Access for reading only.
    Read,
    /// Access for reading and writing.
    Change,
}

/// Reason why a path could not be opened.
enum OpenError {
    LeadsOut,
    System(io::Error),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl OpenError {
    fn is_missing(&self) -> bool {
        matches!(self, Self::System(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    }
}

impl Within {
    /// Opens a directory at a trusted path. Links on the way to it are followed.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the directory is missing or is another kind of file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &path, flags, Mode::empty());
        Ok(Self {
            dir: dir.map_err(|errno| Error::io("open", &path)(errno.into()))?,
            path,
        })
    }

    /// Returns the full path for a path below the directory, for messages and for callers that do
    /// not follow links.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        match below.as_ref() {
            below if below == Path::new("") => self.path.clone(),
            below => self.path.join(below),
        }
    }

    /// Opens a directory below this one, with the same protection against links.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads out of the directory, and [`Error::Io`] if the
    /// operation fails.
    pub fn dir(&self, below: impl AsRef<Path>) -> Result<Self, Error> {
        let below = below.as_ref();
        let open = || {
            let (parent, name) = self.locate(below, true)?;
            Ok(rustix::fs::openat(parent, &name, PLACE, Mode::empty())?)
        };
        Ok(Self {
            dir: open().map_err(|error| self.error("open", below, error))?,
            path: self.path(below),
        })
    }

    /// Creates a directory and its missing parents.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads out of the directory, and [`Error::Io`] if the
    /// operation fails.
    pub fn make_dir(&self, below: impl AsRef<Path>) -> Result<(), Error> {
        let mut made = PathBuf::new();
        for part in below.as_ref().components() {
            made.push(part);
            let one = || {
                let (parent, name) = self.locate(&made, true)?;
                match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(MODE)) {
                    Err(Errno::EXIST) if is_dir(&parent, &name) => Ok(()),
                    made => Ok(made?),
                }
            };
            one().map_err(|error| self.error("create", &made, error))?;
        }
        Ok(())
    }

    /// Creates a directory, or opens an existing one that is not a link.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] for a link, whatever its target, and [`Error::Io`] if the
    /// operation fails.
    pub fn make_own_dir(&self, name: &str) -> Result<Self, Error> {
        let below = Path::new(name);
        let make = || {
            let (parent, name) = self.locate(below, false)?;
            match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(MODE)) {
                Err(Errno::EXIST) if target(&parent, &name)?.is_some() => Err(OpenError::LeadsOut),
                Err(Errno::EXIST) => Ok(()),
                made => Ok(made?),
            }
        };
        make().map_err(|error| self.error("create", below, error))?;
        self.dir(below)
    }

    /// Writes a file. A file or link that had the name before is replaced. The mode of an earlier
    /// file is kept.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads to a parent directory outside, and [`Error::Io`]
    /// if the operation fails.
    pub fn write(&self, below: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        self.put(below.as_ref(), bytes.as_ref(), None)
    }

    /// Writes an executable file (mode 0755) like [`Within::write`].
    ///
    /// # Errors
    /// Returns the errors of [`Within::write`].
    pub fn write_program(
        &self,
        below: impl AsRef<Path>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.put(below.as_ref(), bytes.as_ref(), Some(PROGRAM))
    }

    fn put(&self, below: &Path, bytes: &[u8], mode: Option<u32>) -> Result<(), Error> {
        let write = || -> Result<(), OpenError> {
            let (parent, name) = self.locate(below, false)?;
            let mode = mode.or_else(|| {
                let found = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
                is_file.then_some(found.st_mode & MODE)
            });
            let (new, mut file) = new_file(&parent)?;
            let written = file.write_all(bytes).and_then(|()| {
                if let Some(mode) = mode {
                    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
                }
                Ok(rustix::fs::renameat(&parent, &new, &parent, &name)?)
            });
            if written.is_err() {
                // An error of the removal is ignored; the error of writing is returned.
                let _ = rustix::fs::unlinkat(&parent, &new, AtFlags::empty());
            }
            Ok(written?)
        };
        write().map_err(|error| self.error("write", below, error))
    }

    /// Creates a symbolic link. Its target is not checked.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads to a parent directory outside, and [`Error::Io`]
    /// if the operation fails or the name exists.
    pub fn link(&self, target: impl AsRef<Path>, below: impl AsRef<Path>) -> Result<(), Error> {
        let below = below.as_ref();
        let make = || {
            let (parent, name) = self.locate(below, false)?;
            Ok(rustix::fs::symlinkat(target.as_ref(), parent, &name)?)
        };
        make().map_err(|error| self.error("create", below, error))
    }

    /// Gives a file a second name (a hard link). A link in the last component of `file` is not
    /// followed.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads to a parent directory outside, and [`Error::Io`]
    /// if the operation fails or the name exists.
    pub fn hard_link(&self, file: &Path, below: &Path) -> Result<(), Error> {
        let make = || {
            let (from, old) = self.locate(file, false)?;
            let (parent, name) = self.locate(below, false)?;
            Ok(rustix::fs::linkat(
                from,
                &old,
                parent,
                &name,
                AtFlags::empty(),
            )?)
        };
        make().map_err(|error| self.error("create", below, error))
    }

    /// Moves a file or link out of another directory, which is on the same file system. A file or
    /// link that had the name before is replaced.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads to a parent directory outside, and [`Error::Io`]
    /// if the operation fails.
    pub fn move_from(&self, other: &Self, from: &Path, below: &Path) -> Result<(), Error> {
        let (dir, old) = other
            .locate(from, false)
            .map_err(|error| other.error("move", from, error))?;
        let rename = || {
            let (parent, name) = self.locate(below, false)?;
            Ok(rustix::fs::renameat(dir, &old, parent, &name)?)
        };
        rename().map_err(|error| self.error("create", below, error))
    }

    /// Reads the target of a symbolic link. Returns `None` if the path is not a link or is missing.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads to a parent directory outside, and [`Error::Io`]
    /// if the operation fails.
    pub fn link_target(&self, below: impl AsRef<Path>) -> Result<Option<PathBuf>, Error> {
        let below = below.as_ref();
        let read = || {
            let (parent, name) = self.locate(below, false)?;
            target(&parent, &name)
        };
        match read() {
            Err(error) if error.is_missing() => Ok(None),
            read => read.map_err(|error| self.error("read", below, error)),
        }
    }

    /// Reads the bytes of a file. Returns `None` if the file is missing.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads out of the directory, and [`Error::Io`]
    /// if the path is not a regular file, is longer than [`condense_input::RECORD_MOST`]
    /// bytes, or cannot be read.
    pub fn read(&self, below: impl AsRef<Path>) -> Result<Option<Vec<u8>>, Error> {
        let below = below.as_ref();
        let Some(file) = self.open_file(below, Access::Read)? else {
            return Ok(None);
        };
        let read = condense_input::read_opened(file, self.path(below), condense_input::RECORD_MOST);
        read.map(Some)
            .map_err(|error| self.error("read", below, error.into()))
    }

    /// Reads the text of a file. Returns `None` if the file is missing.
    ///
    /// # Errors
    /// Returns the errors of [`Within::read`], and [`Error::Io`] for bytes that are not UTF-8.
    pub fn read_text(&self, below: impl AsRef<Path>) -> Result<Option<String>, Error> {
        let below = below.as_ref();
        let text = self.read(below)?.map(String::from_utf8).transpose();
        text.map_err(|error| {
            let error = io::Error::new(ErrorKind::InvalidData, error.utf8_error());
            self.error("read", below, error.into())
        })
    }

    /// Reads the bytes of a file that must exist.
    ///
    /// # Errors
    /// Returns the errors of [`Within::read`], and [`Error::Io`] for a missing file.
    pub fn read_required(&self, below: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let below = below.as_ref();
        let found = self.read(below)?;
        found.ok_or_else(|| self.error("read", below, Errno::NOENT.into()))
    }

    /// Reads the text of a file that must exist.
    ///
    /// # Errors
    /// Returns the errors of [`Within::read_text`], and [`Error::Io`] for a missing file.
    pub fn read_required_text(&self, below: impl AsRef<Path>) -> Result<String, Error> {
        let below = below.as_ref();
        let found = self.read_text(below)?;
        found.ok_or_else(|| self.error("read", below, Errno::NOENT.into()))
    }

    /// Opens an existing file. Returns `None` if the file is missing. Opening a FIFO does not
    /// block, but is an error.
    pub fn open_file(&self, below: &Path, access: Access) -> Result<Option<File>, Error> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Change => OFlags::RDWR,
        };
        let open = || -> Result<File, OpenError> {
            let (parent, name) = self.locate(below, true)?;
            let flags = flags | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::openat(parent, &name, flags, Mode::empty())?);
            if file.metadata()?.is_file() {
                return Ok(file);
            }
            Err(io::Error::new(ErrorKind::InvalidInput, "it is no file").into())
        };
        match open() {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(self.error("open", below, error)),
        }
    }

    /// Lists the names in a directory, sorted. The list is empty if there is no directory.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads out of the directory, and [`Error::Io`] if the
    /// operation fails.
    pub fn names(&self, below: impl AsRef<Path>) -> Result<Vec<OsString>, Error> {
        Ok(self.entries(below.as_ref())?.into_keys().collect())
    }

    /// Lists the names in a directory with their file types. Links are listed as links. The list is
    /// empty if there is no directory.
    pub fn entries(&self, below: &Path) -> Result<BTreeMap<OsString, FileType>, Error> {
        let read = || -> Result<_, OpenError> {
            let (parent, name) = self.locate(below, true)?;
            let flags = PLACE.difference(OFlags::PATH);
            let dir = rustix::fs::openat(parent, &name, flags, Mode::empty())?;
            let mut entries = BTreeMap::new();
            for entry in Dir::read_from(&dir)? {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                let kind = match entry.file_type() {
                    FileType::Unknown => {
                        let found = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                        FileType::from_raw_mode(found.st_mode)
                    }
                    known => known,
                };
                entries.insert(name.to_owned(), kind);
            }
            Ok(entries)
        };
        match read() {
            Err(error) if error.is_missing() => Ok(BTreeMap::new()),
            read => read.map_err(|error| self.error("read", below, error)),
        }
    }

    /// Returns true if the path is a regular file. Links are followed as long as they stay below
    /// the directory.
    pub fn is_file(&self, below: impl AsRef<Path>) -> bool {
        self.is(below.as_ref(), FileType::RegularFile)
    }

    /// Returns true if the path is a directory. Links are followed as long as they
    /// stay below the directory.
    pub fn is_dir(&self, below: impl AsRef<Path>) -> bool {
        self.is(below.as_ref(), FileType::Directory)
    }

    fn is(&self, below: &Path, kind: FileType) -> bool {
        let found = self.stat(below);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == kind)
    }

    /// Returns true if any kind of file has this path, even a dangling link.
    pub fn has(&self, below: impl AsRef<Path>) -> bool {
        self.stat_of_link(below.as_ref()).is_some()
    }

    /// Returns the status of a file. Links are followed as long as they stay below the directory.
    pub fn stat(&self, below: &Path) -> Result<Stat, Error> {
        self.stat_at(below, true)
            .map_err(|error| self.error("read", below, error))
    }

    /// Returns the status of a file or link. A link in the last component is not followed.
    pub fn stat_of_link(&self, below: &Path) -> Option<Stat> {
        self.stat_at(below, false).ok()
    }

    fn stat_at(&self, below: &Path, follow: bool) -> Result<Stat, OpenError> {
        let (parent, name) = self.locate(below, follow)?;
        Ok(rustix::fs::statat(
            parent,
            &name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Changes the mode of a file. The file must be readable.
    pub fn set_mode(&self, below: &Path, mode: u32) -> Result<(), Error> {
        let Some(file) = self.open_file(below, Access::Read)? else {
            return Err(self.error("change", below, Errno::NOENT.into()));
        };
        let set = rustix::fs::fchmod(file, Mode::from_raw_mode(mode));
        set.map_err(|errno| self.error("change", below, errno.into()))
    }

    /// Removes a file, a link or an empty directory. A missing file and a directory that is not
    /// empty are no errors.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads to a parent directory outside, and [`Error::Io`]
    /// if the operation fails.
    pub fn remove(&self, below: impl AsRef<Path>) -> Result<(), Error> {
        let below = below.as_ref();
        let remove = || -> Result<(), OpenError> {
            let (parent, name) = self.locate(below, false)?;
            match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {
                    match rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
                        // A directory that is not empty stays.
                        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                        removed => Ok(removed?),
                    }
                }
                removed => Ok(removed?),
            }
        };
        match remove() {
            Err(error) if error.is_missing() => Ok(()),
            removed => removed.map_err(|error| self.error("remove", below, error)),
        }
    }

    /// Opens the parent directory of a path, and returns it with the last name of the path, which
    /// need not exist. With `follow`, links in the last component are resolved, too.
    fn locate(&self, below: &Path, follow: bool) -> Result<(OwnedFd, OsString), OpenError> {
        let mut way = vec![self.dir.try_clone()?];
        let mut ahead = VecDeque::new();
        lead_on(below, &mut ahead)?;
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            let here = way.last().ok_or(OpenError::LeadsOut)?;
            let is_last = ahead.is_empty();
            if name == ".." {
                way.pop();
                // The root's parent is outside of the root.
                if way.is_empty() {
                    return Err(OpenError::LeadsOut);
                }
                continue;
            }
            if is_last && !follow {
                return Ok((here.try_clone()?, name));
            }
            if let Some(target) = target(here, &name)? {
                links += 1;
                if links > LINKS_FOLLOWED {
                    return Err(Errno::LOOP.into());
                }
                lead_on(&target, &mut ahead)?;
                continue;
            }
            if is_last {
                return Ok((here.try_clone()?, name));
            }
            let next = rustix::fs::openat(here, &name, PLACE, Mode::empty())?;
            way.push(next);
        }
        // The path consists of `.` and `..` only.
        Ok((way.pop().ok_or(OpenError::LeadsOut)?, ".".into()))
    }

    fn error(&self, action: &'static str, below: &Path, error: OpenError) -> Error {
        match error {
            OpenError::LeadsOut => Error::LeadsOut {
                path: self.path(below),
                root: self.path.clone(),
            },
            OpenError::System(error) => Error::io(action, self.path(below))(error),
        }
    }
}

/// Inserts the components of a path before the remaining components.
fn lead_on(path: &Path, ahead: &mut VecDeque<OsString>) -> Result<(), OpenError> {
    for part in path.components().rev() {
        match part {
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(OpenError::LeadsOut),
            part => ahead.push_front(part.as_os_str().to_owned()),
        }
    }
    Ok(())
}

/// Reads the target of a symbolic link. Returns `None` for other kinds of
/// files and for missing files.
fn target(dir: impl AsFd, name: &OsStr) -> Result<Option<PathBuf>, OpenError> {
    match rustix::fs::readlinkat(dir, name, Vec::new()) {
        Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()).into())),
        Err(Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn is_dir(dir: impl AsFd, name: &OsStr) -> bool {
    let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

fn new_file(dir: impl AsFd) -> io::Result<(OsString, File)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    for _ in 0..NAMES_TRIED {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".condense-new-{}-{number}", std::process::id()));
        match rustix::fs::openat(&dir, &name, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => return Ok((name, file.into())),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EXIST.into())
}
