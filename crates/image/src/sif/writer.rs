//! Responsible for making and changing SIF files: objects first, then the table, the header last.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;

#[cfg(test)]
use super::DataKind;
use super::descriptor::Descriptor;
use super::header::Header;
use super::object::NewObject;
use super::table::Table;
use super::{Arch, Sif};
use crate::Error;

/// A SIF is a program: `./x.sif` hands itself to a runtime.
const MODE: u32 = 0o755;

/// What a new SIF says about itself. By default two files with the same objects are the same bytes.
#[derive(Debug, Clone)]
pub struct SifOptions {
    /// Its own identifier, a UUID; all zero by default.
    pub id: [u8; 16],
    /// When it and its objects were made, in seconds since 1970; by default the time that stands for none.
    pub created: i64,
    /// How many objects it has room for; 48 by default, as with runtimes.
    pub slots: u16,
}

impl Default for SifOptions {
    fn default() -> SifOptions {
        SifOptions {
            id: [0; 16],
            created: Header::NO_TIME,
            slots: 48,
        }
    }
}

/// A SIF in the making, or being changed. Nothing that it was told is seen by others before [`SifWriter::finish`];
/// without that, a new file is gone and an old one as it was.
///
/// ```
/// # fn main() -> Result<(), condense_image::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// use condense_image::sif::{DataKind, NewObject, SifOptions, SifWriter};
/// let mut writer = SifWriter::create(dir.path().join("new.sif"), &SifOptions::default())?;
/// let id = writer.add(&NewObject::new(DataKind::DefinitionFile), b"bootstrap: scratch\n")?;
/// assert_eq!(writer.finish()?.object(id)?.size, 19);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SifWriter {
    target: Target,
    table: Table,
    /// The time of all that is added.
    time: i64,
    /// Objects that were deleted and whose bytes are to be overwritten.
    wiped: Vec<Descriptor>,
    compact: bool,
}

#[derive(Debug)]
enum Target {
    /// A file beside its destination.
    New {
        temporary: Box<NamedTempFile>,
        path: PathBuf,
    },
    /// A file that is changed where it lies. An object is added behind all that the old table knows.
    Old { file: OldFile, path: PathBuf },
}

/// Shrinks to what it was when dropped, unless the change was finished.
#[derive(Debug)]
struct OldFile {
    file: File,
    len: u64,
    finished: bool,
}

impl Drop for OldFile {
    fn drop(&mut self) {
        if !self.finished {
            // The error that led here is told. Bytes behind the last object are seen by nobody, but they take room.
            let _ = self.file.set_len(self.len);
        }
    }
}

/// Where an object's bytes are to be written, by whoever makes them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Room<'w> {
    /// The unfinished SIF.
    pub path: &'w Path,
    /// The same, open for reading and writing.
    pub file: &'w File,
    /// Where the object's first byte goes.
    pub offset: u64,
}

impl SifWriter {
    /// A new file, which appears at `path` when it is finished and must not be there before.
    pub fn create(path: impl AsRef<Path>, options: &SifOptions) -> Result<SifWriter, Error> {
        let path = path.as_ref();
        if path.symlink_metadata().is_ok() {
            let source = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::io("create", path)(source));
        }
        let mut prefix = OsString::from(".");
        prefix.push(path.file_name().unwrap_or_default());
        prefix.push(".");
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(directory)
            .map_err(Error::io("create", path))?;
        let header = Header::new(options.id, options.created, u64::from(options.slots));
        Ok(SifWriter {
            target: Target::New {
                temporary: Box::new(temporary),
                path: path.to_owned(),
            },
            table: Table::new(header),
            time: options.created,
            wiped: Vec::new(),
            compact: false,
        })
    }

    /// An existing file, which is changed where it lies. Without a `time` in seconds since 1970 the change is dated as the
    /// one before it: the same change of the same file gives the same bytes.
    pub fn open(path: impl AsRef<Path>, time: Option<i64>) -> Result<SifWriter, Error> {
        let path = path.as_ref();
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        // Not every file system can lock; then there is nobody to ask.
        if flock(&file, FlockOperation::NonBlockingLockExclusive)
            == Err(rustix::io::Errno::WOULDBLOCK)
        {
            return Err(cannot_change(path, "another program is changing it"));
        }
        let table = Table::load(&file, path)?;
        let len = file.metadata().map_err(Error::io("read", path))?.len();
        let finished = false;
        Ok(SifWriter {
            time: time.unwrap_or(table.header.modified),
            table,
            target: Target::Old {
                file: OldFile {
                    file,
                    len,
                    finished,
                },
                path: path.to_owned(),
            },
            wiped: Vec::new(),
            compact: false,
        })
    }

    /// Adds an object of these bytes and says its number.
    pub fn add(&mut self, object: &NewObject, mut bytes: &[u8]) -> Result<u32, Error> {
        self.add_from(object, &mut bytes)
    }

    /// Adds an object of all that `source` gives.
    pub fn add_from(&mut self, object: &NewObject, source: &mut dyn Read) -> Result<u32, Error> {
        self.add_with(object, |room| {
            let mut file = room.file;
            file.seek(SeekFrom::Start(room.offset))
                .map_err(Error::io("write", room.path))?;
            std::io::copy(source, &mut file).map_err(Error::io("write", room.path))
        })
    }

    /// Adds the contents of a file; where the file system can, no byte is copied.
    pub fn add_file(&mut self, object: &NewObject, path: impl AsRef<Path>) -> Result<u32, Error> {
        let path = path.as_ref();
        let mut source = File::open(path).map_err(Error::io("open", path))?;
        let metadata = source.metadata().map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            return Err(Error::Unsupported {
                path: path.to_owned(),
                problem: "it is not a regular file".to_owned(),
            });
        }
        self.add_with(object, |room| {
            let mut file = room.file;
            file.seek(SeekFrom::Start(room.offset))
                .map_err(Error::io("write", room.path))?;
            // Between two files this is copy_file_range.
            std::io::copy(&mut source, &mut file).map_err(Error::io("copy", path))
        })
    }

    /// Adds an object whose bytes `write` puts into the file itself: it gets the place, and says how many they were.
    pub fn add_with(
        &mut self,
        object: &NewObject,
        write: impl FnOnce(Room<'_>) -> Result<u64, Error>,
    ) -> Result<u32, Error> {
        let place = self
            .table
            .place(object)
            .map_err(|problem| cannot_change(self.path(), problem))?;
        let (path, file) = self.file();
        if place.gap > 0 {
            let zeros = vec![0; place.gap as usize];
            file.write_all_at(&zeros, place.offset - place.gap)
                .map_err(Error::io("write", path))?;
        }
        let size = write(Room {
            path,
            file,
            offset: place.offset,
        })?;
        if size == 0 {
            // Even an object without a byte ends inside of the file.
            let len = file.metadata().map_err(Error::io("read", path))?.len();
            file.set_len(len.max(place.offset))
                .map_err(Error::io("write", path))?;
        }
        let len = file.metadata().map_err(Error::io("read", path))?.len();
        if place.offset.checked_add(size).is_none_or(|end| end > len) {
            return Err(cannot_change(
                path,
                format!("{size} bytes were announced, and fewer written"),
            ));
        }
        Ok(self.table.enter(object, place, size, self.time))
    }

    /// Takes an object out of the table. Its bytes stay where they are until another is added in their place; with `wipe`
    /// they are overwritten with zeros, and with `compact` the file is cut behind its last object.
    pub fn delete(&mut self, id: u32, wipe: bool, compact: bool) -> Result<(), Error> {
        let Some(object) = self.table.remove(id) else {
            return Err(Error::NotFound {
                path: PathBuf::from(format!("object {id}")),
                container: self.path().to_owned(),
            });
        };
        if wipe {
            self.wiped.push(object);
        }
        self.compact |= compact;
        Ok(())
    }

    /// The objects as they are now.
    pub fn objects(&self) -> impl Iterator<Item = &Descriptor> {
        self.table.objects()
    }

    /// The architecture of the root file system that there is now.
    pub fn arch(&self) -> Option<Arch> {
        self.table.header.arch
    }

    /// Writes table and header, and publishes the file.
    pub fn finish(mut self) -> Result<Sif, Error> {
        self.table.header.modified = self.time;
        let end = self.table.end();
        if self.compact {
            self.table.header.data_size = end - self.table.header.data_offset;
        }
        let (path, file) = self.file();
        let failed = || Error::io("write", path);
        // Should the machine stop between these, the old table still tells the truth, or the new one does.
        file.sync_data().map_err(failed())?;
        file.write_all_at(
            &self.table.render_slots(),
            self.table.header.descriptors_offset,
        )
        .map_err(failed())?;
        file.write_all_at(&self.table.render_header(), 0)
            .map_err(failed())?;
        for object in &self.wiped {
            wipe(file, object).map_err(failed())?;
        }
        if self.compact {
            file.set_len(end).map_err(failed())?;
        }
        file.sync_data().map_err(failed())?;
        match self.target {
            Target::New { temporary, path } => {
                temporary
                    .persist_noclobber(&path)
                    .map_err(|error| Error::io("create", &path)(error.error))?;
                Sif::open(path)
            }
            Target::Old { mut file, path } => {
                file.finished = true;
                Sif::open(path)
            }
        }
    }

    fn path(&self) -> &Path {
        match &self.target {
            Target::New { path, .. } | Target::Old { path, .. } => path,
        }
    }

    fn file(&self) -> (&Path, &File) {
        match &self.target {
            Target::New { temporary, .. } => (temporary.path(), temporary.as_file()),
            Target::Old { file, path } => (path, &file.file),
        }
    }
}

fn wipe(mut file: &File, object: &Descriptor) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(object.offset))?;
    std::io::copy(&mut std::io::repeat(0).take(object.size), &mut file)?;
    file.flush()
}

fn cannot_change(path: &Path, problem: impl Into<String>) -> Error {
    Error::SifChange {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests;
