//! Responsible for reading one layer: checking and decompressing its bytes, listing its entries,
//! and writing the contents of all files one after the other into one spool file, which replaces a
//! directory of many files.

mod stream;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tar::EntryType;

use stream::Unpacked;
pub(crate) use stream::{Check, Origin, Stream};

/// Prefix of the PAX keys of extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Extended attribute that stores the original owner of a file.
const OWNER: &[u8] = b"user.rootlesscontainers";
/// Number of bytes that are read from the decompressor at once.
const COPY_LEN: usize = 128 << 10;
/// Number of bytes that are written to the spool file at once. File systems handle few large writes
/// better than many small ones.
const SPOOL_BUFFER_LEN: usize = 1 << 20;

/// The limit of the kernel for the bytes of a path and of a link's target. Programs in the
/// container could not use longer ones.
pub(crate) const PATH_MOST: usize = 4096;
/// The limit of the kernel for the bytes of one name.
const NAME_MOST: usize = 255;
/// The maximum number of bytes before the contents of an entry: long names and extended attributes.
/// The archive's reader holds them in memory.
const HEADERS_MOST: u64 = 2 << 20;

/// A layer that has been read to its end.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Entries in the order of the archive.
    pub(crate) entries: Vec<Entry>,
    /// Spool file with the decompressed contents, if there are any.
    spool: Option<Arc<fs_err::File>>,
    /// File of the archive itself, if it is not compressed, and the archive's offset in this file
    /// in bytes.
    blob: Option<(Arc<fs_err::File>, u64)>,
    /// Number of files with properties that an image made without privileges cannot have.
    pub(crate) dropped: Dropped,
}

/// One entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path as the archive has it: it may contain `..`, be absolute, or be a whiteout.
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u16,
    /// Modification time in seconds since 1970, limited to the range that an image can store.
    pub(crate) mtime: u32,
    /// Names and values of the extended attributes that an ordinary user can set, and the attribute
    /// that stores the original owner.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) kind: EntryKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File { size: u64, place: Place },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Device,
    Fifo,
}

/// Position of a file's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Offset in the spool file in bytes.
    Spool(u64),
    /// Offset in the archive in bytes.
    Blob(u64),
}

/// Number of files with a property that is not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) devices: u64,
    pub(crate) attributes: u64,
}

/// Reason why a layer could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Invalid(String),
    #[error("its bytes are not what its digest says")]
    Mismatch,
    #[error("failed to write its contents to `{}`", dir.display())]
    Spool {
        dir: std::path::PathBuf,
        source: io::Error,
    },
    #[error("failed to read it")]
    Read(#[source] io::Error),
}

impl Failure {
    /// Checks whether the bytes of the layer are wrong, so that reading other bytes could succeed.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Failure::Invalid(_) | Failure::Mismatch)
    }
}

impl Layer {
    /// Returns the file and the offset in it at which the contents are.
    pub(crate) fn locate(&self, place: Place) -> (Arc<fs_err::File>, u64) {
        let found = match (place, &self.spool, &self.blob) {
            (Place::Spool(offset), Some(file), _) => Some((file.clone(), offset)),
            (Place::Blob(offset), _, Some((file, base))) => Some((file.clone(), base + offset)),
            _ => None,
        };
        found.expect("an entry is where it was put")
    }

    /// Reads a layer to its end. Spooled contents are written to a file in `spool_dir`.
    pub(crate) fn read(stream: Stream, spool_dir: &Path) -> Result<Layer, Failure> {
        let mut unpacked = Unpacked::new(stream)?;
        let mut spool = Spool {
            dir: spool_dir,
            writer: None,
            at: 0,
            chunk: vec![0; COPY_LEN],
        };
        let mut layer = Layer {
            entries: Vec::new(),
            spool: None,
            blob: None,
            dropped: Dropped::default(),
        };
        let end = list(&mut unpacked, &mut layer, &mut spool)?;
        if end > unpacked.len() {
            return Err(Failure::Invalid("its last file is cut off".to_owned()));
        }
        layer.blob = unpacked.finish()?;
        layer.spool = spool.finish()?;
        Ok(layer)
    }
}

/// Lists the entries of an archive, and returns the end of the last entry that is stored without
/// sparse regions.
fn list(unpacked: &mut Unpacked, layer: &mut Layer, spool: &mut Spool) -> Result<u64, Failure> {
    let mut end = 0;
    let is_plain = unpacked.is_plain();
    let ceiling = unpacked.ceiling();
    let up_to = |position: u64| ceiling.store(position, Ordering::Relaxed);
    up_to(HEADERS_MOST);
    let mut archive = tar::Archive::new(unpacked);
    let damaged = |error| stream::classify(error, "it is not a tar archive, or a damaged one");
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) || kind.as_byte() == b'V' {
            continue;
        }
        let contents = entry.raw_file_position().saturating_add(entry.size());
        up_to(contents.saturating_add(HEADERS_MOST));
        let path = entry.path_bytes().into_owned();
        refuse_long(&path)?;
        let extensions = Extensions::read(&mut entry).map_err(damaged)?;
        let shown = String::from_utf8_lossy(&path).into_owned();
        if extensions.is_sparse {
            let problem = format!("`{shown}` in it is stored as a sparse file of the PAX kind");
            return Err(Failure::Invalid(problem));
        }
        layer.dropped.attributes += u64::from(extensions.drops_attributes);
        let mut attributes = extensions.attributes;
        let header = entry.header();
        let owner = [header.uid(), header.gid()].map(|id| id.unwrap_or(0) as u32);
        attributes.extend(render_owner(owner));
        let target = |entry: &tar::Entry<'_, _>| {
            let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
            let target = target
                .filter(|target| !target.is_empty())
                .ok_or_else(|| Failure::Invalid(format!("`{shown}` in it is a link to nothing")))?;
            // The target of a link may have names of any length, because it need not exist.
            refuse_long_path(&target).map(|()| target)
        };
        let number = |value: io::Result<u32>| {
            value.map_err(|_| Failure::Invalid(format!("`{shown}` in it has no mode")))
        };
        if kind != EntryType::GNUSparse {
            end = entry.raw_file_position() + entry.size();
        }
        let mode = (number(entry.header().mode())? & 0o7777) as u16;
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => entry.header().mtime().unwrap_or(0),
        };
        let kind = match kind {
            EntryType::Directory => EntryKind::Directory,
            // Very old archives have no entry type for directories.
            EntryType::Regular if path.ends_with(b"/") => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if is_plain && kind != EntryType::GNUSparse {
                    EntryKind::File {
                        size: entry.size(),
                        place: Place::Blob(entry.raw_file_position()),
                    }
                } else {
                    let (offset, size) = spool.append(&mut entry)?;
                    EntryKind::File {
                        size,
                        place: Place::Spool(offset),
                    }
                }
            }
            EntryType::Link => EntryKind::HardLink(target(&entry)?),
            EntryType::Symlink => EntryKind::Symlink(target(&entry)?),
            EntryType::Char | EntryType::Block => {
                layer.dropped.devices += 1;
                EntryKind::Device
            }
            EntryType::Fifo => EntryKind::Fifo,
            other => {
                let problem = format!(
                    "`{shown}` in it is of the unknown type `{}`",
                    char::from(other.as_byte()).escape_default()
                );
                return Err(Failure::Invalid(problem));
            }
        };
        layer.entries.push(Entry {
            path,
            mode,
            mtime: u32::try_from(mtime).unwrap_or(u32::MAX),
            attributes,
            kind,
        });
    }
    Ok(end)
}

/// Refuses a path that is too long for programs in the container.
fn refuse_long(path: &[u8]) -> Result<(), Failure> {
    refuse_long_path(path)?;
    let names = path.split(|byte| *byte == b'/');
    match names.map(<[u8]>::len).max() {
        Some(len) if len > NAME_MOST => Err(too_long(path, &format!("a name of {len} bytes"))),
        _ => Ok(()),
    }
}

/// Refuses a path that is longer than the kernel accepts, whatever the lengths of its names are.
fn refuse_long_path(path: &[u8]) -> Result<(), Failure> {
    if path.len() >= PATH_MOST {
        return Err(too_long(path, &format!("a path of {} bytes", path.len())));
    }
    Ok(())
}

fn too_long(path: &[u8], problem: &str) -> Failure {
    let start = String::from_utf8_lossy(&path[..path.len().min(40)]).into_owned();
    Failure::Invalid(format!(
        "there is {problem} in it, which begins with `{start}`"
    ))
}

/// Values of PAX headers except path and size, which the tar reader applies itself.
#[derive(Default)]
struct Extensions {
    mtime: Option<u64>,
    is_sparse: bool,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    drops_attributes: bool,
}

impl Extensions {
    fn read<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Extensions> {
        let mut found = Extensions::default();
        let Some(extensions) = entry.pax_extensions()? else {
            return Ok(found);
        };
        for extension in extensions {
            let extension = extension?;
            match extension.key_bytes() {
                b"mtime" => {
                    let text = String::from_utf8_lossy(extension.value_bytes()).into_owned();
                    let seconds = text.split('.').next().unwrap_or_default();
                    // An image cannot store times before 1970.
                    found.mtime = seconds
                        .parse::<i64>()
                        .ok()
                        .map(|s| s.max(0).cast_unsigned());
                }
                key if key.starts_with(b"GNU.sparse.") => found.is_sparse = true,
                key => match key.strip_prefix(XATTR) {
                    Some(name) if name.starts_with(b"user.") && name != OWNER => {
                        let value = extension.value_bytes().to_vec();
                        found.attributes.push((name.to_vec(), value));
                    }
                    Some(_) => found.drops_attributes = true,
                    None => {}
                },
            }
        }
        Ok(found)
    }
}

/// Returns the extended attribute that stores the original owner of an entry. umoci, and therefore
/// apptainer, write it where all files must belong to one user. The value is the protobuf message
/// of rootlesscontainers, in which an ID with all bits set stands for root.
fn render_owner(owner: [u32; 2]) -> Option<(Vec<u8>, Vec<u8>)> {
    if owner == [0, 0] {
        return None;
    }
    let mut value = Vec::new();
    for (tag, id) in [0x08, 0x10].into_iter().zip(owner) {
        value.push(tag);
        let mut rest = if id == 0 { u32::MAX } else { id };
        while rest >= 0x80 {
            value.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        value.push(rest as u8);
    }
    Some((OWNER.to_vec(), value))
}

/// A file without a name for the contents of a layer's files. The kernel removes it when the
/// process ends, even after a crash.
struct Spool<'a> {
    dir: &'a Path,
    writer: Option<BufWriter<File>>,
    at: u64,
    chunk: Vec<u8>,
}

impl Spool<'_> {
    /// Copies the contents of a file, and returns their offset and length in bytes.
    fn append(&mut self, contents: &mut impl Read) -> Result<(u64, u64), Failure> {
        let failed = |source| Failure::Spool {
            dir: self.dir.to_owned(),
            source,
        };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let file = tempfile::tempfile_in(self.dir).map_err(failed)?;
                none.insert(BufWriter::with_capacity(SPOOL_BUFFER_LEN, file))
            }
        };
        let start = self.at;
        let chunk = &mut self.chunk;
        loop {
            let len = match contents.read(chunk) {
                Ok(0) => return Ok((start, self.at - start)),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(stream::classify(error, "a file in it is cut off")),
            };
            writer.write_all(&chunk[..len]).map_err(failed)?;
            self.at += len as u64;
        }
    }

    fn finish(self) -> Result<Option<Arc<fs_err::File>>, Failure> {
        let Some(writer) = self.writer else {
            return Ok(None);
        };
        let file = writer.into_inner().map_err(|error| Failure::Spool {
            dir: self.dir.to_owned(),
            source: error.into_error(),
        })?;
        let path = self.dir.join("(spool)");
        Ok(Some(Arc::new(fs_err::File::from_parts(file, path))))
    }
}

#[cfg(test)]
mod tests;
