//! Responsible for creating and changing SIF files. Objects are written first, then the table, and
//! the header last.

mod calls;
mod old_file;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use condense_publish::{Existing, Staging};
use rustix::fs::{FlockOperation, flock};

#[cfg(test)]
use super::DataKind;
use super::descriptor::Descriptor;
use super::header::Header;
use super::object::NewObject;
use super::table::Table;
use super::{Arch, Sif};
use crate::Error;
use old_file::OldFile;

/// Mode of a SIF file. It is executable, because running `./x.sif` starts a runtime with the file.
const MODE: u32 = 0o755;

/// Header fields of a new SIF file. By default, two files with the same objects have the same
/// bytes.
#[derive(Debug, Clone)]
pub struct SifOptions {
    /// Identifier of the file, a UUID. It is all zero by default.
    pub id: [u8; 16],
    /// Time when the file and its objects were created, in seconds since 1970. The default is
    /// [`Header::NO_TIME`].
    pub created: i64,
    /// Number of objects that the table has room for. The default is 48, as in runtimes.
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

/// Options of removing an object from a SIF file.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeleteOptions {
    /// Whether to overwrite the bytes of the object with zeros.
    pub wipe: bool,
    /// Whether to cut the file behind its last object.
    pub compact: bool,
}

/// SIF file that is being created or changed. No change is visible to other programs before
/// [`SifWriter::finish`]. If the writer is dropped without it, a new file is removed and an
/// existing file is as before.
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
    /// Time of all added objects, in seconds since 1970.
    time: i64,
    /// Deleted objects whose bytes are to be overwritten.
    wiped: Vec<Descriptor>,
    compact: bool,
}

#[derive(Debug)]
enum Target {
    /// New file, in a temporary directory beside its destination.
    New {
        file: File,
        staging: Staging,
        temporary: PathBuf,
        path: PathBuf,
    },
    /// Existing file that is changed in place. New objects are added behind all objects of the old
    /// table.
    Old { file: OldFile, path: PathBuf },
}

/// Place in the file where the bytes of an object are to be written.
#[derive(Debug)]
#[non_exhaustive]
pub struct ObjectSlot<'w> {
    /// Path of the unfinished SIF file.
    pub path: &'w Path,
    /// File at that path, open for reading and writing.
    pub file: &'w File,
    /// Position of the object's first byte.
    pub offset: u64,
}

impl SifWriter {
    /// Creates a file, which appears at `path` when it is finished. The path must not exist before.
    pub fn create(path: impl AsRef<Path>, options: &SifOptions) -> Result<SifWriter, Error> {
        let path = path.as_ref();
        if path.symlink_metadata().is_ok() {
            let source = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::io("create", path)(source));
        }
        let staging = Staging::beside(path)?;
        let temporary = staging.path().join(path.file_name().unwrap_or_default());
        let file =
            condense_publish::create_image(&temporary, MODE).map_err(Error::io("create", path))?;
        let header = Header::new(options.id, options.created, u64::from(options.slots));
        Ok(SifWriter {
            target: Target::New {
                staging,
                temporary,
                file,
                path: path.to_owned(),
            },
            table: Table::new(header),
            time: options.created,
            wiped: Vec::new(),
            compact: false,
        })
    }

    /// Opens an existing file, which is changed in place. Without `time` (in seconds since 1970),
    /// the change gets the time of the previous change, so that the same change of the same file
    /// gives the same bytes.
    pub fn open(path: impl AsRef<Path>, time: Option<i64>) -> Result<SifWriter, Error> {
        let path = path.as_ref();
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        // Some file systems do not support locks. The file is then changed without a lock.
        if flock(&file, FlockOperation::NonBlockingLockExclusive)
            == Err(rustix::io::Errno::WOULDBLOCK)
        {
            return Err(cannot_change(path, "another program is changing it"));
        }
        let table = Table::load(&file, path)?;
        let file = OldFile::new(file, &table).map_err(Error::io("read", path))?;
        Ok(SifWriter {
            time: time.unwrap_or(table.header.modified),
            table,
            target: Target::Old {
                file,
                path: path.to_owned(),
            },
            wiped: Vec::new(),
            compact: false,
        })
    }

    /// Adds an object of these bytes. Returns the number of the object.
    pub fn add(&mut self, object: &NewObject, mut bytes: &[u8]) -> Result<u32, Error> {
        self.add_from(object, &mut bytes)
    }

    /// Adds an object of all bytes of `source`. Returns the number of the object.
    pub fn add_from(&mut self, object: &NewObject, source: &mut dyn Read) -> Result<u32, Error> {
        self.add_with(object, |slot| {
            let mut file = slot.file;
            file.seek(SeekFrom::Start(slot.offset))
                .map_err(Error::io("write", slot.path))?;
            std::io::copy(source, &mut file).map_err(Error::io("write", slot.path))
        })
    }

    /// Adds an object with the contents of a file. If the file system supports it, no byte is
    /// copied.
    pub fn add_file(&mut self, object: &NewObject, path: impl AsRef<Path>) -> Result<u32, Error> {
        let path = path.as_ref();
        let source = condense_input::open(path).map_err(Error::io("open", path))?;
        let mut source = source.into_parts().0;
        let metadata = source.metadata().map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            return Err(Error::Unsupported {
                path: path.to_owned(),
                problem: "it is not a regular file".to_owned(),
            });
        }
        self.add_with(object, |slot| {
            let mut file = slot.file;
            file.seek(SeekFrom::Start(slot.offset))
                .map_err(Error::io("write", slot.path))?;
            // Between two files, this call uses `copy_file_range`.
            std::io::copy(&mut source, &mut file).map_err(Error::io("copy", path))
        })
    }

    /// Adds an object whose bytes `write` puts into the file. `write` gets the place of the object
    /// and returns the number of bytes written.
    pub fn add_with(
        &mut self,
        object: &NewObject,
        write: impl FnOnce(ObjectSlot<'_>) -> Result<u64, Error>,
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
        let size = write(ObjectSlot {
            path,
            file,
            offset: place.offset,
        })?;
        if size == 0 {
            // The file must reach the end of every object, even of one without bytes.
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
        Ok(self.table.insert(object, place, size, self.time))
    }

    /// Removes an object from the table. By default its bytes stay in the file until another object
    /// is added at the same place.
    pub fn delete(&mut self, id: u32, options: DeleteOptions) -> Result<(), Error> {
        let Some(object) = self.table.remove(id) else {
            return Err(Error::NotFound {
                path: PathBuf::from(format!("object {id}")),
                container: self.path().to_owned(),
            });
        };
        if options.wipe {
            self.wiped.push(object);
        }
        self.compact |= options.compact;
        Ok(())
    }

    /// Returns the entries of the objects, including all changes so far.
    pub fn objects(&self) -> impl Iterator<Item = &Descriptor> {
        self.table.objects()
    }

    /// Returns the architecture of the root file system, including all changes so far.
    pub fn arch(&self) -> Option<Arch> {
        self.table.header.arch
    }

    /// Writes the table and the header, and publishes the file.
    ///
    /// # Errors
    /// Returns [`Error::Io`]. A new file does not exist then. An existing file is unchanged, with
    /// one exception: if only wiping deleted objects or cutting the file failed, the other changes
    /// are already in the file.
    pub fn finish(self) -> Result<Sif, Error> {
        self.finish_synced(true)
    }

    /// Does the work of [`Self::finish`], but a new file may not be on disk yet. The caller syncs
    /// it before it counts as written.
    ///
    /// # Errors
    /// Returns the errors of [`Self::finish`].
    pub fn finish_unsynced(self) -> Result<Sif, Error> {
        self.finish_synced(false)
    }

    fn finish_synced(mut self, is_synced: bool) -> Result<Sif, Error> {
        self.table.header.modified = self.time;
        let end = self.table.end();
        if self.compact {
            self.table.header.data_size = end - self.table.header.data_offset;
        }
        let path = self.path().to_owned();
        let failed = || Error::io("write", &path);
        match self.target {
            Target::New {
                staging,
                temporary,
                mut file,
                path,
            } => {
                write_table(&file, &self.table).map_err(failed())?;
                finish_deletions(&mut file, &self.wiped, self.compact.then_some(end))
                    .map_err(failed())?;
                if is_synced {
                    file.sync_all().map_err(failed())?;
                }
                staging.publish(&temporary, &path, Existing::Refuse)?;
                Sif::open(path)
            }
            Target::Old { mut file, path } => {
                file.change_table(&self.table).map_err(failed())?;
                finish_deletions(file.inner(), &self.wiped, self.compact.then_some(end))
                    .map_err(failed())?;
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
            Target::New {
                temporary, file, ..
            } => (temporary, file),
            Target::Old { file, path } => (path, file.as_file()),
        }
    }
}

/// Wipes deleted objects and cuts the file, after the table has stopped listing the objects.
fn finish_deletions(
    file: &mut File,
    wiped: &[Descriptor],
    cut_at: Option<u64>,
) -> std::io::Result<()> {
    for object in wiped {
        wipe(file, object)?;
    }
    if let Some(end) = cut_at {
        calls::set_len(file, end)?;
    }
    if !wiped.is_empty() || cut_at.is_some() {
        calls::sync(file)?;
    }
    Ok(())
}

fn wipe(file: &mut File, object: &Descriptor) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(object.offset))?;
    calls::check()?;
    std::io::copy(&mut std::io::repeat(0).take(object.size), file)?;
    file.flush()
}

fn write_table(file: &File, table: &Table) -> std::io::Result<()> {
    calls::write_at(file, &table.render_slots(), table.header.descriptors_offset)?;
    calls::write_at(file, &table.render_header(), 0)
}

fn cannot_change(path: &Path, problem: impl Into<String>) -> Error {
    Error::SifChange {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests;
