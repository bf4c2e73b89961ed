//! Responsible for the file of an archive that is on its way: what has arrived survives the build
//! that fetched it.

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

/// Read at a time when what is there is digested.
const CHUNK: usize = 256 * 1024;

/// An archive that is not complete yet.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: tokio::fs::File,
    /// May go on where somebody stopped; else nobody else sees it, and it goes with this value.
    resumable: bool,
    kept: bool,
    length: u64,
    sha256: Sha256,
    md5: Md5,
}

impl Part {
    /// Opens what an earlier build has left of `archive`, or nothing yet. Where another build
    /// fetches the same archive right now, or what is there could not be checked, each has a
    /// file of its own; the last rename wins.
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
        // Another machine may have a process of the same number.
        let mut number = 0;
        loop {
            let path = beside(&format!(".part-{}-{number}", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => {
                    // The lock is held as long as the file is in use. On a file system without
                    // locks, no other process takes the file for a leftover either.
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

    /// Bytes that have arrived.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Forgets what has arrived.
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

    /// Adds what has just come.
    pub(super) async fn append(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(chunk).await;
        written.map_err(Error::io("write", &self.path))?;
        self.sha256.update(chunk);
        self.md5.update(chunk);
        self.length += chunk.len() as u64;
        Ok(())
    }

    /// Has everything that was appended in the file, so that it can be gone on with later.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.file.flush().await;
        flushed.map_err(Error::io("write", &self.path))
    }

    /// Digests of what has arrived.
    pub(super) fn digests(&self) -> ([u8; 32], [u8; 16]) {
        (
            self.sha256.clone().finalize().into(),
            self.md5.clone().finalize().into(),
        )
    }

    /// Gives it its name.
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
            // Nothing can be done about a file that will not go, and it is only a cache.
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Removes the parts that killed builds have left and that no build can resume.
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

/// Returns whether a name ends like `.part-PROCESS-NUMBER`.
fn is_own_part(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once(".part-")
        .and_then(|(_, numbers)| numbers.split_once('-'))
        .is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Returns whether an open file is still the one at this path.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let here = file.metadata()?;
    match fs_err::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (here.dev(), here.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file at `path` for this process alone; none when another one has it.
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
        // Also for file systems that know no locks.
        if file.try_lock().is_err() {
            return Ok(None);
        }
        // Whoever had it may have finished and renamed it meanwhile.
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
    async fn what_has_arrived_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("x.conda");
        let mut part = Part::open(&archive, true).await.unwrap();
        part.append(b"half").await.unwrap();
        part.flush().await.unwrap();
        // The one that has it keeps it; a second one has its own, which goes with it.
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
            // A process that another test starts has the lock, too, until it becomes its program.
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
    async fn what_killed_builds_left_goes_and_what_is_wanted_stays() {
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
    async fn nothing_is_left_of_nothing_or_of_what_could_not_be_checked() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("x.conda");
        drop(Part::open(&archive, true).await.unwrap());
        let mut part = Part::open(&archive, false).await.unwrap();
        part.append(b"half").await.unwrap();
        drop(part);
        assert_eq!(names(dir.path()), [] as [&str; 0]);
    }
}
