//! Responsible for the cache: blobs and finished images by digest, unfinished downloads, and the
//! limit of their total size.

use std::fs::{File, FileTimes, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use condense_publish::{Staging, sweep};

use super::cancel::Cancel;
use super::digest::Digest;
use crate::{Error, Pulled};

/// Contents of the file `CACHEDIR.TAG`. The convention for such files defines the signature, see
/// bford.info/cachedir.
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Blobs of container images; safe to delete.\n";
/// Directory of the notes which image a name has led to.
const NAMES: &str = "names";
/// Maximum size of a note in bytes.
const NOTE_MOST: u64 = 4096;
/// Interval at which the lock of another process's download is tried.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Returns the path of the note about a name.
fn note(dir: &Path, name: &str) -> PathBuf {
    use sha2::{Digest as _, Sha256};
    dir.join(hex::encode(Sha256::digest(name)))
}

/// A cache of blobs and finished images with a limit of its size.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    size_max: u64,
    /// Directory of a cache that exists for one run only.
    temporary: Option<Staging>,
}

impl Cache {
    /// Creates a cache in the directory `dir`. The directory is made when it is first needed. After
    /// each use, the cache is trimmed to `size_max` bytes.
    pub fn new(dir: impl Into<PathBuf>, size_max: u64) -> Cache {
        Cache {
            dir: dir.into(),
            size_max,
            temporary: None,
        }
    }

    /// Creates a cache in a new directory below `parent`, which is removed when the cache is
    /// dropped.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be created.
    pub fn temporary(parent: &Path) -> Result<Cache, Error> {
        let dir = Staging::create(parent)?;
        Ok(Cache {
            dir: dir.path().to_owned(),
            size_max: u64::MAX,
            temporary: Some(dir),
        })
    }

    fn dirs(&self) -> [PathBuf; 3] {
        ["blobs", "partial", "sif"].map(|name| self.dir.join(name))
    }

    /// Creates the directories. Only the user can access them, because images may be private.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        for dir in self.dirs() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(Error::io("create", &dir))?;
            // An earlier pull may have been killed before it removed its temporary files.
            sweep(&dir);
        }
        let tag = self.dir.join("CACHEDIR.TAG");
        if tag.exists() {
            return Ok(());
        }
        fs_err::write(&tag, TAG).map_err(Error::io("write", &tag))
    }

    /// Returns the path of a blob, whether it exists or not.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let [algorithm, hex] = digest.path();
        self.dir.join("blobs").join(format!("{algorithm}-{hex}"))
    }

    /// Returns the path of a finished image, whether it exists or not.
    pub(crate) fn sif_path(&self, key: &str) -> PathBuf {
        self.dir.join("sif").join(format!("{key}.sif"))
    }

    /// Remembers which image a name has led to, for runs without a network.
    ///
    /// # Errors
    /// Returns an error if the note cannot be written.
    pub fn remember(&self, name: &str, pulled: &Pulled) -> Result<(), Error> {
        let dir = self.dir.join(NAMES);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(Error::io("create", &dir))?;
        let file = pulled.path.file_name().unwrap_or_default();
        let text = format!("{}\n{}\n", pulled.digest, file.to_string_lossy());
        Ok(condense_publish::write(&note(&dir, name), text.as_bytes())?)
    }

    /// Returns the image that a name led to when it was fetched last, if the cache still has it.
    pub fn recall(&self, name: &str) -> Option<Pulled> {
        let path = note(&self.dir.join(NAMES), name);
        let text = condense_input::read_to_string(&path, NOTE_MOST).ok()?;
        let mut lines = text.lines();
        let (digest, file) = (lines.next()?, Path::new(lines.next()?));
        let path = self.dir.join("sif").join(file.file_name()?);
        // Opening the file sets the time of its last use.
        Self::open(&path).ok().flatten()?;
        Some(Pulled {
            path,
            digest: digest.to_owned(),
        })
    }

    /// Opens a file in the cache and sets its time of last use.
    pub(crate) fn open(path: &Path) -> Result<Option<fs_err::File>, Error> {
        let file = match condense_input::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        // Only the owner can set the time. A file of another user is used as it is.
        let _ = file
            .file()
            .set_times(FileTimes::new().set_modified(SystemTime::now()));
        Ok(Some(file))
    }

    /// Opens the unfinished download of a blob for this process alone. If another process downloads
    /// the same blob, waits for it, and returns `None` when the blob is complete.
    pub(crate) async fn partial(
        &self,
        digest: &Digest,
        cancel: &Cancel,
    ) -> Result<Option<Partial>, Error> {
        let [algorithm, hex] = digest.path();
        let path = self.dir.join("partial").join(format!("{algorithm}-{hex}"));
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(Error::io("create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    cancel.check()?;
                    tokio::time::sleep(POLL_INTERVAL).await;
                    continue;
                }
                // The file system has no locks, so this process uses a file of its own, which no
                // other process can resume.
                Err(TryLockError::Error(_)) => return self.own_partial(digest).map(Some),
            }
            if self.blob_path(digest).exists() {
                // Opening created the file anew, and this process holds its lock, so it can be
                // removed.
                let _ = std::fs::remove_file(&path);
                return Ok(None);
            }
            let here = file.metadata().map_err(Error::io("read", &path))?;
            let there = std::fs::metadata(&path).ok();
            // Another process may have finished or dropped the file between opening and locking.
            if there.is_some_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
                return Ok(Some(Partial {
                    file: fs_err::File::from_parts(file, &path),
                    path,
                    is_own: false,
                }));
            }
        }
    }

    fn own_partial(&self, digest: &Digest) -> Result<Partial, Error> {
        let dir = self.dir.join("partial");
        let (file, path) = tempfile::Builder::new()
            .prefix(&format!("{}-", digest.path()[1]))
            .tempfile_in(&dir)
            .and_then(|file| file.keep().map_err(|error| error.error))
            .map_err(Error::io("create a file in", &dir))?;
        Ok(Partial {
            file: fs_err::File::from_parts(file, &path),
            path,
            is_own: true,
        })
    }

    /// Moves a finished download to the blobs.
    pub(crate) fn keep(&self, partial: &Partial, digest: &Digest) -> Result<(), Error> {
        let target = self.blob_path(digest);
        fs_err::rename(&partial.path, &target).map_err(Error::io("rename", &partial.path))?;
        // The file stays open for readers, and must not look as if a process still wrote to it.
        let _ = partial.file.file().unlock();
        Ok(())
    }

    /// Removes the files that were used longest ago until the rest fits the limit. Files that
    /// another process has locked are kept.
    pub(crate) fn trim(&self) -> Result<(), Error> {
        self.trim_except(None)
    }

    /// Trims the cache like [`Cache::trim`], but always keeps one file.
    pub(crate) fn trim_keeping(&self, kept: &Path) -> Result<(), Error> {
        self.trim_except(Some(kept))
    }

    fn trim_except(&self, kept: Option<&Path>) -> Result<(), Error> {
        if self.temporary.is_some() {
            return Ok(());
        }
        let mut files = Vec::new();
        for dir in self.dirs() {
            for entry in fs_err::read_dir(&dir).map_err(Error::io("list", &dir))? {
                let entry = entry.map_err(Error::io("list", &dir))?;
                // The file may be gone, because another process may be trimming the cache as well.
                if let Ok(metadata) = entry.metadata() {
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    files.push((used, metadata.blocks() * 512, entry.path()));
                }
            }
        }
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        files.sort();
        for (_, size, path) in files {
            if total <= self.size_max {
                break;
            }
            let in_use = condense_input::open(&path)
                .is_ok_and(|file| matches!(file.file().try_lock(), Err(TryLockError::WouldBlock)));
            let is_kept = kept == Some(&path);
            if !in_use && !is_kept && std::fs::remove_file(&path).is_ok() {
                total -= size;
            }
        }
        Ok(())
    }
}

/// An unfinished download. Its file is kept for the next attempt.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: fs_err::File,
    path: PathBuf,
    is_own: bool,
}

impl Partial {
    /// Removes the download, because its bytes are wrong.
    pub(crate) fn remove(self) -> Result<(), Error> {
        fs_err::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.is_own {
            // No other process would find a file of this name again. If the download was kept as a
            // blob, the file is not here any more.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn the_image_of_a_name_is_remembered_while_the_cache_has_it() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::new(scratch.path().join("c"), u64::MAX);
        assert!(cache.recall("docker://debian:12 x86_64").is_none());
        cache.prepare().unwrap();
        let pulled = Pulled {
            path: cache.sif_path("key"),
            digest: "sha256:ab".to_owned(),
        };
        cache
            .remember("docker://debian:12 x86_64", &pulled)
            .unwrap();
        assert!(cache.recall("docker://debian:12 x86_64").is_none());
        fs_err::write(&pulled.path, "sif").unwrap();
        let found = cache.recall("docker://debian:12 x86_64").unwrap();
        assert_eq!((found.path, found.digest), (pulled.path, pulled.digest));
        assert!(cache.recall("docker://debian:12 aarch64").is_none());
        // A note never leads out of the cache.
        let note = note(&cache.dir.join(NAMES), "x");
        fs_err::write(note, "sha256:ab\n/etc/passwd\n").unwrap();
        assert!(cache.recall("x").is_none());
    }

    #[test]
    fn the_least_recently_used_blob_is_removed_first() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::new(scratch.path().join("c"), 2 * 4096);
        cache.prepare().unwrap();
        cache.prepare().unwrap();
        let digests: Vec<Digest> = [b"a", b"b", b"c"].map(|name| Digest::sha256(name)).into();
        for (age, digest) in digests.iter().enumerate() {
            let path = cache.blob_path(digest);
            fs_err::write(&path, [1; 4096]).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        }
        // The blob was used, so it is the newest now.
        assert!(
            Cache::open(&cache.blob_path(&digests[0]))
                .unwrap()
                .is_some()
        );
        cache.trim().unwrap();
        let there: Vec<bool> = digests
            .iter()
            .map(|digest| cache.blob_path(digest).exists())
            .collect();
        assert_eq!(there, [true, false, true]);
        assert!(
            Cache::open(&cache.blob_path(&digests[1]))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_download_is_locked_by_one_process_and_is_found_again() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::new(scratch.path(), 0);
        cache.prepare().unwrap();
        let digest = Digest::sha256(b"x");
        let nobody = Cancel::default();
        let partial = block_on(cache.partial(&digest, &nobody)).unwrap().unwrap();
        partial.file.file().set_len(3).unwrap();
        let impatient = Cancel(Some(std::sync::Arc::new(true.into())));
        assert!(matches!(
            block_on(cache.partial(&digest, &impatient)),
            Err(Error::Cancelled)
        ));
        cache.trim().unwrap();
        drop(partial);
        let again = block_on(cache.partial(&digest, &nobody)).unwrap().unwrap();
        assert_eq!(again.file.metadata().unwrap().len(), 3);
        cache.keep(&again, &digest).unwrap();
        assert!(block_on(cache.partial(&digest, &nobody)).unwrap().is_none());
    }

    #[test]
    fn remains_of_a_killed_pull_are_removed_when_the_cache_is_used_again() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::new(scratch.path(), u64::MAX);
        cache.prepare().unwrap();
        let left = scratch.path().join("sif/.condense-abcdef");
        fs_err::create_dir_all(left.join(".condense")).unwrap();
        fs_err::write(left.join(".condense/lock"), "").unwrap();
        fs_err::write(left.join("half.sif"), "half").unwrap();
        cache.prepare().unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_cache_for_one_run_is_gone_afterwards() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::temporary(scratch.path()).unwrap();
        cache.prepare().unwrap();
        cache.trim().unwrap();
        drop(cache);
        assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
