//! Responsible for the file of an incomplete download. The received bytes stay in the cache if the
//! build ends, so that a later build can continue the download.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rattler_digest::{Md5, Sha256};
use sha2::Digest;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::error::Error;

/// Number of bytes that are read at a time to compute the digests of an existing file.
const CHUNK: usize = 256 * 1024;

/// An archive that is not downloaded completely yet.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: tokio::fs::File,
    /// True if a later build can continue the download. Otherwise only this process uses the file,
    /// and dropping this value removes it.
    resumable: bool,
    kept: bool,
    length: u64,
    sha256: Sha256,
    md5: Md5,
}

impl Part {
    /// Opens the file that an earlier build has left of `archive`, or a new one. If another build
    /// downloads the same archive at the same time, or if the parts could not be checked, each
    /// build gets its own file, and the last rename counts.
    pub(super) async fn open(archive: &Path, resumable: bool) -> Result<Self, Error> {
        let beside = |ending: &str| {
            let mut name = archive.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            archive.with_file_name(name)
        };
        if resumable {
            let path = beside(".part");
            if let Some(file) = claim(&path).map_err(Error::io("open", &path))? {
                let mut part = Self::new(path, file, true);
                part.digest_what_is_there().await?;
                return Ok(part);
            }
        }
        // The name may exist, because another machine may have a process of the same number.
        let mut number = 0;
        loop {
            let path = beside(&format!(".part-{}-{number}", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => {
                    // The lock is held as long as the file is open. On a file system without locks,
                    // other processes cannot lock the file either and therefore do not remove it.
                    let _ = file.try_lock();
                    if is_at(&file, &path).map_err(Error::io("create", &path))? {
                        return Ok(Self::new(path, file, false));
                    }
                    number += 1;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
    }

    fn new(path: PathBuf, file: File, resumable: bool) -> Self {
        Self {
            path,
            file: tokio::fs::File::from_std(file),
            resumable,
            kept: false,
            length: 0,
            sha256: Sha256::default(),
            md5: Md5::default(),
        }
    }

    async fn digest_what_is_there(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        let read = move || {
            let mut file = fs_err::File::open(&path)?;
            let (mut sha256, mut md5, mut length) = (Sha256::default(), Md5::default(), 0_u64);
            let mut chunk = vec![0; CHUNK];
            loop {
                let read = file.read(&mut chunk)?;
                if read == 0 {
                    return Ok((sha256, md5, length));
                }
                sha256.update(&chunk[..read]);
                md5.update(&chunk[..read]);
                length += read as u64;
            }
        };
        let done = tokio::task::spawn_blocking(read).await;
        let result = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        (self.sha256, self.md5, self.length) = result.map_err(Error::io("read", &self.path))?;
        let end = std::io::SeekFrom::Start(self.length);
        let sought = self.file.seek(end).await;
        sought.map_err(Error::io("read", &self.path))?;
        Ok(())
    }

    /// Returns the number of received bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Removes all received bytes.
    pub(super) async fn restart(&mut self) -> Result<(), Error> {
        if self.length == 0 {
            return Ok(());
        }
        let io = || Error::io("write", &self.path);
        self.file.flush().await.map_err(io())?;
        self.file.set_len(0).await.map_err(io())?;
        self.file.rewind().await.map_err(io())?;
        (self.sha256, self.md5, self.length) = (Sha256::default(), Md5::default(), 0);
        Ok(())
    }

    /// Appends received bytes to the file and to the digests.
    pub(super) async fn append(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(chunk).await;
        written.map_err(Error::io("write", &self.path))?;
        self.sha256.update(chunk);
        self.md5.update(chunk);
        self.length += chunk.len() as u64;
        Ok(())
    }

    /// Writes all appended bytes into the file, so that a later build can continue the download.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.file.flush().await;
        flushed.map_err(Error::io("write", &self.path))
    }

    /// Returns the SHA-256 and MD5 digests of the received bytes.
    pub(super) fn digests(&self) -> ([u8; 32], [u8; 16]) {
        (
            self.sha256.clone().finalize().into(),
            self.md5.clone().finalize().into(),
        )
    }

    /// Renames the complete file to `archive`.
    pub(super) async fn keep_as(mut self, archive: &Path) -> Result<(), Error> {
        self.flush().await?;
        fs_err::rename(&self.path, archive).map_err(Error::io("write", archive))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept && (!self.resumable || self.length == 0) {
            // An error of the removal is ignored, since the file is only a part of a cache.
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Removes files of incomplete downloads that killed builds have left and
/// that no build can continue.
pub(super) fn clear_leftovers(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        // A file that cannot be locked may be in use by another process.
        if is_own_part(&entry.file_name().to_string_lossy())
            && File::options()
                .write(true)
                .open(&path)
                .is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Returns true if a name has the form `….part-PROCESS-NUMBER`.
fn is_own_part(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once(".part-")
        .and_then(|(_, numbers)| numbers.split_once('-'))
        .is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Returns true if an open file is still the one at this path.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let here = file.metadata()?;
    match fs_err::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (here.dev(), here.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens and locks the file at `path`. Returns `None` if another process has locked it, or if the
/// file system has no locks.
fn claim(path: &Path) -> std::io::Result<Option<File>> {
    loop {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?
            .into_parts()
            .0;
        // Locking also fails on file systems without locks.
        if file.try_lock().is_err() {
            return Ok(None);
        }
        // The process that had the lock may have completed and renamed the file meanwhile.
        if is_at(&file, path)? {
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Part, clear_leftovers};

    fn names(dir: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn an_incomplete_download_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("x.conda");
        let mut part = Part::open(&archive, true).await.unwrap();
        part.append(b"half").await.unwrap();
        part.flush().await.unwrap();
        // The first value keeps the file. The second one has another file, which is
        // removed when it is dropped.
        let mut second = Part::open(&archive, true).await.unwrap();
        assert_eq!(second.length(), 0);
        second.append(b"other").await.unwrap();
        let third = Part::open(&archive, true).await.unwrap();
        assert_eq!(names(dir.path()).len(), 3);
        drop((part, second, third));
        assert_eq!(names(dir.path()), ["x.conda.part"]);

        let mut part = Part::open(&archive, true).await.unwrap();
        for _ in 0..500 {
            if part.length() > 0 {
                break;
            }
            // A process that another test starts also has the lock, until it executes its program.
            drop(part);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            part = Part::open(&archive, true).await.unwrap();
        }
        assert_eq!(part.length(), 4);
        part.append(b" and half").await.unwrap();
        let digests = part.digests();
        part.keep_as(&archive).await.unwrap();
        assert_eq!(std::fs::read(&archive).unwrap(), b"half and half");
        assert_eq!(names(dir.path()), ["x.conda"]);

        let mut whole = Part::open(&archive, true).await.unwrap();
        whole.append(b"wrong").await.unwrap();
        whole.restart().await.unwrap();
        whole.append(b"half and half").await.unwrap();
        assert_eq!(whole.digests(), digests);
    }

    #[tokio::test]
    async fn only_leftovers_of_killed_builds_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conda");
        let mut part = Part::open(&path, false).await.unwrap();
        part.append(b"half").await.unwrap();
        part.flush().await.unwrap();
        let living = names(dir.path());
        for name in [
            "x.conda.part-1-0",
            "x.conda.part-1-x",
            "x.conda.part",
            "x.conda",
        ] {
            std::fs::write(dir.path().join(name), "half").unwrap();
        }
        clear_leftovers(dir.path());
        let mut expected = ["x.conda", "x.conda.part", "x.conda.part-1-x"]
            .map(str::to_owned)
            .to_vec();
        expected.extend(living);
        expected.sort();
        assert_eq!(names(dir.path()), expected);
    }

    #[tokio::test]
    async fn empty_and_uncheckable_downloads_leave_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("x.conda");
        drop(Part::open(&archive, true).await.unwrap());
        let mut part = Part::open(&archive, false).await.unwrap();
        part.append(b"half").await.unwrap();
        drop(part);
        assert_eq!(names(dir.path()), [] as [&str; 0]);
    }
}
