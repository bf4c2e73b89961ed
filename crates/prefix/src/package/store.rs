//! Responsible for where the contents of an archive are kept until they are linked: as files in a
//! directory, or in a spool, from which they become files only if something needs them.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{Fault, Kind};
use crate::spool::{Member, Part, Spool};

/// Number of bytes that are read and written at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// Attributes of a file that is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) modified: SystemTime,
    /// Size in bytes that the archive announces.
    pub(super) bytes: u64,
}

/// A file in the spool. All its names (hard links) share one number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spooled {
    pub(crate) part: Part,
    pub(crate) mode: u32,
    pub(crate) modified: SystemTime,
}

/// Files of one archive in the spool.
#[derive(Debug)]
pub(super) struct InSpool {
    spool: Arc<Spool>,
    files: Vec<Spooled>,
    names: HashMap<OsString, usize>,
    /// Digest of the contents of all files, one behind the other, if they may be kept.
    digest: Option<Box<blake3::Hasher>>,
}

#[derive(Debug)]
pub(super) enum Store {
    Directory,
    Spool(InSpool),
}

impl Store {
    pub(super) fn in_spool(spool: Arc<Spool>, may_be_kept: bool) -> Self {
        let store = InSpool::of(spool, Vec::new());
        Self::Spool(if may_be_kept {
            store.with_digest()
        } else {
            store
        })
    }

    pub(super) fn create(&self, root: &Path) -> Result<(), Fault> {
        match self {
            Self::Directory => fs_err::create_dir(root).map_err(Fault::io("create", root)),
            Self::Spool(_) => Ok(()),
        }
    }

    pub(super) fn make_dir(&self, full: PathBuf) -> Result<(), Fault> {
        match self {
            Self::Directory => fs_err::create_dir(&full).map_err(Fault::io("create", full)),
            Self::Spool(_) => Ok(()),
        }
    }

    pub(super) fn remove(&mut self, root: &Path, path: &Path) -> Result<(), Fault> {
        match self {
            Self::Directory => {
                let full = root.join(path);
                fs_err::remove_file(&full).map_err(Fault::io("remove", full))
            }
            Self::Spool(store) => {
                store.names.remove(path.as_os_str());
                Ok(())
            }
        }
    }

    pub(super) fn rename(&mut self, root: &Path, from: &Path, to: &Path) -> Result<(), Fault> {
        match self {
            Self::Directory => {
                let source = root.join(from);
                fs_err::rename(&source, root.join(to)).map_err(Fault::io("rename", source))
            }
            Self::Spool(store) => {
                if let Some(file) = store.names.remove(from.as_os_str()) {
                    store.names.insert(to.as_os_str().to_owned(), file);
                }
                Ok(())
            }
        }
    }

    /// Stores a link. Its target is in the list of contents.
    pub(super) fn link(
        &self,
        full: &Path,
        target: &Path,
        modified: SystemTime,
    ) -> Result<(), Fault> {
        let Self::Directory = self else {
            return Ok(());
        };
        symlink(target, full).map_err(Fault::io("create", full))?;
        let seconds = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let time = rustix::fs::Timespec {
            tv_sec: seconds.cast_signed(),
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        let itself = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let _ = rustix::fs::utimensat(rustix::fs::CWD, full, &times, itself);
        Ok(())
    }

    pub(super) fn hard_link(
        &mut self,
        root: &Path,
        target: &Path,
        path: &Path,
    ) -> Result<(), Fault> {
        match self {
            Self::Directory => {
                let full = root.join(path);
                fs_err::hard_link(root.join(target), &full).map_err(Fault::io("link", full))
            }
            Self::Spool(store) => {
                // A link has no contents in the spool.
                if let Some(file) = store.names.get(target.as_os_str()) {
                    store.names.insert(path.as_os_str().to_owned(), *file);
                }
                Ok(())
            }
        }
    }

    /// Stores everything that `reader` returns as the file at `path`.
    pub(super) fn file(
        &mut self,
        root: &Path,
        path: &Path,
        reader: &mut dyn Read,
        buffer: &mut [u8],
        attributes: Attributes,
    ) -> Result<(), Fault> {
        match self {
            Self::Directory => write_file(&root.join(path), reader, buffer, attributes),
            Self::Spool(store) => {
                let file = store.take(reader, buffer, attributes)?;
                store.names.insert(path.as_os_str().to_owned(), file);
                Ok(())
            }
        }
    }

    /// Opens a file to read its contents.
    pub(super) fn open(&self, root: &Path, path: &Path) -> Result<Box<dyn Read + '_>, Fault> {
        match self {
            Self::Directory => {
                let full = root.join(path);
                let file = fs_err::File::open(&full).map_err(Fault::io("open", full))?;
                Ok(Box::new(file))
            }
            Self::Spool(store) => match store.get(path) {
                Some((_, file)) => Ok(Box::new(store.spool.reader(file.part))),
                None => Err(Fault::refused_path(path, "is no regular file")),
            },
        }
    }

    /// Returns the number and the description of a file in the spool.
    pub(super) fn spooled(&self, path: &Path) -> Option<(usize, Spooled)> {
        match self {
            Self::Directory => None,
            Self::Spool(store) => store.get(path),
        }
    }

    /// Writes files and links of the spool to their paths below `root`. Names of one file become
    /// hard links.
    pub(super) fn write_out<'a>(
        &self,
        root: &Path,
        entries: impl Iterator<Item = (&'a Path, &'a Kind)>,
    ) -> Result<(), Fault> {
        let Self::Spool(store) = self else {
            return Ok(());
        };
        let mut first: HashMap<usize, PathBuf> = HashMap::new();
        let mut made: HashSet<&OsStr> = HashSet::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        for (path, kind) in entries {
            if let Some(parent) = path.parent()
                && made.insert(parent.as_os_str())
            {
                let dir = root.join(parent);
                fs_err::create_dir_all(&dir).map_err(Fault::io("create", dir))?;
            }
            let full = root.join(path);
            match (kind, store.get(path)) {
                (Kind::Link(target), _) => {
                    symlink(target, &full).map_err(Fault::io("create", full))?;
                }
                (Kind::File, Some((number, file))) => {
                    if let Some(known) = first.get(&number) {
                        fs_err::hard_link(known, &full).map_err(Fault::io("link", full))?;
                    } else {
                        store.write_out(file, &full, &mut buffer)?;
                        first.insert(number, full);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl InSpool {
    /// Creates the store of files that are in the spool already. They have no names.
    pub(super) fn of(spool: Arc<Spool>, files: Vec<Spooled>) -> Self {
        Self {
            spool,
            files,
            names: HashMap::new(),
            digest: None,
        }
    }

    /// Computes a digest of the contents of all files that are stored from now on.
    pub(super) fn with_digest(mut self) -> Self {
        self.digest = Some(Box::default());
        self
    }

    /// Returns the digest of the contents of all files, if it was wanted.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        self.digest
            .as_ref()
            .map(|digest| *digest.finalize().as_bytes())
    }

    /// Gives the file with this number a name.
    pub(super) fn name(&mut self, path: OsString, number: usize) {
        self.names.insert(path, number);
    }

    pub(super) fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Returns all files in the order of their numbers.
    pub(super) fn files(&self) -> &[Spooled] {
        &self.files
    }

    pub(super) fn get(&self, path: &Path) -> Option<(usize, Spooled)> {
        let number = *self.names.get(path.as_os_str())?;
        Some((number, *self.files.get(number)?))
    }

    /// Returns the number of the new file.
    pub(super) fn take(
        &mut self,
        reader: &mut dyn Read,
        buffer: &mut [u8],
        attributes: Attributes,
    ) -> Result<usize, Fault> {
        // The archive announces the size before its bytes come. If it ends early, its reader
        // returns an error after the file, and nothing of the archive is used.
        let failed = |error| Fault::io("write", self.spool.file().path())(error);
        let reserved = self.spool.reserve(attributes.bytes);
        let mut at = 0;
        loop {
            let length = reader.read(buffer).map_err(Fault::archive)?;
            if length == 0 {
                break;
            }
            if let Some(digest) = &mut self.digest {
                digest.update(&buffer[..length]);
            }
            if let Ok(part) = &reserved {
                self.spool
                    .write(*part, at, &buffer[..length])
                    .map_err(failed)?;
            }
            at += length as u64;
        }
        let part = match reserved {
            Ok(part) => Part { bytes: at, ..part },
            Err(_) if at < attributes.bytes => Part {
                file: Member::Own,
                offset: 0,
                bytes: 0,
                head: None,
            },
            Err(error) => return Err(failed(error)),
        };
        self.files.push(Spooled {
            part,
            mode: attributes.mode,
            modified: attributes.modified,
        });
        Ok(self.files.len() - 1)
    }

    fn write_out(&self, file: Spooled, full: &Path, buffer: &mut [u8]) -> Result<(), Fault> {
        let attributes = Attributes {
            mode: file.mode,
            modified: file.modified,
            bytes: file.part.bytes,
        };
        write_file(full, &mut self.spool.reader(file.part), buffer, attributes)
    }
}

/// Writes a new file with the given attributes.
fn write_file(
    full: &Path,
    reader: &mut dyn Read,
    buffer: &mut [u8],
    attributes: Attributes,
) -> Result<(), Fault> {
    let mut file = fs_err::File::create_new(full).map_err(Fault::io("create", full))?;
    loop {
        let length = reader.read(buffer).map_err(Fault::archive)?;
        if length == 0 {
            break;
        }
        file.write_all(&buffer[..length])
            .map_err(Fault::io("write", full))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(attributes.mode))
        .map_err(Fault::io("set the mode of", full))?;
    let times = std::fs::FileTimes::new().set_modified(attributes.modified);
    // A file system that cannot hold the time is not the package's fault.
    let _ = file.file().set_times(times);
    Ok(())
}
