//! Responsible for writing names, contents and attributes. Contents are the work of several
//! threads. The attributes of directories are set last, children first.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{PRIVATE, UnpackOptions};
use crate::content::Content;
use crate::source::LastDirectory;
use crate::tree::EntryId;
use crate::{Entry, Error, Kind, Tree, threads};

/// Number of files that a worker takes at a time. Neighbouring files share blocks of an image.
const FILES_AT_A_TIME: usize = 32;
/// Number of bytes that are read and written at a time: the largest block of an image.
const CHUNK_BYTES: u64 = 1 << 20;

/// Directory that a tree is written to.
struct Target<'t> {
    tree: &'t Tree,
    root: &'t Path,
    dir: OwnedFd,
    options: &'t UnpackOptions,
}

/// Work that requires all files to exist.
#[derive(Default)]
struct Later {
    /// Directories in the order of the walk, parents first.
    directories: Vec<(PathBuf, EntryId)>,
    /// Further names of files: the first name with each further name.
    links: Vec<(PathBuf, PathBuf)>,
    files: Vec<(PathBuf, EntryId)>,
    unwritten: BTreeSet<PathBuf>,
}

/// Writes a tree into an empty directory. Returns the paths of the entries that were not written.
pub(super) fn write(
    tree: &Tree,
    root: &Path,
    options: &UnpackOptions,
) -> Result<BTreeSet<PathBuf>, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|error| Error::io("open", root)(error.into()))?;
    let target = Target {
        tree,
        root,
        dir,
        options,
    };
    let mut later = target.create_names()?;
    target.write_files(&later.files)?;
    for (first, path) in &later.links {
        rustix::fs::linkat(target.dir(), first, target.dir(), path, AtFlags::empty())
            .map_err(|error| Error::io("link", root.join(path))(error.into()))?;
    }
    for (path, id) in later.directories.iter().rev() {
        target.set_attributes(path, tree.entry(*id), *id)?;
    }
    Ok(std::mem::take(&mut later.unwritten))
}

impl Target<'_> {
    fn dir(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.dir)
    }

    fn create_names(&self) -> Result<Later, Error> {
        let mut later = Later::default();
        let mut first_names: HashMap<EntryId, PathBuf> = HashMap::new();
        let placeholders: BTreeSet<&Path> = self
            .options
            .placeholders
            .iter()
            .map(|path| relative(path))
            .collect();
        for (path, id) in self.tree.walk_ids() {
            let entry = self.tree.entry(id);
            if placeholders.contains(&*path) {
                later.unwritten.insert(path);
                continue;
            }
            if entry.kind.is_directory() {
                if !path.as_os_str().is_empty() {
                    rustix::fs::mkdirat(self.dir(), &path, Mode::from_raw_mode(PRIVATE))
                        .map_err(self.failed("create", &path))?;
                }
                later.directories.push((path, id));
                continue;
            }
            if let Some(first) = first_names.get(&id) {
                later.links.push((first.clone(), path));
                continue;
            }
            let is_written = match &entry.kind {
                Kind::File { .. } => {
                    later.files.push((path.clone(), id));
                    true
                }
                _ => self.create_other(&path, entry, id)?,
            };
            if !is_written {
                later.unwritten.insert(path);
            } else if entry.links > 1 {
                first_names.insert(id, path);
            }
        }
        for path in placeholders {
            self.create_placeholder(path)?;
            later.unwritten.insert(path.to_owned());
        }
        Ok(later)
    }

    /// Creates an empty file, unless something above it is not a directory. A link in its place
    /// could lead out of the directory.
    fn create_placeholder(&self, path: &Path) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = self.tree.entry_at(parent);
        if !parent.is_some_and(|entry| entry.kind.is_directory()) {
            return Ok(());
        }
        self.create_file(path, Mode::from_raw_mode(0o644))
            .map_err(self.failed("create", path))?;
        Ok(())
    }

    /// Creates an entry that is neither a directory nor a file. Returns whether it was created,
    /// since devices are not.
    fn create_other(&self, path: &Path, entry: &Entry, id: EntryId) -> Result<bool, Error> {
        let mode = Mode::from_raw_mode(0o600);
        match &entry.kind {
            Kind::Symlink(target) => {
                let target = std::ffi::OsStr::from_bytes(target);
                rustix::fs::symlinkat(target, self.dir(), path)
                    .map_err(self.failed("create", path))?;
            }
            Kind::Fifo => {
                rustix::fs::mknodat(self.dir(), path, FileType::Fifo, mode, 0)
                    .map_err(self.failed("create", path))?;
            }
            Kind::Socket => {
                rustix::fs::mknodat(self.dir(), path, FileType::Socket, mode, 0)
                    .map_err(self.failed("create", path))?;
            }
            _ => return Ok(false),
        }
        self.set_attributes(path, entry, id)?;
        Ok(true)
    }

    fn create_file(&self, path: &Path, mode: Mode) -> rustix::io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.dir(), path, flags, mode).map(File::from)
    }

    /// Writes the contents and attributes of files, with several threads.
    fn write_files(&self, files: &[(PathBuf, EntryId)]) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let work = || {
            let mut buffer = vec![0; CHUNK_BYTES as usize];
            let mut last_directory = LastDirectory::default();
            while !is_over.load(Ordering::Relaxed) {
                let from = next.fetch_add(FILES_AT_A_TIME, Ordering::Relaxed);
                let end = files.len().min(from + FILES_AT_A_TIME);
                if end <= from {
                    return;
                }
                for (path, id) in &files[from..end] {
                    let written = self.write_file(path, *id, &mut buffer, &mut last_directory);
                    if let Err(error) = written {
                        is_over.store(true, Ordering::Relaxed);
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        failure.get_or_insert(error);
                        return;
                    }
                }
            }
        };
        threads::all(self.options.threads, work);
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn write_file(
        &self,
        path: &Path,
        id: EntryId,
        buffer: &mut [u8],
        last_directory: &mut LastDirectory,
    ) -> Result<(), Error> {
        let (size, source) = self.tree.file(id);
        let full = || self.root.join(path);
        let file = self
            .create_file(path, Mode::from_raw_mode(0o600))
            .map_err(self.failed("create", path))?;
        let content = Content::open(source, last_directory)?;
        let mut at = 0;
        let mut ends_in_hole = false;
        while at < size {
            self.check_cancelled()?;
            let length = (size - at).min(CHUNK_BYTES) as usize;
            let bytes = content.read(&mut buffer[..length], at)?;
            ends_in_hole = bytes.iter().all(|byte| *byte == 0);
            if !ends_in_hole {
                file.write_all_at(bytes, at)
                    .map_err(Error::io("write", full()))?;
            }
            at += length as u64;
            if let Some(progress) = &self.options.progress {
                progress(length as u64);
            }
        }
        content.check_unchanged(size)?;
        if ends_in_hole {
            file.set_len(size).map_err(Error::io("write", full()))?;
        }
        drop(file);
        self.set_attributes(path, self.tree.entry(id), id)
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        let cancel = self.options.cancel.as_deref();
        if cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Sets extended attributes of the `user.` namespace, the mode and the time, in this order.
    fn set_attributes(&self, path: &Path, entry: &Entry, id: EntryId) -> Result<(), Error> {
        self.check_cancelled()?;
        let name = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        for xattr in self.tree.xattrs_of(id) {
            if xattr.name.as_bytes().starts_with(b"user.") {
                let full = self.root.join(path);
                let flags = XattrFlags::empty();
                match rustix::fs::lsetxattr(&full, &*xattr.name, &xattr.value, flags) {
                    Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                    Err(error) => return Err(self.failed("set the attributes of", path)(error)),
                }
            }
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            let mode = Mode::from_raw_mode(entry.mode.into());
            rustix::fs::chmodat(self.dir(), name, mode, AtFlags::empty())
                .map_err(self.failed("set the attributes of", path))?;
        }
        let time = Timespec {
            tv_sec: entry.mtime.into(),
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(self.dir(), name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("set the attributes of", path))
    }

    fn failed(&self, action: &'static str, path: &Path) -> impl Fn(Errno) -> Error + 'static {
        let full = self.root.join(path);
        move |error| Error::io(action, &full)(error.into())
    }
}

/// Returns a path of a tree without its leading `/`.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
