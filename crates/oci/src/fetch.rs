//! Responsible for downloading one blob into the cache. A download continues where an earlier
//! attempt stopped, and a blob with a wrong digest never gets into the cache.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::cache::{Cache, Partial};
use super::digest::{Digest, Hasher};
use super::follow::FollowWriter;
use super::progress::{Phase, Progress};
use super::registry::{Failure, Registry};
use crate::Error;

/// Number of bytes that are read at once from the file of an earlier attempt.
const CHUNK_LEN: usize = 1 << 20;

/// The maximum number of bytes that a broken stream must have delivered to count as progress. For
/// small blobs, a hundredth of the blob is enough. Without such a minimum, a registry that closes
/// the connection after every byte would be asked forever.
const GAIN_MOST: u64 = 64 << 10;

/// Digest and size of a blob that is to be fetched.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Result of a download.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The blob is in the cache, and the writer is complete.
    Complete,
    /// Another process has downloaded the blob. The writer has passed on nothing.
    ByAnother,
    /// The bytes of an earlier attempt were wrong, and have been removed.
    Corrupt,
}

/// Fetches a blob. The reader of `writer` can read the bytes as soon as they arrive.
pub(crate) async fn fetch(
    registry: &Registry<'_>,
    wanted: &Wanted,
    cache: &Cache,
    writer: FollowWriter,
    progress: &dyn Progress,
) -> Result<Fetched, Error> {
    let Some(partial) = cache.partial(&wanted.digest, registry.cancel()).await? else {
        progress.advance(Phase::Fetch, wanted.size);
        return Ok(Fetched::ByAnother);
    };
    let file = partial
        .file
        .try_clone()
        .map_err(Error::io("open", partial.file.path()))?;
    let mut download = Download {
        registry,
        wanted,
        file: Arc::new(file),
        hasher: wanted.digest.hasher(),
        have: 0,
        writer,
        progress,
    };
    download.resume(&partial)?;
    let resumed = download.have;
    download.finish().await?;
    let Download { hasher, writer, .. } = download;
    if hasher.finish() != wanted.digest {
        partial.remove()?;
        if resumed > 0 {
            return Ok(Fetched::Corrupt);
        }
        return Err(registry.invalid_answer(format!(
            "what it sends for {} is something else",
            wanted.digest
        )));
    }
    cache.keep(&partial, &wanted.digest)?;
    writer.complete();
    Ok(Fetched::Complete)
}

struct Download<'a> {
    registry: &'a Registry<'a>,
    wanted: &'a Wanted,
    file: Arc<fs_err::File>,
    hasher: Hasher,
    /// Number of bytes in the file, all of them hashed.
    have: u64,
    writer: FollowWriter,
    progress: &'a dyn Progress,
}

impl Download<'_> {
    /// Takes over the bytes of an earlier attempt.
    fn resume(&mut self, partial: &Partial) -> Result<(), Error> {
        let path = partial.file.path();
        let len = partial
            .file
            .metadata()
            .map_err(Error::io("read", path))?
            .len();
        if len > self.wanted.size {
            return partial.file.set_len(0).map_err(Error::io("truncate", path));
        }
        let mut chunk = vec![0; CHUNK_LEN];
        let mut file = &partial.file;
        while self.have < len {
            self.registry.cancel().check()?;
            let read = file.read(&mut chunk).map_err(Error::io("read", path))?;
            if read == 0 {
                break;
            }
            self.hasher.update(&chunk[..read]);
            self.have += read as u64;
            self.writer.advance(&self.file, self.have);
            self.progress.advance(Phase::Fetch, read as u64);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Error> {
        let mut failed = 0;
        while self.have < self.wanted.size {
            let before = self.have;
            let Err(failure) = self.request_rest().await else {
                continue;
            };
            let gain = (self.wanted.size / 100).clamp(1, GAIN_MOST);
            failed = if self.have >= before + gain {
                1
            } else {
                failed + 1
            };
            let cancel = self.registry.cancel();
            self.registry.retry().wait(failure, failed, cancel).await?;
        }
        Ok(())
    }

    /// Sends one request and reads the answer up to its end or a failure.
    async fn request_rest(&mut self) -> Result<(), Failure> {
        let (mut response, starts_at) = self.registry.blob(&self.wanted.digest, self.have).await?;
        // A registry that does not support ranges sends the bytes again that are already there.
        let mut skip = self.have - starts_at;
        let mut pace = self.registry.pace();
        loop {
            let chunk = self.registry.chunk(&mut response, &mut pace).await?;
            let Some(chunk) = chunk else {
                break;
            };
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            self.take(&chunk[skipped as usize..])?;
        }
        if self.have < self.wanted.size {
            // The answer ended early without an error, as with a proxy that gave up.
            let error = self.registry.invalid_answer(format!(
                "it sends {} of {} bytes of {}",
                self.have, self.wanted.size, self.wanted.digest
            ));
            return Err(Failure::Temporary { error, wait: None });
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.have + bytes.len() as u64 > self.wanted.size {
            return Err(self.registry.invalid_answer(format!(
                "it sends more than the {} bytes of {}",
                self.wanted.size, self.wanted.digest
            )));
        }
        self.file
            .file()
            .write_all_at(bytes, self.have)
            .map_err(Error::io("write", self.file.path()))?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        self.writer.advance(&self.file, self.have);
        self.progress.advance(Phase::Fetch, bytes.len() as u64);
        Ok(())
    }
}
