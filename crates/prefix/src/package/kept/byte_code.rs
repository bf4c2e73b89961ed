//! Responsible for what is kept of byte code: its first bytes, and the hash of its source, by which
//! a later build knows without reading either whether it fits.

use std::{collections::HashMap, ffi::OsStr, path::Path};

use super::{super::store::InSpool, List};
use crate::{
    bytecode::{SourceHasher, source_of},
    spool::{HEAD, KnownByteCode},
};

/// Size of a hash of a source.
const HASH_BYTES: usize = 8;
/// Size of what is kept of one file with byte code.
pub(super) const BYTES: usize = HEAD + HASH_BYTES;

/// Byte code whose source is in the same package.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewByteCode {
    /// Number of the file.
    pub(super) code: usize,
    /// Number of the file with the source.
    pub(super) source: usize,
    head: [u8; HEAD],
    /// Version of the interpreter, major and minor.
    version: (u64, u64),
}

impl NewByteCode {
    /// Returns the byte code at a path, which has this number and these first bytes. Returns `None`
    /// if its source is not in the store, or if it is too short.
    pub(super) fn of(
        store: &InSpool,
        path: &OsStr,
        number: usize,
        head: Option<[u8; HEAD]>,
    ) -> Option<Self> {
        let (source, version) = source_of(Path::new(path))?;
        Some(Self {
            code: number,
            source: store.get(&source)?.0,
            head: head?,
            version,
        })
    }

    fn hasher(&self) -> SourceHasher {
        let magic = self.head.first_chunk().expect("a head has 16 bytes");
        SourceHasher::new(self.version, *magic)
    }
}

/// Hashes of sources, which are computed while the files are written.
pub(super) struct SourceHashes<'a> {
    byte_code: &'a [NewByteCode],
    hashers: Vec<SourceHasher>,
    /// Positions in the list of byte code by the numbers of the sources.
    of_source: HashMap<usize, Vec<usize>>,
}

impl<'a> SourceHashes<'a> {
    pub(super) fn new(byte_code: &'a [NewByteCode]) -> Self {
        let mut of_source: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, code) in byte_code.iter().enumerate() {
            of_source.entry(code.source).or_default().push(at);
        }
        Self {
            byte_code,
            hashers: byte_code.iter().map(NewByteCode::hasher).collect(),
            of_source,
        }
    }

    /// Adds the next bytes of the file with this number.
    pub(super) fn note(&mut self, number: usize, bytes: &[u8]) {
        for at in self.of_source.get(&number).into_iter().flatten() {
            self.hashers[*at].write(bytes);
        }
    }

    /// Returns [`BYTES`] bytes for each file with byte code.
    pub(super) fn finish(self) -> Vec<u8> {
        let both = self.byte_code.iter().zip(&self.hashers);
        let each = both.map(|(code, hasher)| [&code.head[..], &hasher.finish()].concat());
        each.flatten().collect()
    }
}

/// Returns what is kept of byte code by the position of its file. `bytes` are those of
/// [`SourceHashes::finish`].
pub(super) fn known(list: &List, bytes: &[u8]) -> HashMap<u64, KnownByteCode> {
    let of_one = |((code, source), bytes): (&(usize, usize), &[u8])| {
        let (head, source_hash) = bytes.split_at(HEAD);
        let source = &list.files[*source];
        let known = KnownByteCode {
            head: head.try_into().expect("it has 16 bytes"),
            source_hash: source_hash.try_into().expect("it has 8 bytes"),
            source: (source.offset, source.bytes),
        };
        (list.files[*code].offset, known)
    };
    let both = list.byte_code.iter().zip(bytes.chunks_exact(BYTES));
    both.map(of_one).collect()
}
