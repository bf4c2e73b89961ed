//! Responsible for reading the tar streams in archives, `.conda` and `.tar.bz2`. Archives are read
//! in one pass, which also computes their digests. The number of bytes that an archive may unpack
//! to depends on its length.

use std::{
    cell::Cell,
    io::{BufReader, Read},
    path::Path,
};

use rattler_conda_types::package::CondaArchiveType;
use rattler_digest::{Md5, Sha256, digest::Digest as _};
use zip::read::read_zipfile_from_stream;

use super::{Fault, path::judged};

/// Number of bytes that are read at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// Largest number of bytes of the long names before an entry. Tar readers load
/// them into memory as a whole.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Number of bytes that every archive may unpack to, however short it is.
const FREE_BYTES: u64 = 1 << 30;

/// Number of times its own length that an archive may unpack to, in addition to [`FREE_BYTES`].
/// Real packages reach 20.
const MAX_RATIO: u64 = 1000;

/// Size in bytes of the largest file of `info/` that is read.
pub(super) const MAX_INFO_BYTES: u64 = 256 << 20;

/// File name ending of the tar streams in a `.conda`.
const PART: &[u8] = b".tar.zst";

/// Digests of the whole archive.
#[derive(Debug)]
pub(crate) struct Digests {
    pub(crate) sha256: [u8; 32],
    /// MD5 digest, only if the caller requested it.
    pub(crate) md5: Option<[u8; 16]>,
}

struct Digesting<R> {
    inner: R,
    sha256: Sha256,
    md5: Option<Md5>,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.sha256.update(&buffer[..length]);
        if let Some(md5) = &mut self.md5 {
            md5.update(&buffer[..length]);
        }
        Ok(length)
    }
}

/// Counts the bytes that are unpacked, and fails at the limit.
struct Metered<'a, R> {
    inner: R,
    /// Number of bytes that may come before the next entry begins.
    header: &'a Cell<u64>,
    /// Number of bytes that the rest of the archive may unpack to.
    total: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        for (left, problem) in [
            (self.header, "it has names of more than 1 MiB"),
            (
                self.total,
                "it unpacks to more than any archive of its length would",
            ),
        ] {
            let Some(rest) = left.get().checked_sub(length as u64) else {
                return Err(std::io::Error::other(problem));
            };
            left.set(rest);
        }
        Ok(length)
    }
}

/// Fields of a tar stream that come before an entry's contents.
pub(super) struct Head {
    pub(super) path: Vec<u8>,
    pub(super) kind: tar::EntryType,
    /// Target of a link.
    pub(super) target: Option<Vec<u8>>,
    pub(super) mode: u32,
    /// Modification time in seconds since 1970.
    pub(super) modified: u64,
    pub(super) bytes: u64,
}

/// A function that is called with each entry and may read its contents.
type Visit<'a> = dyn FnMut(&Head, &mut dyn Read) -> Result<(), Fault> + 'a;

/// Calls `visit` for every entry of the archive, in its order.
///
/// # Errors
/// Returns [`Fault::Archive`] for a file that is not an archive or is damaged,
/// and the errors of `visit`.
pub(super) fn each_entry(
    path: &Path,
    with_md5: bool,
    visit: &mut Visit<'_>,
) -> Result<Digests, Fault> {
    let (file, total) = open(path)?;
    let mut reader = Digesting {
        inner: file,
        sha256: Sha256::default(),
        md5: with_md5.then(Md5::default),
    };
    match kind_of(path)? {
        CondaArchiveType::Conda => {
            while let Some(mut part) =
                read_zipfile_from_stream(&mut reader).map_err(Fault::archive)?
            {
                if part.name_raw().ends_with(PART) {
                    entries_of(unzstd(&mut part)?, &total, visit)?;
                }
                std::io::copy(&mut part, &mut std::io::sink()).map_err(Fault::archive)?;
            }
        }
        CondaArchiveType::TarBz2 => entries_of(unbzip2(&mut reader), &total, visit)?,
    }
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(Fault::archive)?;
    Ok(Digests {
        sha256: reader.sha256.finalize().into(),
        md5: reader.md5.map(|md5| md5.finalize().into()),
    })
}

/// Reads one file of `info/` into memory without unpacking the archive.
///
/// # Errors
/// Returns [`Fault::Archive`] if the archive is not one or lacks the wanted file, and
/// [`Fault::Refused`] if the wanted file is larger than 256 MiB.
pub(super) fn info_file(path: &Path, wanted: &str) -> Result<Vec<u8>, Fault> {
    let (file, total) = open(path)?;
    let mut contents = None;
    let mut visit = |head: &Head, reader: &mut dyn Read| {
        if head.kind.is_file() && judged(&head.path).is_ok_and(|path| path == Path::new(wanted)) {
            contents = Some(bounded(wanted, reader)?);
            // The error ends the reading, since the rest of the archive is not needed.
            return Err(Fault::Interrupted);
        }
        Ok(())
    };
    let mut read = |stream: &mut dyn Read| match entries_of(stream, &total, &mut visit) {
        Err(Fault::Interrupted) => Ok(()),
        done => done,
    };
    match kind_of(path)? {
        CondaArchiveType::Conda => {
            let mut archive = zip::ZipArchive::new(file).map_err(Fault::archive)?;
            for at in 0..archive.len() {
                let mut part = archive.by_index(at).map_err(Fault::archive)?;
                let name = part.name_raw();
                if name.starts_with(b"info-") && name.ends_with(PART) {
                    read(&mut unzstd(&mut part)?)?;
                    break;
                }
            }
        }
        CondaArchiveType::TarBz2 => read(&mut unbzip2(file))?,
    }
    contents.ok_or_else(|| Fault::archive(format!("it has no {wanted}")))
}

/// Reads a file of at most [`MAX_INFO_BYTES`].
pub(super) fn bounded(name: &str, reader: impl Read) -> Result<Vec<u8>, Fault> {
    let mut contents = Vec::new();
    reader
        .take(MAX_INFO_BYTES + 1)
        .read_to_end(&mut contents)
        .map_err(Fault::archive)?;
    if contents.len() as u64 > MAX_INFO_BYTES {
        return Err(Fault::refused(name, "is larger than 256 MiB"));
    }
    Ok(contents)
}

/// Opens an archive. Returns the file and the number of bytes that it may unpack to.
fn open(path: &Path) -> Result<(fs_err::File, Cell<u64>), Fault> {
    let found = fs_err::metadata(path).map_err(Fault::archive)?;
    if !found.is_file() {
        return Err(Fault::archive("it is no regular file"));
    }
    let total = FREE_BYTES.saturating_add(found.len().saturating_mul(MAX_RATIO));
    let file = fs_err::File::open(path).map_err(Fault::archive)?;
    Ok((file, Cell::new(total)))
}

fn kind_of(path: &Path) -> Result<CondaArchiveType, Fault> {
    CondaArchiveType::try_from(path)
        .ok_or_else(|| Fault::archive("it is neither a .conda nor a .tar.bz2"))
}

fn unzstd(part: impl Read) -> Result<impl Read, Fault> {
    zstd::stream::read::Decoder::new(part).map_err(Fault::archive)
}

fn unbzip2(reader: impl Read) -> impl Read {
    bzip2::bufread::MultiBzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, reader))
}

/// Visits every entry of one stream, then reads to the stream's end, so that a truncated stream is
/// noticed.
fn entries_of(stream: impl Read, total: &Cell<u64>, visit: &mut Visit<'_>) -> Result<(), Fault> {
    let header = Cell::new(u64::MAX);
    let mut archive = tar::Archive::new(Metered {
        // Headers and padding have a few bytes each, and decoders work best with large pieces.
        inner: BufReader::with_capacity(CHUNK_BYTES, stream),
        header: &header,
        total,
    });
    let mut entries = archive.entries().map_err(Fault::archive)?;
    loop {
        header.set(MAX_HEADER_BYTES);
        let Some(entry) = entries.next() else {
            break;
        };
        let mut entry = entry.map_err(Fault::archive)?;
        header.set(u64::MAX);
        let head = Head {
            path: entry.path_bytes().into_owned(),
            kind: entry.header().entry_type(),
            target: entry.link_name_bytes().map(std::borrow::Cow::into_owned),
            mode: entry.header().mode().unwrap_or(0o644),
            modified: entry.header().mtime().unwrap_or(0),
            bytes: entry.size(),
        };
        visit(&head, &mut entry)?;
        std::io::copy(&mut entry, &mut std::io::sink()).map_err(Fault::archive)?;
    }
    header.set(u64::MAX);
    match std::io::copy(&mut archive.into_inner(), &mut std::io::sink()) {
        // Other data follows the end of the bzip2 stream. conda reads no further either.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        done => done.map(|_| ()).map_err(Fault::archive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_stops_at_what_is_allowed() {
        let read = |header: u64, total: u64| {
            let (header, total) = (Cell::new(header), Cell::new(total));
            let mut metered = Metered {
                inner: std::io::repeat(0).take(1000),
                header: &header,
                total: &total,
            };
            std::io::copy(&mut metered, &mut std::io::sink()).map_err(|error| error.to_string())
        };
        assert_eq!(read(1000, 1000), Ok(1000));
        assert!(read(999, 1000).is_err_and(|said| said.contains("names")));
        assert!(read(1000, 999).is_err_and(|said| said.contains("unpacks to more")));
    }
}
