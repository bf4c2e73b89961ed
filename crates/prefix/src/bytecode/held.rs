//! Responsible for the byte code of files that are held back. Its header is changed in the spool.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{HEADER_BYTES, Source, WORKERS_MAX, Writer, compiled, convert_header};
use crate::{
    error::Error,
    held::{Held, HeldFile},
    python::Python,
    spool::{Member, Part, Spool},
};

/// Does the work of [`super::convert`] for files that are held back. Without a writer, all their
/// sources must be compiled.
pub(super) fn convert(
    held: &mut Held,
    writer: Option<&Writer<'_>>,
    python: &Python,
    patched: &HashSet<PathBuf>,
) -> Result<Vec<PathBuf>, Error> {
    let library = python.library();
    let files = held.files_below(library);
    let sources: Vec<(PathBuf, HeldFile)> = files
        .filter(|(path, _)| is_source(path, library))
        .map(|(path, file)| (path.to_owned(), file))
        .collect();
    let Some(writer) = writer else {
        return Ok(sources.into_iter().map(|(path, _)| path).collect());
    };
    let convert = |(path, source): &(PathBuf, HeldFile)| {
        writer.convert_held(held, path, *source, !patched.contains(path))
    };
    let workers = condense_threads::cores(WORKERS_MAX);
    let converted = condense_threads::try_map(workers, &sources, convert)?;
    let mut missing = Vec::new();
    for ((path, _), (is_plain, changes)) in sources.into_iter().zip(converted) {
        if !is_plain {
            missing.push(path);
        }
        for change in changes {
            match change {
                Change::Remove(path) => held.remove(&path),
                Change::Move(number, part) => held.replace(number, part),
            }
        }
    }
    Ok(missing)
}

/// Change of byte code that is held back.
enum Change {
    /// Optimised byte code that does not fit goes.
    Remove(PathBuf),
    /// Byte code in a file that is only read, which has this number, has its header in its part.
    Move(usize, Part),
}

fn is_source(path: &Path, library: &Path) -> bool {
    let below = path.strip_prefix(library).unwrap_or(path);
    let is_cached = |dir: &Path| dir.iter().any(|name| name == OsStr::new("__pycache__"));
    path.extension().is_some_and(|found| found == "py") && !below.parent().is_some_and(is_cached)
}

/// Reads the first bytes of byte code that is held back. Returns false if there are not as many.
pub(super) fn read_head(
    held: Option<&Held>,
    path: &Path,
    buffer: &mut [u8],
) -> Result<bool, Error> {
    let Some((held, part)) = held.and_then(|held| Some((held, held.part(path)?))) else {
        return Ok(false);
    };
    let failed = Error::io("read", held.spool().path());
    held.contents().read_head(part, buffer).map_err(failed)
}

/// Gives byte code a header. Returns its part if that is another one: a file that is only read
/// stays as it is, and the part has the header.
fn write_header(
    spool: &Spool,
    part: Part,
    header: [u8; HEADER_BYTES],
) -> std::io::Result<Option<Part>> {
    if part.file == Member::Own {
        return spool.write(part, 0, &header).map(|()| None);
    }
    Ok(Some(Part {
        head: Some(header),
        ..part
    }))
}

impl Writer<'_> {
    /// Returns whether the source has plain byte code that fits, and the changes that the caller
    /// makes.
    fn convert_held(
        &self,
        held: &Held,
        path: &Path,
        source: HeldFile,
        fresh: bool,
    ) -> Result<(bool, Vec<Change>), Error> {
        let (mut plain, mut changes, mut hash) = (false, Vec::new(), None);
        let paths = compiled(path, self.tag.as_deref());
        for (at, path) in paths.into_iter().enumerate() {
            let Some((number, code)) = held.numbered_file(&path) else {
                continue;
            };
            let io = |action| Error::io(action, held.spool().path());
            let mut header = [0; HEADER_BYTES];
            let known = held.known_byte_code(code.part, source.part);
            let is_whole = if let Some(known) = known {
                header = known.head;
                true
            } else {
                let read = held.contents().read_head(code.part, &mut header);
                read.map_err(io("read"))?
            };
            if header[..4] == self.magic {
                hash = hash.or(known.map(|known| known.source_hash));
            }
            let fits = fresh && is_whole && header[..4] == self.magic && {
                let source = Source {
                    times: || Ok((source.modified, source.part.bytes.cast_signed())),
                    text: || held.read(source.part),
                };
                convert_header(&mut header, &source, self.python, self.magic, &mut hash)?
            };
            if fits {
                let moved = write_header(held.contents(), code.part, header);
                let moved = moved.map_err(io("write"))?;
                changes.extend(moved.map(|part| Change::Move(number, part)));
                plain |= at == 0;
            } else if at > 0 {
                changes.push(Change::Remove(path));
            }
        }
        Ok((plain, changes))
    }
}
