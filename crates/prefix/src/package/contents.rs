//! Responsible for unpacking an archive into its own directory or into a spool, and for the list of
//! its contents. Every path is checked, every directory is created by this module, and no file is
//! written through a link.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tar::EntryType;

use super::{
    Fault,
    archive::{Digests, Head, each_entry},
    kept::{KeptPackage, NewPackage},
    path::{judged, shown},
    store::{Attributes, Spooled, Store},
};
use crate::spool::Spool;

/// Number of bytes that are read and written at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// Seconds since 1970 of the beginning of 1980 and the end of 9999. Some file systems and archives
/// cannot hold times outside of these years.
const TIMES: (u64, u64) = (315_532_800, 253_402_300_799);

/// Kind of file at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    /// A symbolic link with its target.
    Link(PathBuf),
    Directory,
}

/// Directory and list of an archive's unpacked contents.
#[derive(Debug)]
pub(crate) struct Contents {
    root: PathBuf,
    kinds: HashMap<OsString, Kind>,
    store: Store,
}

impl Contents {
    /// Unpacks the archive into a new directory, or into the spool if there is one. Devices, FIFOs,
    /// sparse files and everything below a link are refused. The modes of directories are ignored,
    /// since a directory without write permission could be neither filled nor removed.
    ///
    /// # Errors
    /// A [`Fault`] of the archive or of the system.
    pub(super) fn unpack(
        archive: &Path,
        root: &Path,
        spool: Option<(&Arc<Spool>, bool)>,
        with_md5: bool,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(Self, Digests), Fault> {
        let store = spool.map_or(Store::Directory, |(spool, may_be_kept)| {
            Store::in_spool(Arc::clone(spool), may_be_kept)
        });
        store.create(root)?;
        let mut contents = Self {
            root: root.to_owned(),
            kinds: HashMap::new(),
            store,
        };
        let mut buffer = vec![0; CHUNK_BYTES];
        let digests = each_entry(archive, with_md5, &mut |head, reader| {
            if stopped() {
                return Err(Fault::Interrupted);
            }
            contents.take(head, reader, &mut buffer)
        })?;
        Ok((contents, digests))
    }

    /// Returns the contents of a package that an earlier build has unpacked.
    pub(super) fn of_kept(kept: KeptPackage, root: &Path, spool: &Arc<Spool>) -> Self {
        let (store, kinds) = kept.attach(spool);
        Self {
            root: root.to_owned(),
            kinds: kinds.into_iter().collect(),
            store: Store::Spool(store),
        }
    }

    /// Lists the contents for later builds. Returns `None` if they are not in a spool.
    pub(super) fn to_keep(&self, sha256: [u8; 32]) -> Option<NewPackage> {
        match &self.store {
            Store::Spool(store) => NewPackage::new(store, self.kinds.iter(), sha256),
            Store::Directory => None,
        }
    }

    /// Returns the directory of the unpacked files, where all paths start.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn kind(&self, path: &Path) -> Option<&Kind> {
        self.kinds.get(path.as_os_str())
    }

    /// Opens a file to read its contents.
    pub(super) fn open(&self, path: &Path) -> Result<Option<Box<dyn Read + '_>>, Fault> {
        match self.kind(path) {
            None => Ok(None),
            Some(Kind::File) => self.store.open(&self.root, path).map(Some),
            Some(_) => Err(Fault::refused_path(path, "is no regular file")),
        }
    }

    /// Returns the number and the description of a file in the spool. Names of one file (hard
    /// links) have one number.
    pub(crate) fn spooled(&self, path: &Path) -> Option<(usize, Spooled)> {
        self.store.spooled(path)
    }

    /// Writes files and links of the spool into the directory of the unpacked files.
    ///
    /// # Errors
    /// A [`Fault`] of the system.
    pub(crate) fn write_out<'a>(
        &self,
        entries: impl Iterator<Item = (&'a Path, &'a Kind)>,
    ) -> Result<(), Fault> {
        self.store.write_out(&self.root, entries)
    }

    /// Adds a generated file to those of the archive, or replaces one of them.
    pub(super) fn add(&mut self, path: &Path, contents: &[u8], mode: u32) -> Result<(), Fault> {
        self.make_room(path)?;
        let attributes = Attributes {
            mode,
            modified: SystemTime::now(),
            bytes: contents.len() as u64,
        };
        let mut buffer = vec![0; contents.len().clamp(1, CHUNK_BYTES)];
        self.store
            .file(&self.root, path, &mut &*contents, &mut buffer, attributes)?;
        self.insert(path, Kind::File);
        Ok(())
    }

    /// Moves a file or link to another path.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        self.make_room(to)?;
        self.store.rename(&self.root, from, to)?;
        if let Some(kind) = self.kinds.remove(from.as_os_str()) {
            self.insert(to, kind);
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, kind: Kind) {
        self.kinds.insert(path.as_os_str().to_owned(), kind);
    }

    fn take(&mut self, head: &Head, reader: &mut dyn Read, buffer: &mut [u8]) -> Result<(), Fault> {
        let refused = |problem| Fault::refused(shown(&head.path), problem);
        // Old tar programs mark directories with a slash alone.
        let is_directory = head.kind.is_dir()
            || (head.kind.is_file() && head.bytes == 0 && head.path.ends_with(b"/"));
        if head.kind.is_pax_global_extensions() {
            return Ok(());
        }
        if is_directory && !head.path.is_empty() && head.path.iter().all(|b| b"./".contains(b)) {
            // The entry is the archive's root directory. A path with `..` is refused below.
            if !head.path.starts_with(b"/") && !head.path.windows(2).any(|two| two == b"..") {
                return Ok(());
            }
        }
        let path = judged(&head.path).map_err(refused)?;
        match head.kind {
            _ if is_directory => self.directory(&path),
            EntryType::Regular | EntryType::Continuous => self.file(&path, head, reader, buffer),
            EntryType::Symlink => self.link(&path, head),
            EntryType::Link => self.hard_link(&path, head),
            EntryType::GNUSparse => Err(refused("is a sparse file")),
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                Err(refused("is a device or a FIFO"))
            }
            _ => Err(refused("is of a kind that packages do not have")),
        }
    }

    fn file(
        &mut self,
        path: &Path,
        head: &Head,
        reader: &mut dyn Read,
        buffer: &mut [u8],
    ) -> Result<(), Fault> {
        self.make_room(path)?;
        let attributes = Attributes {
            // A file that its owner may not read could be neither linked nor packed.
            mode: head.mode & 0o777 | 0o400,
            modified: modified(head),
            bytes: head.bytes,
        };
        self.store
            .file(&self.root, path, reader, buffer, attributes)?;
        self.insert(path, Kind::File);
        Ok(())
    }

    fn link(&mut self, path: &Path, head: &Head) -> Result<(), Fault> {
        let target = head.target.as_deref().unwrap_or_default();
        if target.is_empty() || target.contains(&0) {
            return Err(Fault::refused_path(path, "is a link to nothing"));
        }
        let target = PathBuf::from(OsStr::from_bytes(target));
        let full = self.make_room(path)?;
        self.store.link(&full, &target, modified(head))?;
        self.insert(path, Kind::Link(target));
        Ok(())
    }

    fn hard_link(&mut self, path: &Path, head: &Head) -> Result<(), Fault> {
        let written = head.target.as_deref().unwrap_or_default();
        let target = judged(written).map_err(|problem| {
            let problem = format!("is a hard link to `{}`, which {problem}", shown(written));
            Fault::refused_path(path, problem)
        })?;
        let Some(kind @ (Kind::File | Kind::Link(_))) = self.kind(&target).cloned() else {
            let problem = format!(
                "is a hard link to `{}`, which is no file before it",
                shown(written)
            );
            return Err(Fault::refused_path(path, problem));
        };
        if target == path {
            return Ok(());
        }
        self.make_room(path)?;
        self.store.hard_link(&self.root, &target, path)?;
        self.insert(path, kind);
        Ok(())
    }

    fn directory(&mut self, path: &Path) -> Result<(), Fault> {
        match self.kind(path) {
            Some(Kind::Directory) => Ok(()),
            Some(_) => Err(Fault::refused_path(
                path,
                "is a directory and something else",
            )),
            None => {
                self.parents(path)?;
                self.store.make_dir(self.root.join(path))?;
                self.insert(path, Kind::Directory);
                Ok(())
            }
        }
    }

    fn parents(&mut self, path: &Path) -> Result<(), Fault> {
        let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        else {
            return Ok(());
        };
        match self.kind(parent) {
            Some(Kind::Directory) => Ok(()),
            None => self.directory(parent),
            Some(Kind::Link(_)) => Err(Fault::refused_path(
                path,
                format!(
                    "lies below the link `{}`",
                    shown(parent.as_os_str().as_bytes())
                ),
            )),
            Some(Kind::File) => Err(Fault::refused_path(
                path,
                format!(
                    "lies below the file `{}`",
                    shown(parent.as_os_str().as_bytes())
                ),
            )),
        }
    }

    /// Prepares a path for a new file or link: its parent directories are created, and an earlier
    /// file or link is removed, since the last of several entries counts.
    fn make_room(&mut self, path: &Path) -> Result<PathBuf, Fault> {
        self.parents(path)?;
        let full = self.root.join(path);
        match self.kind(path) {
            None => {}
            Some(Kind::Directory) => {
                return Err(Fault::refused_path(
                    path,
                    "is a directory and something else",
                ));
            }
            Some(_) => {
                self.store.remove(&self.root, path)?;
                self.kinds.remove(path.as_os_str());
            }
        }
        Ok(full)
    }
}

fn modified(head: &Head) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(head.modified.clamp(TIMES.0, TIMES.1))
}
