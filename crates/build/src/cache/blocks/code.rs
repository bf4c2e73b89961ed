//! Responsible for the byte code beside the blocks, which earlier builds have compiled. Each file
//! has what one build has compiled anew: few files, however many packages there are.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use condense_prefix::CodeKey;
use sha2::{Digest, Sha256};

use super::{
    files::{files_with, is_at, is_key_with, make_locked, open_trusted, remove_unused},
    place::Trust,
};

/// End of the names of files of byte code, behind the 64 digits of the digest of their keys.
const SUFFIX: &str = ".code";
/// Beginning of a file: a line of this, the length of the list of entries and its SHA-256. The list
/// has a line `KEY LENGTH SHA-256` for each entry. The entries follow.
const HEAD: &str = "condense code 1";
/// Maximum length of the first line in bytes.
const HEAD_MAX: u64 = 128;
/// Maximum length of a line of the list in bytes.
const LINE_MAX: u64 = 160;
/// Maximum size of the list of entries in bytes.
const LIST_MAX: u64 = 64 << 20;
/// Maximum number of files. Those that were used longest ago go first.
const FILES_MAX: usize = 64;

/// Returns whether a name is that of a file of byte code.
pub(super) fn is_code(name: &str) -> bool {
    is_key_with(name, SUFFIX)
}

/// Lists the files of byte code in a directory.
pub(super) fn list(dir: &Path) -> Vec<PathBuf> {
    files_with(dir, is_code)
}

/// Place of an entry in a file.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    length: u64,
    sha256: [u8; 32],
}

/// Open file of byte code.
#[derive(Debug)]
struct CodeFile {
    path: PathBuf,
    file: File,
    was_used: AtomicBool,
}

/// Byte code in a directory.
#[derive(Debug, Default)]
pub(super) struct Codes {
    files: Vec<CodeFile>,
    /// Number of the file, and place in it.
    places: HashMap<CodeKey, (usize, Entry)>,
}

impl Codes {
    /// Opens the files of this user in a directory. Those that are not whole are left out.
    pub(super) fn open(dir: &Path) -> Self {
        let mut codes = Self::default();
        for path in list(dir) {
            let Ok((file, entries)) = open(&path) else {
                continue;
            };
            let number = codes.files.len();
            codes.files.push(CodeFile {
                path,
                file,
                was_used: AtomicBool::new(false),
            });
            for (key, entry) in entries {
                codes.places.entry(key).or_insert((number, entry));
            }
        }
        codes
    }

    /// Returns an entry as it was written, and notes that its file was used. A file with damage is
    /// removed, since what is compiled again would have its name.
    pub(super) fn find(&self, key: &CodeKey) -> Option<Vec<u8>> {
        let (number, entry) = self.places.get(key)?;
        let found = &self.files[*number];
        let Some(bytes) = read(&found.file, entry) else {
            if is_at(&found.file, &found.path).unwrap_or(false) {
                let _ = std::fs::remove_file(&found.path);
            }
            return None;
        };
        if !found.was_used.swap(true, Ordering::Relaxed) {
            // Times of a cache that is only read stay as they are.
            let _ = found.file.set_modified(SystemTime::now());
        }
        Some(bytes)
    }
}

/// Reads an entry. Returns `None` if it is not as it was written.
fn read(file: &File, entry: &Entry) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(entry.length).ok()?];
    file.read_exact_at(&mut bytes, entry.offset).ok()?;
    (Sha256::digest(&bytes)[..] == entry.sha256).then_some(bytes)
}

/// Opens a file of byte code, and reads which entries it has.
///
/// # Errors
/// Returns the reason for which it is not used.
fn open(path: &Path) -> Result<(File, Vec<(CodeKey, Entry)>), String> {
    let file = open_trusted(path, &Trust::own()).map_err(|why| why.to_string())?;
    let entries = entries(&file).map_err(|error| error.to_string())?;
    Ok((file, entries.ok_or("it is damaged")?))
}

/// Reads the list of entries. Returns `None` if it is not as it was written, or if the entries are
/// cut off.
fn entries(file: &File) -> std::io::Result<Option<Vec<(CodeKey, Entry)>>> {
    let (mut reader, mut line) = (BufReader::new(file), String::new());
    if reader.by_ref().take(HEAD_MAX).read_line(&mut line).is_err() {
        return Ok(None);
    }
    let words = line.strip_prefix(HEAD).and_then(|rest| {
        let (length, sha256) = rest
            .strip_prefix(' ')?
            .strip_suffix('\n')?
            .split_once(' ')?;
        Some((length.parse().ok()?, sha256))
    });
    let Some((length, sha256)) = words.filter(|(length, _)| *length <= LIST_MAX) else {
        return Ok(None);
    };
    let mut list = Vec::new();
    reader.take(length).read_to_end(&mut list)?;
    if hex::encode(Sha256::digest(&list)) != sha256 {
        return Ok(None);
    }
    let (mut offset, mut entries) = (line.len() as u64 + length, Vec::new());
    for line in String::from_utf8_lossy(&list).lines() {
        let mut words = line.split(' ');
        let Some((key, entry)) = entry(&mut words, offset) else {
            return Ok(None);
        };
        let Some(end) = offset.checked_add(entry.length) else {
            return Ok(None);
        };
        offset = end;
        entries.push((key, entry));
    }
    Ok((file.metadata()?.len() == offset).then_some(entries))
}

fn entry<'a>(words: &mut impl Iterator<Item = &'a str>, offset: u64) -> Option<(CodeKey, Entry)> {
    let digest = |word: &str| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(word, &mut bytes).ok()?;
        Some(bytes)
    };
    let key = digest(words.next()?)?;
    let entry = Entry {
        offset,
        length: words.next()?.parse().ok()?,
        sha256: digest(words.next()?)?,
    };
    Some((key, entry))
}

/// Checks a whole file of byte code.
///
/// # Errors
/// Returns the reason for which it, or some of it, is not used.
pub(super) fn verify(path: &Path) -> Result<(), String> {
    let (file, entries) = open(path)?;
    let damaged = entries
        .iter()
        .filter(|(_, entry)| read(&file, entry).is_none());
    match damaged.count() {
        0 => Ok(()),
        some => Err(format!("{some} of {} entries are damaged", entries.len())),
    }
}

/// Returns the maximum size of a file with these entries.
pub(super) fn size_of(entries: &[(CodeKey, Vec<u8>)]) -> u64 {
    let sizes = entries
        .iter()
        .map(|(_, bytes)| LINE_MAX + bytes.len() as u64);
    HEAD_MAX + sizes.sum::<u64>()
}

/// Returns the first line and the list of a file.
fn head(entries: &[(CodeKey, Vec<u8>)]) -> (String, String) {
    let line = |(key, bytes): &(CodeKey, Vec<u8>)| {
        let [key, sha256] = [hex::encode(key), hex::encode(Sha256::digest(bytes))];
        format!("{key} {} {sha256}\n", bytes.len())
    };
    let list: String = entries.iter().map(line).collect();
    let sha256 = hex::encode(Sha256::digest(&list));
    (format!("{HEAD} {} {sha256}\n", list.len()), list)
}

/// Writes a file with these entries, and removes those that were used longest ago if there are
/// many.
///
/// # Errors
/// Returns the first error of writing.
pub(super) fn write(dir: &Path, entries: &[(CodeKey, Vec<u8>)]) -> std::io::Result<()> {
    let (head, list_of_entries) = head(entries);
    let mut keys = Sha256::new();
    for (key, _) in entries {
        keys.update(key);
    }
    let mut new = make_locked(dir)?;
    new.write_all(head.as_bytes())?;
    new.write_all(list_of_entries.as_bytes())?;
    for (_, bytes) in entries {
        new.write_all(bytes)?;
    }
    let name = format!("{}{SUFFIX}", hex::encode(keys.finalize()));
    new.persist(dir.join(name)).map_err(|error| error.error)?;
    remove_unused(list(dir), FILES_MAX);
    Ok(())
}
