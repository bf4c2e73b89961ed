//! Responsible for a base image: finding it, refusing files that cannot be one, and reading its
//! facts.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use condense_image::reader::Superblock;
use condense_image::{Arch, Reader, Sif};
use sha2::{Digest, Sha256};

use crate::facts::{self, BaseFacts};
use crate::root::Root;
use crate::{Error, libc};

/// Number of bytes that are hashed at once: large enough for a network file system, small enough
/// for the processor's cache.
const CHUNK_LEN: usize = 1 << 20;

/// Format of a base image on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BaseKind {
    /// A file in the SIF format.
    Sif,
    /// A bare SquashFS image.
    Image,
    /// A sandbox: a directory that is a root file system.
    Directory,
}

/// A base image that exists and can be read.
#[derive(Debug)]
pub struct BaseImage {
    reference: PathBuf,
    path: PathBuf,
    kind: BaseKind,
    is_moving_link: bool,
    sif: Option<Sif>,
    root: Root,
}

impl BaseImage {
    /// Opens a SIF file, a bare SquashFS image or a sandbox directory.
    ///
    /// # Errors
    /// Returns an error if the base does not exist, cannot be read, is of another format, or holds
    /// no root file system.
    pub fn open(path: impl AsRef<Path>) -> Result<BaseImage, Error> {
        let base = Self::open_any(path)?;
        let is_system = base
            .root
            .locate("usr")?
            .is_some_and(|found| found.is_directory())
            || base.root.locate_file("bin/sh")?.is_some();
        if is_system {
            Ok(base)
        } else {
            Err(Error::NotRootFileSystem { path: base.path })
        }
    }

    /// Opens an image or a directory that may hold no more than a few files, as an image that is
    /// built from nothing.
    ///
    /// # Errors
    /// Returns an error if the base does not exist, cannot be read, or is of another format.
    pub fn open_any(path: impl AsRef<Path>) -> Result<BaseImage, Error> {
        let given = path.as_ref().to_path_buf();
        let link = fs_err::symlink_metadata(&given).map_err(|error| missing_or(&given, error))?;
        let path = fs_err::canonicalize(&given).map_err(|error| missing_or(&given, error))?;
        let metadata = fs_err::metadata(&path).map_err(Error::io("read", &path))?;
        let (kind, sif, root) = if metadata.is_dir() {
            (BaseKind::Directory, None, Root::Directory(path.clone()))
        } else if metadata.is_file() {
            open_file(&path, metadata.len())?
        } else {
            return Err(Error::NotAnImage {
                path,
                found: "a device, pipe or socket",
            });
        };
        Ok(BaseImage {
            reference: std::path::absolute(&given).map_err(Error::io("find", &given))?,
            path,
            kind,
            is_moving_link: link.is_symlink(),
            sif,
            root,
        })
    }

    /// Returns the path of the file or directory, absolute and with its links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path as it was given, made absolute, with its links kept.
    pub fn reference(&self) -> &Path {
        &self.reference
    }

    /// Returns the format of the base on disk.
    pub fn kind(&self) -> BaseKind {
        self.kind
    }

    /// Checks whether the given path is a symbolic link, whose target a site may change later.
    pub fn is_moving_link(&self) -> bool {
        self.is_moving_link
    }

    /// Checks whether a program in the base finds something at this path.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        Ok(self.root.locate(path)?.is_some())
    }

    /// Returns the first `len_max` bytes of the file that a program in the base finds at this path,
    /// or `None` if it finds no file.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub fn read(&self, path: impl AsRef<Path>, len_max: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(found) = self.root.locate_file(path)? else {
            return Ok(None);
        };
        Ok(Some(found.read(len_max)?))
    }

    /// Returns the directories in which the base's dynamic linker may find libraries: the usual
    /// directories, those in the linker's configuration, and the library directories of the
    /// software in `/opt` and `/usr/local`. Not all of them need to exist.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub fn library_directories(&self) -> Result<Vec<PathBuf>, Error> {
        let directories = facts::software::library_directories(&self.root, None)?;
        // Where `/lib` is no link to `/usr/lib`, the directory of the C library has further
        // libraries.
        let beside = libc::DIRECTORIES.iter().map(PathBuf::from);
        Ok(directories
            .into_iter()
            .chain(beside)
            .map(|directory| Path::new("/").join(directory))
            .collect())
    }

    /// Returns the SIF, if the base is a SIF file.
    pub fn sif(&self) -> Option<&Sif> {
        self.sif.as_ref()
    }

    /// Returns the reader of the root file system, if the base is an image.
    pub fn reader(&self) -> Option<&Reader> {
        self.root.reader()
    }

    /// Returns the programs at a path, sorted, each with its name and its path in the base. In a
    /// directory, these are all executable files and links to executable files. Otherwise it is the
    /// file itself. The list is empty if there is nothing to execute.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub fn programs(&self, path: impl AsRef<Path>) -> Result<Vec<(OsString, PathBuf)>, Error> {
        let path = Path::new("/").join(path);
        let Some(found) = self.root.locate(&path)? else {
            return Ok(Vec::new());
        };
        let candidates = if found.is_directory() {
            let names = found.list()?.into_iter();
            names.map(|name| (name.clone(), path.join(name))).collect()
        } else {
            let name = path.file_name().unwrap_or_default().to_owned();
            vec![(name, path)]
        };
        let mut programs = Vec::new();
        for (name, path) in candidates {
            if self
                .root
                .locate_file(&path)?
                .is_some_and(|file| file.is_executable())
            {
                programs.push((name, path));
            }
        }
        programs.sort();
        Ok(programs)
    }

    /// Reads the facts of the base from a few of its files.
    ///
    /// # Errors
    /// Returns an error if the base cannot be read.
    pub fn facts(&self) -> Result<BaseFacts, Error> {
        let metadata = fs_err::metadata(&self.path).map_err(Error::io("read", &self.path))?;
        let size_bytes = metadata.is_file().then_some(metadata.len());
        facts::load(
            &self.root,
            self.sif.as_ref(),
            self.declared_arch(),
            size_bytes,
        )
    }

    /// Refuses a base whose programs do not run on this machine. A base of unknown architecture is
    /// accepted.
    ///
    /// # Errors
    /// Returns [`Error::WrongArchitecture`] if the architecture is another one, and any error of
    /// reading the base.
    pub fn check_architecture(&self) -> Result<(), Error> {
        let found = match self.declared_arch() {
            Some(arch) => Some(arch),
            None => libc::find(&self.root)?.arch,
        };
        match (found, Arch::host()) {
            (Some(found), Some(host)) if found != host => Err(Error::WrongArchitecture {
                path: self.path.clone(),
                found: found.to_string(),
                host: host.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the SHA-256 digest of the file in hexadecimal, or `None` for a directory. Reads the
    /// whole file.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read.
    pub fn digest(&self) -> Result<Option<String>, Error> {
        if self.kind == BaseKind::Directory {
            return Ok(None);
        }
        let mut file = condense_input::open(&self.path).map_err(Error::io("open", &self.path))?;
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK_LEN];
        loop {
            let len = match file.read(&mut chunk) {
                Ok(0) => return Ok(Some(hex::encode(hasher.finalize()))),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            };
            hasher.update(&chunk[..len]);
        }
    }

    fn declared_arch(&self) -> Option<Arch> {
        self.sif.as_ref().and_then(Sif::arch)
    }
}

fn open_file(path: &Path, len: u64) -> Result<(BaseKind, Option<Sif>, Root), Error> {
    let mut head = Vec::new();
    condense_input::open(path)
        .map_err(Error::io("open", path))?
        .take(64)
        .read_to_end(&mut head)
        .map_err(Error::io("read", path))?;
    if Sif::recognises(&head) {
        let sif = Sif::open(path)?;
        let root = Root::Image(Box::new(sif.reader()?));
        return Ok((BaseKind::Sif, Some(sif), root));
    }
    if Superblock::recognises(&head) {
        let root = Root::Image(Box::new(Reader::open_raw(path)?));
        return Ok((BaseKind::Image, None, root));
    }
    let found = match &head[..] {
        _ if len == 0 => "an empty file",
        [b'#', b'!', ..] => "a script",
        [0x7f, b'E', b'L', b'F', ..] => "a program",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd archive",
        _ => "a file of another kind",
    };
    Err(Error::NotAnImage {
        path: path.to_owned(),
        found,
    })
}

fn missing_or(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        Error::Missing {
            path: path.to_owned(),
            target: fs_err::read_link(path).ok(),
        }
    } else {
        Error::io("open", path)(error)
    }
}
