//! Responsible for unpacking an archive into its own directory and for the list of its
//! contents. Every path is checked, every directory is created by this module, and no file
//! is written through a link.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io::{Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tar::EntryType;

use super::{
    Fault,
    archive::{Digests, Head, each_entry},
    path::{judged, shown},
};

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
}

impl Contents {
    /// Unpacks the archive into a new directory. Devices, FIFOs, sparse files and everything below
    /// a link are refused. The modes of directories are ignored, since a directory without write
    /// permission could be neither filled nor removed.
    ///
    /// # Errors
    /// A [`Fault`] of the archive or of the system.
    pub(super) fn unpack(
        archive: &Path,
        root: &Path,
        with_md5: bool,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(Self, Digests), Fault> {
        fs_err::create_dir(root).map_err(Fault::io("create", root))?;
        let mut contents = Self::empty(root);
        let mut buffer = vec![0; CHUNK_BYTES];
        let digests = each_entry(archive, with_md5, &mut |head, reader| {
            if stopped() {
                return Err(Fault::Interrupted);
            }
            contents.take(head, reader, &mut buffer)
        })?;
        Ok((contents, digests))
    }

    fn empty(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            kinds: HashMap::new(),
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
    pub(super) fn open(&self, path: &Path) -> Result<Option<fs_err::File>, Fault> {
        match self.kind(path) {
            None => Ok(None),
            Some(Kind::File) => {
                let full = self.root.join(path);
                let file = fs_err::File::open(&full).map_err(Fault::io("open", full))?;
                Ok(Some(file))
            }
            Some(_) => Err(Fault::refused_path(path, "is no regular file")),
        }
    }

    /// Adds a generated file to those of the archive, or replaces one of them.
    pub(super) fn add(&mut self, path: &Path, contents: &[u8], mode: u32) -> Result<(), Fault> {
        let full = self.make_room(path)?;
        let mut file = fs_err::File::create_new(&full).map_err(Fault::io("create", &full))?;
        file.write_all(contents)
            .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode)))
            .map_err(Fault::io("write", full))?;
        self.insert(path, Kind::File);
        Ok(())
    }

    /// Moves a file or link to another path.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Fault> {
        let source = self.root.join(from);
        let full = self.make_room(to)?;
        fs_err::rename(&source, full).map_err(Fault::io("rename", source))?;
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
        let full = self.make_room(path)?;
        let mut file = fs_err::File::create_new(&full).map_err(Fault::io("create", &full))?;
        loop {
            let length = reader.read(buffer).map_err(Fault::archive)?;
            if length == 0 {
                break;
            }
            file.write_all(&buffer[..length])
                .map_err(Fault::io("write", &full))?;
        }
        // A file that its owner may not read could be neither linked nor packed.
        let mode = head.mode & 0o777 | 0o400;
        file.set_permissions(std::fs::Permissions::from_mode(mode))
            .map_err(Fault::io("set the mode of", &full))?;
        let times = std::fs::FileTimes::new().set_modified(modified(head));
        // A file system that cannot hold the time is not the package's fault.
        let _ = file.file().set_times(times);
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
        symlink(&target, &full).map_err(Fault::io("create", &full))?;
        let seconds = modified(head)
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
        let _ = rustix::fs::utimensat(rustix::fs::CWD, &full, &times, itself);
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
        let full = self.make_room(path)?;
        fs_err::hard_link(self.root.join(target), &full).map_err(Fault::io("link", full))?;
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
                let full = self.root.join(path);
                fs_err::create_dir(&full).map_err(Fault::io("create", full))?;
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
                fs_err::remove_file(&full).map_err(Fault::io("remove", &full))?;
                self.kinds.remove(path.as_os_str());
            }
        }
        Ok(full)
    }
}

fn modified(head: &Head) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(head.modified.clamp(TIMES.0, TIMES.1))
}
