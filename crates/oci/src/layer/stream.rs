//! Responsible for the stream of a layer's bytes: checking it against a digest, decompressing it,
//! and stopping it when the result is not needed any more.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::Failure;
use crate::cancel::Cancel;
use crate::digest::{Digest, Hasher};
use crate::follow::FollowReader;

/// Number of bytes that are read from a blob at once.
const BUFFER_LEN: usize = 256 << 10;
/// Size of the blocks of a tar archive in bytes.
const BLOCK_LEN: u64 = 512;

/// Origin of a blob's bytes.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A download that is still running. The download checks the digest of the stored bytes.
    Following(FollowReader),
    /// A part of a file, which is complete.
    Stored {
        file: Arc<fs_err::File>,
        offset: u64,
        size: u64,
    },
}

/// Digests that a blob must have. A missing digest is not checked here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    /// Digest of the blob as it is stored.
    pub(crate) stored: Option<Digest>,
    /// Digest of the decompressed blob.
    pub(crate) unpacked: Option<Digest>,
}

impl Check {
    /// Returns a check with the digest of the bytes as they are stored.
    pub(crate) fn stored(digest: Digest) -> Check {
        Check {
            stored: Some(digest),
            unpacked: None,
        }
    }

    /// Adds the digest that the decompressed bytes must have, if one is given.
    pub(crate) fn and_unpacked(self, unpacked: Option<Digest>) -> Check {
        Check { unpacked, ..self }
    }
}

/// A blob that is read from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Stream {
    origin: Origin,
    at: u64,
    check: Check,
    hasher: Option<Hasher>,
    cancel: Cancel,
    stop: Cancel,
}

impl Stream {
    /// Creates a stream. `stop` is set when another layer has failed.
    pub(crate) fn new(origin: Origin, check: Check, cancel: Cancel, stop: Cancel) -> Stream {
        let hasher = check.stored.as_ref().map(Digest::hasher);
        Stream {
            origin,
            at: 0,
            check,
            hasher,
            cancel,
            stop,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_set() || self.stop.is_set() {
            return Err(io::Error::other("nobody wants it any more"));
        }
        let len = match &mut self.origin {
            Origin::Following(reader) => reader.read(buffer)?,
            Origin::Stored { file, offset, size } => {
                let len = (*size - self.at).min(buffer.len() as u64) as usize;
                let read = file.file().read_at(&mut buffer[..len], *offset + self.at)?;
                if read == 0 && len > 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                read
            }
        };
        self.at += len as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..len]);
        }
        Ok(len)
    }
}

/// A blob that is decompressed while it is read.
pub(super) struct Unpacked {
    decoder: Decoder,
    hasher: Option<Hasher>,
    /// Number of bytes so far, without padding.
    len: u64,
    /// Number of zeros so far after the end.
    padding: u64,
    /// The position in the decompressed bytes up to which reading is allowed.
    ceiling: Arc<AtomicU64>,
}

enum Decoder {
    Plain(BufReader<Stream>),
    Gzip(Box<MultiGzDecoder<BufReader<Stream>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Stream>>),
}

impl Unpacked {
    /// Detects the compression from the first bytes, because media types are often missing or
    /// wrong.
    pub(super) fn new(stream: Stream) -> Result<Unpacked, Failure> {
        let hasher = stream.check.unpacked.as_ref().map(Digest::hasher);
        let mut reader = BufReader::with_capacity(BUFFER_LEN, stream);
        let head = reader.fill_buf().map_err(Failure::Read)?;
        let decoder = match head {
            [0x1f, 0x8b, ..] => Decoder::Gzip(Box::new(MultiGzDecoder::new(reader))),
            // The second pattern is a skippable frame, which may come first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                let decoder =
                    zstd::stream::read::Decoder::with_buffer(reader).map_err(Failure::Read)?;
                Decoder::Zstd(decoder)
            }
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unsupported("xz")),
            [b'B', b'Z', b'h', ..] => return Err(unsupported("bzip2")),
            _ => Decoder::Plain(reader),
        };
        Ok(Unpacked {
            decoder,
            hasher,
            len: 0,
            padding: 0,
            ceiling: Arc::new(AtomicU64::new(u64::MAX)),
        })
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.decoder, Decoder::Plain(_))
    }

    /// Returns the position up to which reading is allowed. The caller raises it as soon as it
    /// knows what follows.
    pub(super) fn ceiling(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ceiling)
    }

    /// Returns the number of decompressed bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Writes the zeros that complete the last block. umoci writes layers that end with the last
    /// byte of the last file.
    fn pad(&mut self, buffer: &mut [u8]) -> usize {
        let missing = self.len.next_multiple_of(BLOCK_LEN) - self.len - self.padding;
        let len = missing.min(buffer.len() as u64);
        buffer[..len as usize].fill(0);
        self.padding += len;
        len as usize
    }

    /// Reads the rest of the stream after the archive, and checks both digests. Returns the file
    /// and the archive's offset in it if the archive is not compressed.
    pub(super) fn finish(mut self) -> Result<Option<(Arc<fs_err::File>, u64)>, Failure> {
        let damaged = |error| classify(error, "its compression is damaged");
        self.ceiling.store(u64::MAX, Ordering::Relaxed);
        let is_plain = self.is_plain();
        io::copy(&mut self, &mut io::sink()).map_err(damaged)?;
        let mut reader = match self.decoder {
            Decoder::Plain(reader) => reader,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.finish(),
        };
        io::copy(&mut reader, &mut io::sink()).map_err(Failure::Read)?;
        let stream = reader.into_inner();
        let fits = |digest: &Option<Digest>, hasher: Option<Hasher>| {
            let found = digest.as_ref().zip(hasher);
            found.is_none_or(|(digest, hasher)| hasher.finish() == *digest)
        };
        let is_right =
            fits(&stream.check.stored, stream.hasher) && fits(&stream.check.unpacked, self.hasher);
        if !is_right {
            return Err(Failure::Mismatch);
        }
        if !is_plain {
            return Ok(None);
        }
        Ok(match stream.origin {
            Origin::Following(reader) => reader.file().map(|file| (file, 0)),
            Origin::Stored { file, offset, .. } => Some((file, offset)),
        })
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.len > self.ceiling.load(Ordering::Relaxed) {
            return Err(io::Error::other("an entry has too much in front of it"));
        }
        let len = match &mut self.decoder {
            Decoder::Plain(reader) => reader.read(buffer)?,
            Decoder::Gzip(reader) => reader.read(buffer)?,
            Decoder::Zstd(reader) => reader.read(buffer)?,
        };
        if len == 0 {
            return Ok(self.pad(buffer));
        }
        self.len += len as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..len]);
        }
        Ok(len)
    }
}

/// Returns an error of the layer for an error of the decompressor or the tar reader, and an I/O
/// error for one of the operating system.
pub(super) fn classify(error: io::Error, problem: &str) -> Failure {
    if error.raw_os_error().is_some() {
        Failure::Read(error)
    } else {
        Failure::Invalid(format!("{problem}: {error}"))
    }
}

fn unsupported(compression: &str) -> Failure {
    Failure::Invalid(format!(
        "it is compressed with {compression}, not with gzip or zstd"
    ))
}
