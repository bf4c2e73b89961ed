//! Responsible for Python's byte code. Every `.pyc` of the image is unchecked and hash-based, so
//! that no import compares modification times. The byte code of Pythons before 3.7 holds only a
//! modification time, which is set to the time of the image, see [`timed`].
//!
//! Byte code that came with a package and fits its source only gets another header, which costs
//! nothing and changes no code. Sources whose byte code is stale or missing are listed for the
//! interpreter itself to compile, see [`crate::steps`].

mod held;
mod timed;

use std::{
    collections::HashSet,
    hash::Hasher,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use rustix::fs::FileType;
use siphasher::sip::{SipHasher13, SipHasher24};
pub use timed::stamp_bytecode;

use crate::{error::Error, held::Held, python::Python};
use condense_within::{Access, Within};

/// Length of the header in bytes: magic, flags, and eight bytes that are either time and size of
/// the source or its hash.
const HEADER_BYTES: usize = 16;
/// Maximum number of threads.
const WORKERS_MAX: usize = 8;
/// Flags of byte code that carries its source's hash and is never compared with it.
const UNCHECKED_HASH: u32 = 0b01;
const CHECKED_HASH: u32 = 0b11;

/// Gives fitting byte code its header and returns the sources, relative to the prefix and sorted,
/// that must be compiled. The byte code of the `patched` sources is stale. Files that are held back
/// are treated like those in the prefix.
pub(crate) fn convert(
    env_dir: &Within,
    held: Option<&mut Held>,
    python: &Python,
    patched: &HashSet<PathBuf>,
) -> Result<Vec<PathBuf>, Error> {
    let library = python.library();
    let mut sources = Vec::new();
    find_sources(env_dir, library, &mut sources)?;
    sources.sort_unstable();
    let writer = Writer::find(env_dir, held.as_deref(), library, python)?;
    let mut missing = match &writer {
        None => sources,
        Some(writer) => {
            let convert = |source: &PathBuf| writer.convert(source, !patched.contains(source));
            missing_of(sources, &convert)?
        }
    };
    if let Some(held) = held {
        missing.extend(held::convert(held, writer.as_ref(), python, patched)?);
    }
    missing.sort_unstable();
    Ok(missing)
}

/// Returns the sources that have no byte code with the hash of their text. Files that are held back
/// are treated like those in the prefix.
pub(crate) fn lacking(
    env_dir: &Within,
    held: &Held,
    python: &Python,
    mut sources: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, Error> {
    let Some(writer) = Writer::find(env_dir, Some(held), python.library(), python)? else {
        return Ok(sources);
    };
    let mut failure = None;
    sources.retain(|source| match writer.has_hash_of(source, held) {
        Ok(has_hash) => !has_hash,
        Err(error) => {
            failure.get_or_insert(error);
            true
        }
    });
    failure.map_or(Ok(sources), Err)
}

/// Calls `convert` for all sources, and returns those for which it returns false.
fn missing_of(
    sources: Vec<PathBuf>,
    convert: &(dyn Fn(&PathBuf) -> Result<bool, Error> + Sync),
) -> Result<Vec<PathBuf>, Error> {
    let workers = condense_threads::cores(WORKERS_MAX);
    let are_plain = condense_threads::try_map(workers, &sources, convert)?;
    let both = sources.into_iter().zip(are_plain);
    Ok(both
        .filter(|(_, is_plain)| !is_plain)
        .map(|(source, _)| source)
        .collect())
}

/// Lists all paths at which an interpreter may look for the byte code of a source.
pub(crate) fn paths_of(source: &Path, python: &Python) -> Vec<PathBuf> {
    let tags = tags_of(python).into_iter();
    tags.flat_map(|tag| compiled(source, tag.as_deref()))
        .collect()
}

fn find_sources(env_dir: &Within, dir: &Path, sources: &mut Vec<PathBuf>) -> Result<(), Error> {
    for (name, kind) in env_dir.entries(dir)? {
        let path = dir.join(&name);
        if kind == FileType::Directory {
            if name != "__pycache__" {
                find_sources(env_dir, &path, sources)?;
            }
        } else if kind == FileType::RegularFile
            && path.extension().is_some_and(|extension| extension == "py")
        {
            sources.push(path);
        }
    }
    Ok(())
}

/// Returns the tag of byte code, such as `cpython-311` in `x.cpython-311.pyc`. Python 2 has no tag.
fn tag_of(python: &Python) -> Option<String> {
    (python.major > 2).then(|| format!("cpython-{}{}", python.major, python.minor))
}

/// Returns the tags that the byte code of an interpreter may have, the likeliest first. That of a
/// free-threaded interpreter (without a GIL) may have a `t`, or may not.
fn tags_of(python: &Python) -> Vec<Option<String>> {
    let free_threaded = tag_of(python)
        .filter(|_| python.library_name().ends_with('t'))
        .map(|tag| tag + "t");
    let tags = free_threaded.into_iter().map(Some);
    tags.chain([tag_of(python)]).collect()
}

/// Lists the paths of a source's byte code, plain and optimised. Byte code without a tag is kept
/// beside its source.
fn compiled(source: &Path, tag: Option<&str>) -> Vec<PathBuf> {
    let (Some(dir), Some(stem)) = (source.parent(), source.file_stem()) else {
        return Vec::new();
    };
    let Some(tag) = tag else {
        let beside = |ending: &str| source.with_extension(ending);
        return ["pyc", "pyo"].map(beside).into();
    };
    let path = |suffix: &str| {
        let mut name = stem.to_owned();
        name.push(format!(".{tag}{suffix}.pyc"));
        dir.join("__pycache__").join(name)
    };
    ["", ".opt-1", ".opt-2"].map(path).into()
}

/// Writes byte code in the format of one interpreter.
struct Writer<'a> {
    env_dir: &'a Within,
    python: &'a Python,
    tag: Option<String>,
    magic: [u8; 4],
}

impl<'a> Writer<'a> {
    /// Reads the magic number of this interpreter from byte code that came with it.
    fn find(
        env_dir: &'a Within,
        held: Option<&Held>,
        library: &Path,
        python: &'a Python,
    ) -> Result<Option<Self>, Error> {
        for tag in tags_of(python) {
            let path = match &tag {
                Some(tag) => library.join(format!("__pycache__/os.{tag}.pyc")),
                None => library.join("os.pyc"),
            };
            let mut magic = [0; 4];
            if let Some(mut file) = env_dir.open_file(&path, Access::Read)? {
                file.read_exact(&mut magic)
                    .map_err(Error::io("read", env_dir.path(&path)))?;
            } else if !held::read_head(held, &path, &mut magic)? {
                continue;
            }
            return Ok(Some(Self {
                env_dir,
                python,
                tag,
                magic,
            }));
        }
        Ok(None)
    }

    /// Returns whether the plain byte code of a source is unchecked and has the hash of its text.
    fn has_hash_of(&self, source: &Path, held: &Held) -> Result<bool, Error> {
        let plain = compiled(source, self.tag.as_deref()).into_iter().next();
        let Some(path) = plain.filter(|_| self.python.hashes_sources()) else {
            return Ok(false);
        };
        let mut header = [0; HEADER_BYTES];
        let is_there = match self.env_dir.open_file(&path, Access::Read)? {
            Some(mut file) => file.read_exact(&mut header).is_ok(),
            None => held::read_head(Some(held), &path, &mut header)?,
        };
        if !is_there || header[4..8] != UNCHECKED_HASH.to_le_bytes() {
            return Ok(false);
        }
        let text = match held.part(source) {
            Some(part) => held.read(part)?,
            None => self.env_dir.read_required(source)?,
        };
        Ok(header[8..] == source_hash(self.python, self.magic, &text))
    }

    /// Returns true when the source has plain byte code that fits. Optimised byte code that does
    /// not fit is removed.
    fn convert(&self, source: &Path, fresh: bool) -> Result<bool, Error> {
        let mut plain = false;
        let mut hash = None;
        let paths = compiled(source, self.tag.as_deref());
        for (at, path) in paths.into_iter().enumerate() {
            if !make_writable(self.env_dir, &path)? {
                continue;
            }
            let fits = fresh
                && if self.python.hashes_sources() {
                    let (python, magic) = (self.python, self.magic);
                    convert_file(self.env_dir, &path, source, python, magic, &mut hash)?
                } else {
                    timed::fits(self.env_dir, &path, source, self.python, Some(self.magic))?
                };
            if fits {
                plain |= at == 0;
            } else if at > 0 {
                self.env_dir.remove(&path)?;
            }
        }
        Ok(plain)
    }
}

/// Makes a file writable. Returns false if there is no file, or a link in its place.
fn make_writable(env_dir: &Within, path: &Path) -> Result<bool, Error> {
    let Some(found) = env_dir.stat_of_link(path) else {
        return Ok(false);
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    let mode = found.st_mode & 0o7777;
    if mode & 0o200 == 0 {
        env_dir.set_mode(path, mode | 0o200)?;
    }
    Ok(true)
}

fn convert_file(
    env_dir: &Within,
    path: &Path,
    source: &Path,
    python: &Python,
    magic: [u8; 4],
    hash: &mut Option<[u8; 8]>,
) -> Result<bool, Error> {
    let Some(mut file) = env_dir.open_file(path, Access::Change)? else {
        return Ok(false);
    };
    let mut header = [0; HEADER_BYTES];
    if file.read_exact(&mut header).is_err() || header[..4] != magic {
        return Ok(false);
    }
    let source_file = Source {
        times: || {
            let found = env_dir.stat(source)?;
            Ok((found.st_mtime, found.st_size))
        },
        text: || Ok(env_dir.read_required(source)?),
    };
    if !convert_header(&mut header, &source_file, python, magic, hash)? {
        return Ok(false);
    }
    file.rewind()
        .and_then(|()| file.write_all(&header))
        .map_err(Error::io("write", env_dir.path(path)))?;
    Ok(true)
}

/// Source of byte code.
struct Source<T, R> {
    /// Returns modification time and size.
    times: T,
    text: R,
}

/// Makes the header of fitting byte code unchecked and hash-based. Returns false if the byte code
/// does not fit its source.
fn convert_header<T, R>(
    header: &mut [u8; HEADER_BYTES],
    source: &Source<T, R>,
    python: &Python,
    magic: [u8; 4],
    hash: &mut Option<[u8; 8]>,
) -> Result<bool, Error>
where
    T: Fn() -> Result<(i64, i64), Error>,
    R: Fn() -> Result<Vec<u8>, Error>,
{
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let flags = word(4);
    if flags == 0 {
        let (modified, size) = (source.times)()?;
        // Time and size are kept modulo 2^32 in the file.
        if i64::from(word(8)) != modified & 0xffff_ffff || i64::from(word(12)) != size & 0xffff_ffff
        {
            return Ok(false);
        }
    }
    let hash = if let Some(hash) = hash {
        *hash
    } else {
        *hash.insert(source_hash(python, magic, &(source.text)()?))
    };
    match flags {
        0 => {}
        UNCHECKED_HASH | CHECKED_HASH if header[8..] == hash => {}
        _ => return Ok(false),
    }
    header[4..8].copy_from_slice(&UNCHECKED_HASH.to_le_bytes());
    header[8..].copy_from_slice(&hash);
    Ok(true)
}

/// Gives unchecked-hash byte code the hash of this text of its source.
pub(crate) fn set_hash(bytecode: &mut [u8], python: &Python, text: &[u8]) {
    if let Some((magic, rest)) = bytecode.split_first_chunk_mut::<4>()
        && let Some(hash) = rest.get_mut(4..HEADER_BYTES - 4)
    {
        hash.copy_from_slice(&source_hash(python, *magic, text));
    }
}

/// Returns the path of the source of tagged byte code and the version of its interpreter, major and
/// minor, by the path of the byte code.
pub(crate) fn source_of(code: &Path) -> Option<(PathBuf, (u64, u64))> {
    let dir = code.parent().filter(|dir| dir.ends_with("__pycache__"))?;
    let name = code.file_name()?.to_str()?.strip_suffix(".pyc")?;
    let optimised = [".opt-1", ".opt-2"];
    let plain = optimised.iter().find_map(|end| name.strip_suffix(end));
    let (stem, tag) = plain.unwrap_or(name).rsplit_once('.')?;
    let digits = tag.strip_prefix("cpython-")?;
    let digits = digits.strip_suffix('t').unwrap_or(digits);
    let (major, minor) = digits.split_at_checked(1)?;
    let source = dir.parent()?.join(format!("{stem}.py"));
    Some((source, (major.parse().ok()?, minor.parse().ok()?)))
}

/// Returns the hash of a source by [`SourceHasher`].
fn source_hash(python: &Python, magic: [u8; 4], text: &[u8]) -> [u8; 8] {
    let mut hasher = SourceHasher::new((python.major, python.minor), magic);
    hasher.write(text);
    hasher.finish()
}

/// `importlib.util.source_hash`: a keyed SipHash whose rounds changed with Python 3.11.
pub(crate) enum SourceHasher {
    Older(SipHasher24),
    Since311(SipHasher13),
}

impl SourceHasher {
    /// Creates the hasher of an interpreter with this version, major and minor, whose byte code
    /// begins with `magic`.
    pub(crate) fn new(version: (u64, u64), magic: [u8; 4]) -> Self {
        let key = u64::from(u32::from_le_bytes(magic));
        if version >= (3, 11) {
            Self::Since311(SipHasher13::new_with_keys(key, 0))
        } else {
            Self::Older(SipHasher24::new_with_keys(key, 0))
        }
    }

    pub(crate) fn write(&mut self, text: &[u8]) {
        match self {
            Self::Older(hasher) => hasher.write(text),
            Self::Since311(hasher) => hasher.write(text),
        }
    }

    pub(crate) fn finish(&self) -> [u8; 8] {
        let value = match self {
            Self::Older(hasher) => hasher.finish(),
            Self::Since311(hasher) => hasher.finish(),
        };
        value.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Python, SourceHasher, compiled, set_hash, source_hash, source_of};

    #[test]
    fn the_source_of_byte_code_is_found_by_its_path() {
        let source = Path::new("lib/a.b.py");
        for (tag, version) in [("cpython-39", (3, 9)), ("cpython-314t", (3, 14))] {
            for code in compiled(source, Some(tag)) {
                assert_eq!(source_of(&code), Some((source.to_owned(), version)));
            }
        }
        for other in [
            "lib/a.cpython-311.pyc",
            "__pycache__/a.pyc",
            "__pycache__/a.cpython-311.py",
            "__pycache__/test_a.cpython-311-pytest-7.4.0.pyc",
            "__pycache__/a.pypy39.pyc",
            "__pycache__/a.cpython-3.pyc",
        ] {
            assert_eq!(source_of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_hash_in_pieces_is_that_of_the_whole() {
        for minor in [10, 11] {
            let (text, magic) = ([7; 1000], [0x6f, 0x0d, 0x0d, 0x0a]);
            let mut hasher = SourceHasher::new((3, minor), magic);
            text.chunks(13).for_each(|piece| hasher.write(piece));
            let whole = source_hash(&Python::new(3, minor), magic, &text);
            assert_eq!(hasher.finish(), whole);
        }
    }

    /// Values printed by `importlib.util.source_hash(b'print(1)\n')` of these interpreters.
    #[test]
    fn source_hashes_are_those_of_the_interpreters() {
        let check = |minor, magic: [u8; 4], expected: &str| {
            let found = source_hash(&Python::new(3, minor), magic, b"print(1)\n");
            assert_eq!(hex::encode(found), expected, "Python 3.{minor}");
        };
        check(10, [0x6f, 0x0d, 0x0d, 0x0a], "28765e52ed782214");
        check(11, [0xa7, 0x0d, 0x0d, 0x0a], "da812d7f407a3059");
        check(13, [0xf3, 0x0d, 0x0d, 0x0a], "5a90791f83be4635");
    }

    #[test]
    fn a_hash_is_set_in_the_header() {
        let header = |hash: &str| {
            let hash = hex::decode(hash).expect("are digits");
            [&[0xf3, 0x0d, 0x0d, 0x0a, 1, 0, 0, 0], &*hash, b"code"].concat()
        };
        let mut bytecode = header("0000000000000000");
        set_hash(&mut bytecode, &Python::new(3, 13), b"print(1)\n");
        assert_eq!(bytecode, header("5a90791f83be4635"));
        let mut short = bytecode[..15].to_vec();
        set_hash(&mut short, &Python::new(3, 13), b"");
        assert_eq!(short, bytecode[..15]);
    }
}
