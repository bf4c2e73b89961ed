//! Responsible for one layer: its bytes checked and decompressed, its entries listed, the files'
//! contents put one after the other into one spool file instead of a directory of many.

mod stream;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tar::EntryType;

use stream::Unpacked;
pub(crate) use stream::{Check, Origin, Stream};

/// In front of an extended attribute's name.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// The extended attribute that tells whom a file belonged to.
const OWNER: &[u8] = b"user.rootlesscontainers";
/// Read from the decompressor at once.
const COPY_LEN: usize = 128 << 10;
/// Written to the spool at once: file systems like few and large writes.
const SPOOL_BUFFER_LEN: usize = 1 << 20;

/// The limit of the kernel for the bytes of a path and of a link's target. Programs in the
/// container could not use longer ones.
pub(crate) const PATH_MOST: usize = 4096;
/// The limit of the kernel for the bytes of one name.
const NAME_MOST: usize = 255;
/// The maximum number of bytes before the contents of an entry: long names and extended attributes.
/// The archive's reader holds them in memory.
const HEADERS_MOST: u64 = 2 << 20;

/// A layer, read through once.
#[derive(Debug)]
pub(crate) struct Layer {
    /// In the order of the archive.
    pub(crate) entries: Vec<Entry>,
    /// What was decompressed, if anything was.
    spool: Option<Arc<fs_err::File>>,
    /// The archive itself, if it is not compressed, and where it begins in its file.
    blob: Option<(Arc<fs_err::File>, u64)>,
    /// Attributes of files that an image made without privileges does not carry.
    pub(crate) dropped: Dropped,
}

/// One entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it is written there: it may climb, be absolute, be a whiteout.
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u16,
    /// Seconds since 1970, as far as an image can hold them.
    pub(crate) mtime: u32,
    /// Names and values: those that an ordinary user can set, and whom the entry belonged to.
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

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// From this byte of the spool.
    Spool(u64),
    /// From this byte of the archive.
    Blob(u64),
}

/// How many files had something that is not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) devices: u64,
    pub(crate) attributes: u64,
}

/// Why a layer could not be read.
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
    /// Whether other bytes would have been read without it.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Failure::Invalid(_) | Failure::Mismatch)
    }
}

impl Layer {
    /// The file and the offset of a file's bytes.
    pub(crate) fn locate(&self, place: Place) -> (Arc<fs_err::File>, u64) {
        let found = match (place, &self.spool, &self.blob) {
            (Place::Spool(offset), Some(file), _) => Some((file.clone(), offset)),
            (Place::Blob(offset), _, Some((file, base))) => Some((file.clone(), base + offset)),
            _ => None,
        };
        found.expect("an entry is where it was put")
    }

    /// Reads a layer to its end.
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

/// Where the last entry ends that is stored as it is.
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
            // A link may say anything that fits into one: it need not lead anywhere.
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
            // Very old archives have no type for directories.
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

/// Refuses a path that is too long to be used by programs in the container.
fn refuse_long(path: &[u8]) -> Result<(), Failure> {
    refuse_long_path(path)?;
    let names = path.split(|byte| *byte == b'/');
    match names.map(<[u8]>::len).max() {
        Some(len) if len > NAME_MOST => Err(too_long(path, &format!("a name of {len} bytes"))),
        _ => Ok(()),
    }
}

/// Refuses a path that is longer than the kernel takes, whatever its names are.
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

/// What PAX headers say besides name and size, which the archive's reader applies itself.
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
                    // Times before 1970 cannot be in an image.
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

/// Whom an entry belonged to, as umoci and so apptainer write it where everything has to belong to
/// one user: the protobuf message of rootlesscontainers, with all bits set for root.
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

/// A file without a name: nothing of it stays, whatever happens.
struct Spool<'a> {
    dir: &'a Path,
    writer: Option<BufWriter<File>>,
    at: u64,
    chunk: Vec<u8>,
}

impl Spool<'_> {
    /// Copies a file's contents: where they begin, and how long they are.
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
