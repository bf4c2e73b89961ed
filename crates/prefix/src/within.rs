//! Responsible for files below a directory that packages and scripts have filled: no link in it leads to a file of this machine.

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

use crate::error::Error;

/// Names that are tried for a new file; somebody who makes them all first gets an error.
const NAMES_TRIED: u64 = 100;
/// As many links as the kernel follows.
const LINKS_FOLLOWED: usize = 40;
/// Mode of a program.
const PROGRAM: u32 = 0o755;
/// Bits of a mode that are handed on.
const MODE: u32 = 0o777;
/// A directory that is only a place to go on from.
const PLACE: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Tells new files apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// An open directory. Paths are relative to it; links below it are followed as long as they stay below it. What is written is a
/// new file that takes the name, so that a link of that name is replaced and never followed.
///
/// Every step of a path is opened by itself and no link by the kernel (`openat2` does the same, but older kernels and the filters
/// of containers do not have it), so what changes meanwhile leads out neither.
///
/// # Examples
/// ```
/// # let root = tempfile::tempdir().expect("a directory");
/// let within = condense_prefix::Within::open(root.path())?;
/// std::os::unix::fs::symlink("/etc/hostname", root.path().join("history")).expect("a link");
/// assert!(within.read("history").is_err());
/// within.write("history", "mine")?;
/// assert_eq!(within.read("history")?.as_deref(), Some(&b"mine"[..]));
/// # Ok::<(), condense_prefix::Error>(())
/// ```
#[derive(Debug)]
pub struct Within {
    dir: OwnedFd,
    path: PathBuf,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Change,
}

/// Why a path came to nothing.
enum Trouble {
    LeadsOut,
    System(io::Error),
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Trouble {
    fn is_missing(&self) -> bool {
        matches!(self, Self::System(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    }
}

impl Within {
    /// Opens a directory that is known to be the caller's own: links on the way to it are followed.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not there or no directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &path, flags, Mode::empty());
        Ok(Self {
            dir: dir.map_err(|errno| Error::io("open", &path)(errno.into()))?,
            path,
        })
    }

    /// Where a path below it is, for messages and for those who are known to follow nothing.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        match below.as_ref() {
            below if below == Path::new("") => self.path.clone(),
            below => self.path.join(below),
        }
    }

    /// A directory below it, of which nothing leads out either.
    ///
    /// # Errors
    /// [`Error::LeadsOut`], [`Error::Io`].
    pub fn dir(&self, below: impl AsRef<Path>) -> Result<Self, Error> {
        let below = below.as_ref();
        let open = || {
            let (parent, name) = self.locate(below, true)?;
            Ok(rustix::fs::openat(parent, &name, PLACE, Mode::empty())?)
        };
        Ok(Self {
            dir: open().map_err(|trouble| self.error("open", below, trouble))?,
            path: self.path(below),
        })
    }

    /// Makes a directory and all above it, where they are missing.
    ///
    /// # Errors
    /// [`Error::LeadsOut`], [`Error::Io`].
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
            one().map_err(|trouble| self.error("create", &made, trouble))?;
        }
        Ok(())
    }

    /// Makes a directory that is no link, or takes the one that is there.
    ///
    /// # Errors
    /// [`Error::LeadsOut`] for a link, wherever it leads to; [`Error::Io`].
    pub fn make_own_dir(&self, name: &str) -> Result<Self, Error> {
        let below = Path::new(name);
        let make = || {
            let (parent, name) = self.locate(below, false)?;
            match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(MODE)) {
                Err(Errno::EXIST) if target(&parent, &name)?.is_some() => Err(Trouble::LeadsOut),
                Err(Errno::EXIST) => Ok(()),
                made => Ok(made?),
            }
        };
        make().map_err(|trouble| self.error("create", below, trouble))?;
        self.dir(below)
    }

    /// Writes a file; what had the name before, a link, too, is replaced, and its mode kept if it was a file.
    ///
    /// # Errors
    /// [`Error::LeadsOut`] for its directory, [`Error::Io`].
    pub fn write(&self, below: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        self.put(below.as_ref(), bytes.as_ref(), None)
    }

    /// The same for a program.
    ///
    /// # Errors
    /// As [`Within::write`].
    pub fn write_program(
        &self,
        below: impl AsRef<Path>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.put(below.as_ref(), bytes.as_ref(), Some(PROGRAM))
    }

    fn put(&self, below: &Path, bytes: &[u8], mode: Option<u32>) -> Result<(), Error> {
        let write = || -> Result<(), Trouble> {
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
                // The first error is the one that counts.
                let _ = rustix::fs::unlinkat(&parent, &new, AtFlags::empty());
            }
            Ok(written?)
        };
        write().map_err(|trouble| self.error("write", below, trouble))
    }

    /// Makes a symbolic link; what it leads to is nobody's concern here.
    ///
    /// # Errors
    /// [`Error::LeadsOut`] for its directory, [`Error::Io`], also when something of the name is there.
    pub fn link(&self, target: impl AsRef<Path>, below: impl AsRef<Path>) -> Result<(), Error> {
        let below = below.as_ref();
        let make = || {
            let (parent, name) = self.locate(below, false)?;
            Ok(rustix::fs::symlinkat(target.as_ref(), parent, &name)?)
        };
        make().map_err(|trouble| self.error("create", below, trouble))
    }

    /// What a symbolic link says; none where there is none.
    ///
    /// # Errors
    /// [`Error::LeadsOut`] for its directory, [`Error::Io`].
    pub fn link_target(&self, below: impl AsRef<Path>) -> Result<Option<PathBuf>, Error> {
        let below = below.as_ref();
        let read = || {
            let (parent, name) = self.locate(below, false)?;
            target(&parent, &name)
        };
        match read() {
            Err(trouble) if trouble.is_missing() => Ok(None),
            read => read.map_err(|trouble| self.error("read", below, trouble)),
        }
    }

    /// The bytes of a file; none where there is none.
    ///
    /// # Errors
    /// [`Error::LeadsOut`]; [`Error::Io`], also for what is no file or longer than [`condense_input::RECORD_MOST`] bytes.
    pub fn read(&self, below: impl AsRef<Path>) -> Result<Option<Vec<u8>>, Error> {
        let below = below.as_ref();
        let Some(file) = self.open_file(below, Access::Read)? else {
            return Ok(None);
        };
        let read = condense_input::read_opened(file, self.path(below), condense_input::RECORD_MOST);
        read.map(Some)
            .map_err(|error| self.error("read", below, error.into()))
    }

    /// The text of a file; none where there is none.
    ///
    /// # Errors
    /// As [`Within::read`]; also for bytes that are not UTF-8.
    pub fn read_text(&self, below: impl AsRef<Path>) -> Result<Option<String>, Error> {
        let below = below.as_ref();
        let text = self.read(below)?.map(String::from_utf8).transpose();
        text.map_err(|error| {
            let error = io::Error::new(ErrorKind::InvalidData, error.utf8_error());
            self.error("read", below, error.into())
        })
    }

    /// The bytes of a file that must be there.
    ///
    /// # Errors
    /// As [`Within::read`].
    pub fn need(&self, below: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let below = below.as_ref();
        let found = self.read(below)?;
        found.ok_or_else(|| self.error("read", below, Errno::NOENT.into()))
    }

    /// The text of a file that must be there.
    ///
    /// # Errors
    /// As [`Within::read_text`].
    pub fn need_text(&self, below: impl AsRef<Path>) -> Result<String, Error> {
        let below = below.as_ref();
        let found = self.read_text(below)?;
        found.ok_or_else(|| self.error("read", below, Errno::NOENT.into()))
    }

    /// Opens a file, of those that are there; a FIFO does not block.
    pub(crate) fn open_file(&self, below: &Path, access: Access) -> Result<Option<File>, Error> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Change => OFlags::RDWR,
        };
        let open = || -> Result<File, Trouble> {
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
            Err(trouble) if trouble.is_missing() => Ok(None),
            Err(trouble) => Err(self.error("open", below, trouble)),
        }
    }

    /// Names in a directory, sorted; none where there is no directory.
    ///
    /// # Errors
    /// [`Error::LeadsOut`], [`Error::Io`].
    pub fn names(&self, below: impl AsRef<Path>) -> Result<Vec<OsString>, Error> {
        Ok(self.entries(below.as_ref())?.into_keys().collect())
    }

    /// Names in a directory and what they are, links not followed; none where there is no directory.
    pub(crate) fn entries(&self, below: &Path) -> Result<BTreeMap<OsString, FileType>, Error> {
        let read = || -> Result<_, Trouble> {
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
            Err(trouble) if trouble.is_missing() => Ok(BTreeMap::new()),
            read => read.map_err(|trouble| self.error("read", below, trouble)),
        }
    }

    /// Whether there is a file, be it through links that stay here.
    pub fn is_file(&self, below: impl AsRef<Path>) -> bool {
        self.is(below.as_ref(), FileType::RegularFile)
    }

    /// Whether there is a directory, be it through links that stay here.
    pub fn is_dir(&self, below: impl AsRef<Path>) -> bool {
        self.is(below.as_ref(), FileType::Directory)
    }

    fn is(&self, below: &Path, kind: FileType) -> bool {
        let found = self.stat(below);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == kind)
    }

    /// Whether there is anything of this name, were it a link that leads nowhere.
    pub fn has(&self, below: impl AsRef<Path>) -> bool {
        self.stat_of_link(below.as_ref()).is_some()
    }

    /// What is there, links followed.
    pub(crate) fn stat(&self, below: &Path) -> Result<Stat, Error> {
        self.stat_at(below, true)
            .map_err(|trouble| self.error("read", below, trouble))
    }

    /// What is there, the last link not followed.
    pub(crate) fn stat_of_link(&self, below: &Path) -> Option<Stat> {
        self.stat_at(below, false).ok()
    }

    fn stat_at(&self, below: &Path, follow: bool) -> Result<Stat, Trouble> {
        let (parent, name) = self.locate(below, follow)?;
        Ok(rustix::fs::statat(
            parent,
            &name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Changes the mode of a file that can be read.
    pub(crate) fn set_mode(&self, below: &Path, mode: u32) -> Result<(), Error> {
        let Some(file) = self.open_file(below, Access::Read)? else {
            return Err(self.error("change", below, Errno::NOENT.into()));
        };
        let set = rustix::fs::fchmod(file, Mode::from_raw_mode(mode));
        set.map_err(|errno| self.error("change", below, errno.into()))
    }

    /// Takes a file, a link or an empty directory away; that it is not there is what was wanted.
    ///
    /// # Errors
    /// [`Error::LeadsOut`] for its directory, [`Error::Io`].
    pub fn remove(&self, below: impl AsRef<Path>) -> Result<(), Error> {
        let below = below.as_ref();
        let remove = || -> Result<(), Trouble> {
            let (parent, name) = self.locate(below, false)?;
            match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {
                    match rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
                        // Others may have files in it, which keep it.
                        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                        removed => Ok(removed?),
                    }
                }
                removed => Ok(removed?),
            }
        };
        match remove() {
            Err(trouble) if trouble.is_missing() => Ok(()),
            removed => removed.map_err(|trouble| self.error("remove", below, trouble)),
        }
    }

    /// The directory of a path and the name in it, which is no link where `follow` says so, and need not be there.
    fn locate(&self, below: &Path, follow: bool) -> Result<(OwnedFd, OsString), Trouble> {
        let mut way = vec![self.dir.try_clone()?];
        let mut ahead = VecDeque::new();
        lead_on(below, &mut ahead)?;
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            let here = way.last().ok_or(Trouble::LeadsOut)?;
            let is_last = ahead.is_empty();
            if name == ".." {
                way.pop();
                // The root's own parent is no part of it.
                if way.is_empty() {
                    return Err(Trouble::LeadsOut);
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
        // A path of nothing but `.` and `..`.
        Ok((way.pop().ok_or(Trouble::LeadsOut)?, ".".into()))
    }

    fn error(&self, action: &'static str, below: &Path, trouble: Trouble) -> Error {
        match trouble {
            Trouble::LeadsOut => Error::LeadsOut {
                path: self.path(below),
                root: self.path.clone(),
            },
            Trouble::System(error) => Error::io(action, self.path(below))(error),
        }
    }
}

/// Puts the steps of a path in front of what is still ahead.
fn lead_on(path: &Path, ahead: &mut VecDeque<OsString>) -> Result<(), Trouble> {
    for part in path.components().rev() {
        match part {
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(Trouble::LeadsOut),
            part => ahead.push_front(part.as_os_str().to_owned()),
        }
    }
    Ok(())
}

/// What a symbolic link says; none for anything else, and for nothing.
fn target(dir: impl AsFd, name: &OsStr) -> Result<Option<PathBuf>, Trouble> {
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
