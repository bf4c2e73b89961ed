//! Responsible for the byte code of files that are held back. Its header is changed in the spool.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{HEADER_BYTES, Source, Writer, compiled, convert_header, missing_of};
use crate::{
    error::Error,
    held::Held,
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
    let sources: Vec<PathBuf> = held
        .below(library)
        .filter(|path| is_source(path, library) && held.part(path).is_some())
        .map(Path::to_owned)
        .collect();
    let Some(writer) = writer else {
        return Ok(sources);
    };
    let changes = Mutex::new(Vec::new());
    let convert = |source: &PathBuf| {
        let (is_plain, mut mine) = writer.convert_held(held, source, !patched.contains(source))?;
        changes
            .lock()
            .expect("no worker panics while it holds the list")
            .append(&mut mine);
        Ok(is_plain)
    };
    let missing = missing_of(&sources, &convert)?;
    for (path, change) in changes.into_inner().expect("workers have ended") {
        match change {
            Change::Remove => held.remove(&path),
            Change::Move(part) => held.replace(&path, part),
        }
    }
    Ok(missing)
}

/// Change of byte code that is held back.
enum Change {
    /// Optimised byte code that does not fit goes.
    Remove,
    /// Byte code in a file that is only read has its header in its part.
    Move(Part),
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
        source: &Path,
        fresh: bool,
    ) -> Result<(bool, Vec<(PathBuf, Change)>), Error> {
        let (mut plain, mut changes, mut hash) = (false, Vec::new(), None);
        let paths = compiled(source, self.tag.as_deref());
        for (at, path) in paths.into_iter().enumerate() {
            let Some(part) = held.part(&path) else {
                continue;
            };
            let io = |action| Error::io(action, held.spool().path());
            let mut header = [0; HEADER_BYTES];
            let known = held.known_byte_code(part, source);
            let is_whole = if let Some(known) = known {
                header = known.head;
                true
            } else {
                let read = held.contents().read_head(part, &mut header);
                read.map_err(io("read"))?
            };
            if header[..4] == self.magic {
                hash = hash.or(known.map(|known| known.source_hash));
            }
            let fits = fresh && is_whole && header[..4] == self.magic && {
                let source = Source {
                    times: || Ok(held.times(source)),
                    text: || held.read_required(source),
                };
                convert_header(&mut header, &source, self.python, self.magic, &mut hash)?
            };
            if fits {
                let moved = write_header(held.contents(), part, header).map_err(io("write"))?;
                changes.extend(moved.map(|part| (path, Change::Move(part))));
                plain |= at == 0;
            } else if at > 0 {
                changes.push((path, Change::Remove));
            }
        }
        Ok((plain, changes))
    }
}
