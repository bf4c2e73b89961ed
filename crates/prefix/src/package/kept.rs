//! Responsible for unpacked packages that are kept for later builds: one file for each package,
//! with the contents of its files one behind the other and the list of them, as the archive has
//! them.
//!
//! The name of such a file is the caller's matter; its key is the SHA-256 digest of the archive.
//! Checksums tell a damaged file from a whole one. Each whole block of a file has a digest of its
//! own, by which an image gets it without reading it; everything else has one checksum. The first
//! bytes of byte code and the hash of its source are there once more (`byte_code`).
//!
//! Only files that this user has written may be opened, since nothing compares the contents with
//! the archive again. They are written when code of packages has run, which might have changed the
//! spool: a digest of everything is computed while the archive is unpacked, and what has another
//! one is not kept.

mod byte_code;

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    ops::Range,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::FileExt,
    },
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use self::byte_code::{NewByteCode, SourceHashes, known};
use super::{
    Kind,
    path::judged,
    store::{InSpool, Spooled},
};
use crate::spool::{
    BLOCK_BYTES, DIGEST_BYTES, Digests, FirstDigest, HEAD, Part, Spool, block_digest,
};

/// First bytes of a file. The digit changes with the format, and whenever the same archive is
/// unpacked to something else.
const MAGIC: [u8; 8] = *b"unpackd3";
/// Size of the head: the magic number, position and size of the digests with the list behind them,
/// size of the digests, the checksums of contents and of digests with list, and the checksum of the
/// head before it. The digests are those of blocks, and then those of byte code.
const HEAD_BYTES: usize = 56;
/// Number of bytes that are read and written at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Maximum size of a list in bytes.
const LIST_MAX: u64 = 1 << 30;

/// Unpacked packages that earlier builds have kept.
pub trait KeptPackages: Send + Sync {
    /// Opens the file with the package whose archive has this SHA-256 digest, and returns it with
    /// its path. Returns `None` if there is none that this user alone has written.
    fn open(&self, sha256: &[u8; 32]) -> Option<fs_err::File>;

    /// Removes the file of a package, which is damaged.
    fn remove(&self, sha256: &[u8; 32]);

    /// Returns whether an image finds the block with this digest ([`crate::block_digest`]) without
    /// its content.
    fn knows_block(&self, digest: &[u8]) -> bool {
        let _ = digest;
        false
    }
}

/// List of everything in a package.
#[derive(Serialize, Deserialize)]
struct List {
    /// SHA-256 digest of the archive.
    archive: ByteBuf,
    files: Vec<ListedFile>,
    entries: Vec<(ByteBuf, ListedKind)>,
    /// Numbers of files with byte code, and of their sources.
    byte_code: Vec<(usize, usize)>,
}

#[derive(Serialize, Deserialize)]
struct ListedFile {
    offset: u64,
    bytes: u64,
    mode: u32,
    /// Modification time in seconds since 1970.
    modified: u64,
}

impl ListedFile {
    /// Returns where the end of the file lies that is no whole block.
    fn rest(&self) -> Range<u64> {
        let end = self.offset + self.bytes;
        end - self.bytes % BLOCK_BYTES as u64..end
    }
}

#[derive(Serialize, Deserialize)]
enum ListedKind {
    Directory,
    /// A symbolic link with its target.
    Link(ByteBuf),
    /// A name of the file with this number.
    File(usize),
}

/// A package that was unpacked by this build, and that later builds may use.
#[derive(Debug, Clone)]
pub struct NewPackage {
    spool: Arc<Spool>,
    sha256: [u8; 32],
    list: Vec<u8>,
    /// Parts of the spool with the contents of the files. Those of byte code have its first bytes
    /// as in the archive, since the build changes them in the spool.
    parts: Vec<Part>,
    byte_code: Vec<NewByteCode>,
    /// Digest of the contents in the archive.
    digest: [u8; 32],
}

impl NewPackage {
    /// Lists an archive with this digest that was unpacked into a spool. Returns `None` if the list
    /// cannot be written.
    pub(super) fn new<'a>(
        store: &InSpool,
        kinds: impl Iterator<Item = (&'a OsString, &'a Kind)>,
        sha256: [u8; 32],
    ) -> Option<Self> {
        let digest = store.digest()?;
        let (mut offset, mut files, mut parts) = (HEAD_BYTES as u64, Vec::new(), Vec::new());
        for file in store.files() {
            let since = file.modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            files.push(ListedFile {
                offset,
                bytes: file.part.bytes,
                mode: file.mode,
                modified: since.as_secs(),
            });
            parts.push(file.part);
            offset += file.part.bytes;
        }
        let (mut entries, mut byte_code) = (Vec::new(), Vec::new());
        for (path, kind) in kinds {
            let listed = match kind {
                Kind::Directory => ListedKind::Directory,
                Kind::Link(target) => {
                    ListedKind::Link(ByteBuf::from(target.as_os_str().as_bytes()))
                }
                Kind::File => {
                    let (number, file) = store.get(Path::new(path))?;
                    if Path::new(path).extension().is_some_and(is_byte_code) {
                        let head = head_of(store.spool(), file.part)?;
                        parts[number].head = head;
                        byte_code.extend(NewByteCode::of(store, path, number, head));
                    }
                    ListedKind::File(number)
                }
            };
            entries.push((ByteBuf::from(path.as_bytes()), listed));
        }
        entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        byte_code.sort_unstable_by_key(|it| (it.code, it.source));
        let list = List {
            archive: ByteBuf::from(sha256),
            files,
            entries,
            byte_code: byte_code.iter().map(|it| (it.code, it.source)).collect(),
        };
        Some(Self {
            spool: Arc::clone(store.spool()),
            sha256,
            list: rmp_serde::to_vec(&list).ok()?,
            parts,
            byte_code,
            digest,
        })
    }

    /// Returns the SHA-256 digest of the archive.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Returns the size in bytes of the file that [`Self::write`] writes.
    pub fn bytes(&self) -> u64 {
        let contents: u64 = self.parts.iter().map(|part| part.bytes).sum();
        let blocks: usize = self.parts.iter().map(|part| blocks_of(part.bytes)).sum();
        let digests = blocks * DIGEST_BYTES + self.byte_code.len() * byte_code::BYTES;
        HEAD_BYTES as u64 + contents + (digests + self.list.len()) as u64
    }

    /// Writes the package into a new, empty file. `stopped` is asked between large pieces.
    ///
    /// # Errors
    /// Returns the first error of reading or writing, one of the kind
    /// [`std::io::ErrorKind::InvalidData`] if the contents are no longer those of the archive, and
    /// one of the kind [`std::io::ErrorKind::Interrupted`] after a stop.
    pub fn write(&self, file: &File, stopped: &dyn Fn() -> bool) -> std::io::Result<()> {
        let mut output = Output {
            file,
            at: HEAD_BYTES as u64,
            checksum: Xxh3::new(),
            digest: blake3::Hasher::new(),
            blocks: Vec::new(),
        };
        let mut hashes = SourceHashes::new(&self.byte_code);
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        for (number, part) in self.parts.iter().enumerate() {
            let (mut reader, mut rest) = (self.spool.reader(*part), part.bytes);
            while rest > 0 {
                // Small files are written together.
                let length = rest.min(BLOCK_BYTES as u64);
                let start = buffer.len();
                (&mut reader).take(length).read_to_end(&mut buffer)?;
                if (buffer.len() - start) as u64 != length {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                output.note(&buffer[start..]);
                hashes.note(number, &buffer[start..]);
                rest -= length;
                if buffer.len() > CHUNK_BYTES - BLOCK_BYTES {
                    output.append(&buffer)?;
                    buffer.clear();
                    if stopped() {
                        return Err(std::io::ErrorKind::Interrupted.into());
                    }
                }
            }
        }
        output.append(&buffer)?;
        if *output.digest.finalize().as_bytes() != self.digest {
            let why = "the unpacked package has changed";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
        }
        let digests = [output.blocks, hashes.finish()].concat();
        let digests_bytes = digests.len() as u64;
        let list = [digests, self.list.clone()].concat();
        file.write_all_at(&list, output.at)?;
        let head = Head {
            list_offset: output.at,
            list_bytes: list.len() as u64,
            digests_bytes,
            contents_checksum: output.checksum.digest(),
            list_checksum: xxh3_64(&list),
        };
        file.write_all_at(&head.to_bytes(), 0)
    }
}

/// File with contents that are being written.
struct Output<'a> {
    file: &'a File,
    at: u64,
    /// Checksum of everything but whole blocks.
    checksum: Xxh3,
    digest: blake3::Hasher,
    /// Digests of whole blocks.
    blocks: Vec<u8>,
}

impl Output<'_> {
    /// Adds a whole block or the rest of a file to the digests.
    fn note(&mut self, bytes: &[u8]) {
        if bytes.len() == BLOCK_BYTES {
            self.blocks.extend(block_digest(bytes));
        } else {
            self.checksum.update(bytes);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.digest.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Returns the number of whole blocks of a file.
fn blocks_of(bytes: u64) -> usize {
    usize::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX)
}

fn is_byte_code(extension: &OsStr) -> bool {
    extension == "pyc" || extension == "pyo"
}

/// Returns the first bytes of a part as a head, which a short part has not. Returns `None` if they
/// cannot be read.
#[allow(clippy::option_option, reason = "a part without a head is no failure")]
fn head_of(spool: &Spool, part: Part) -> Option<Option<[u8; HEAD]>> {
    let mut head = [0; HEAD];
    let is_long = spool.read_head(part, &mut head).ok()?;
    Some(is_long.then_some(head))
}

struct Head {
    list_offset: u64,
    list_bytes: u64,
    digests_bytes: u64,
    contents_checksum: u64,
    list_checksum: u64,
}

impl Head {
    fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let words = [
            self.list_offset,
            self.list_bytes,
            self.digests_bytes,
            self.contents_checksum,
            self.list_checksum,
        ];
        for (word, place) in words.iter().zip(bytes[8..].chunks_exact_mut(8)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let checksum = xxh3_64(&bytes[..HEAD_BYTES - 8]);
        bytes[HEAD_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; HEAD_BYTES];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("it has 8 bytes")))
            .collect();
        let is_whole = words[6] == xxh3_64(&bytes[..HEAD_BYTES - 8]) && bytes[..8] == MAGIC;
        is_whole.then_some(Self {
            list_offset: words[1],
            list_bytes: words[2],
            digests_bytes: words[3],
            contents_checksum: words[4],
            list_checksum: words[5],
        })
    }
}

/// Returns whether a file holds the whole unpacked package whose archive has this SHA-256 digest:
/// whether its checksums are right.
pub fn is_whole_package(file: fs_err::File, sha256: &[u8]) -> bool {
    let stopped = || false;
    KeptPackage::read(file, sha256).is_some_and(|mut it| {
        it.is_whole_but_blocks(&stopped) && it.has_blocks(&|_| false, &stopped)
    })
}

/// A package that an earlier build has unpacked.
pub(crate) struct KeptPackage {
    file: fs_err::File,
    head: Head,
    list: List,
    /// Digests of the whole blocks, in the order of the files.
    digests: Vec<u8>,
    /// First bytes of byte code and hashes of its sources, in the order of the list.
    byte_code: Vec<u8>,
    /// Whether the blocks were compared with their digests.
    are_compared: bool,
}

impl KeptPackage {
    /// Reads the list of the package whose archive has this digest. Returns `None` if it is damaged
    /// or of another package.
    pub(crate) fn read(file: fs_err::File, sha256: &[u8]) -> Option<Self> {
        let head = Head::read(file.file())?;
        let end = head.list_offset.checked_add(head.list_bytes)?;
        if head.list_bytes > LIST_MAX
            || head.digests_bytes > head.list_bytes
            || head.list_offset < HEAD_BYTES as u64
            || file.metadata().ok()?.len() != end
        {
            return None;
        }
        let mut list = vec![0; usize::try_from(head.list_bytes).ok()?];
        file.file()
            .read_exact_at(&mut list, head.list_offset)
            .ok()?;
        if xxh3_64(&list) != head.list_checksum {
            return None;
        }
        let (digests, list) = list.split_at(usize::try_from(head.digests_bytes).ok()?);
        let list: List = rmp_serde::from_slice(list).ok()?;
        let blocks = list.files.iter().map(|file| blocks_of(file.bytes));
        let blocks = blocks.fold(0, usize::saturating_add);
        let (digests, byte_code) = digests.split_at_checked(blocks.saturating_mul(DIGEST_BYTES))?;
        let found = Self {
            list,
            digests: digests.to_vec(),
            byte_code: byte_code.to_vec(),
            file,
            head,
            are_compared: false,
        };
        (found.list.archive == sha256 && found.is_valid()).then_some(found)
    }

    /// Compares the checksum of the contents but for whole blocks. `stopped` is asked between large
    /// pieces.
    pub(crate) fn is_whole_but_blocks(&self, stopped: &dyn Fn() -> bool) -> bool {
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut pieces = self.list.files.iter().map(ListedFile::rest).peekable();
        while let Some(mut piece) = pieces.next() {
            // Small files lie one behind the other.
            while let Some(next) = pieces.next_if(|next| {
                next.start == piece.end && next.end - piece.start <= CHUNK_BYTES as u64
            }) {
                piece.end = next.end;
            }
            let length = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX);
            let Some(bytes) = buffer.get_mut(..length) else {
                return false;
            };
            let read = self.file.file().read_exact_at(bytes, piece.start);
            if stopped() || read.is_err() {
                return false;
            }
            hash.update(bytes);
        }
        hash.digest() == self.head.contents_checksum
    }

    /// Compares the whole blocks with their digests, but for those that an image finds without
    /// reading them. `stopped` is asked between blocks.
    pub(crate) fn has_blocks(
        &mut self,
        is_known: &dyn Fn(&[u8]) -> bool,
        stopped: &dyn Fn() -> bool,
    ) -> bool {
        let mut block = vec![0; BLOCK_BYTES];
        let files = self.list.files.iter();
        let blocks = files.flat_map(|file| {
            (0..blocks_of(file.bytes)).map(|number| file.offset + (number * BLOCK_BYTES) as u64)
        });
        let mut both = blocks.zip(self.digests.chunks(DIGEST_BYTES));
        let mut are_all_compared = true;
        let are_right = both.all(|(at, digest)| {
            if is_known(digest) {
                are_all_compared = false;
                return !stopped();
            }
            let read = self.file.file().read_exact_at(&mut block, at);
            read.is_ok() && !stopped() && xxh3_128(&block).to_le_bytes() == digest[32..]
        });
        self.are_compared = are_right && are_all_compared;
        are_right
    }

    /// Returns whether the list is one that an archive may have: each path is inside of the package
    /// and in a directory of it, and each file among the contents.
    fn is_valid(&self) -> bool {
        let entries = &self.list.entries;
        let fits = |one: &ListedFile| {
            let end = one.offset.checked_add(one.bytes);
            one.offset >= HEAD_BYTES as u64 && end.is_some_and(|end| end <= self.head.list_offset)
        };
        let directories = entries.iter().filter_map(|(path, kind)| match kind {
            ListedKind::Directory => Some(Path::new(OsStr::from_bytes(path))),
            _ => None,
        });
        let directories: HashSet<&Path> = directories.collect();
        let (files, mut pairs) = (&self.list.files, self.list.byte_code.iter());
        files.iter().all(fits)
            && self.byte_code.len() == pairs.len() * byte_code::BYTES
            && pairs.all(|(code, source)| code.max(source) < &files.len())
            && entries.iter().all(|(path, kind)| {
                let is_known = match kind {
                    ListedKind::File(number) => *number < self.list.files.len(),
                    ListedKind::Directory | ListedKind::Link(_) => true,
                };
                let inside = judged(path).is_ok_and(|judged| {
                    judged.as_os_str().as_bytes() == path.as_slice()
                        && judged.parent().is_none_or(|parent| {
                            parent.as_os_str().is_empty() || directories.contains(parent)
                        })
                });
                is_known && inside
            })
    }

    /// Returns whether the package has a post-link script.
    pub(crate) fn has_post_link(&self) -> bool {
        let paths = self.list.entries.iter().map(|(path, _)| path);
        let mut linked = paths.filter(|path| !path.starts_with(b"info/"));
        linked.any(|path| path.ends_with(b"-post-link.sh"))
    }

    /// Attaches the file to a spool, and returns what the package has.
    pub(super) fn attach(self, spool: &Arc<Spool>) -> (InSpool, Vec<(OsString, Kind)>) {
        let (mut first, mut number) = (HashMap::new(), 0);
        for file in &self.list.files {
            let blocks = blocks_of(file.bytes);
            if blocks > 0 {
                first.insert(file.offset, FirstDigest::new(number, blocks));
            }
            number += blocks;
        }
        let byte_code = known(&self.list, &self.byte_code);
        let digests = Digests {
            bytes: self.digests.into(),
            first,
            are_compared: self.are_compared,
        };
        let member = spool.attach(self.file, digests, byte_code);
        let files = self.list.files.iter().map(|file| Spooled {
            part: Part {
                file: member,
                offset: file.offset,
                bytes: file.bytes,
                head: None,
            },
            mode: file.mode,
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(file.modified),
        });
        let mut store = InSpool::of(Arc::clone(spool), files.collect());
        let mut kinds = Vec::with_capacity(self.list.entries.len());
        for (path, kind) in self.list.entries {
            let path = OsString::from_vec(path.into_vec());
            let kind = match kind {
                ListedKind::Directory => Kind::Directory,
                ListedKind::Link(target) => {
                    Kind::Link(OsString::from_vec(target.into_vec()).into())
                }
                ListedKind::File(number) => {
                    store.name(path.clone(), number);
                    Kind::File
                }
            };
            kinds.push((path, kind));
        }
        (store, kinds)
    }
}

#[cfg(test)]
mod tests;
