//! Responsible for the byte code of files that are held back. Its header is changed in the spool.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{HEADER_BYTES, Source, Writer, compiled, convert_header, missing_of};
use crate::{error::Error, held::Held, python::Python};

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
    let stale = Mutex::new(Vec::new());
    let convert = |source: &PathBuf| {
        let (is_plain, mut unfit) = writer.convert_held(held, source, !patched.contains(source))?;
        stale
            .lock()
            .expect("no worker panics while it holds the list")
            .append(&mut unfit);
        Ok(is_plain)
    };
    let missing = missing_of(&sources, &convert)?;
    for path in stale.into_inner().expect("workers have ended") {
        held.remove(&path);
    }
    Ok(missing)
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

impl Writer<'_> {
    /// Returns whether the source has plain byte code that fits, and optimised byte code that does
    /// not fit.
    fn convert_held(
        &self,
        held: &Held,
        source: &Path,
        fresh: bool,
    ) -> Result<(bool, Vec<PathBuf>), Error> {
        let (mut plain, mut unfit, mut hash) = (false, Vec::new(), None);
        let paths = compiled(source, self.tag.as_deref());
        for (at, path) in paths.into_iter().enumerate() {
            let Some(part) = held.part(&path) else {
                continue;
            };
            let io = |action| Error::io(action, held.spool().path());
            let mut header = [0; HEADER_BYTES];
            let is_whole = held
                .contents()
                .read_head(part, &mut header)
                .map_err(io("read"))?;
            let fits = fresh && is_whole && header[..4] == self.magic && {
                let source = Source {
                    times: || Ok(held.times(source)),
                    text: || held.read_required(source),
                };
                convert_header(&mut header, &source, self.python, self.magic, &mut hash)?
            };
            if fits {
                held.contents()
                    .write(part, 0, &header)
                    .map_err(io("write"))?;
                plain |= at == 0;
            } else if at > 0 {
                unfit.push(path);
            }
        }
        Ok((plain, unfit))
    }
}
