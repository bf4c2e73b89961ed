//! Responsible for reading a file while it is still being downloaded.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Progress of a download, shared by its writer and its reader.
#[derive(Debug)]
pub(crate) struct FollowedDownload {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// File of the download, known once the download has begun.
    file: Option<Arc<fs_err::File>>,
    written: u64,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

impl FollowedDownload {
    /// Creates a download that has not begun. Returns its writing and its reading end.
    pub(crate) fn begin() -> (FollowWriter, FollowReader) {
        let download = Arc::new(FollowedDownload {
            state: Mutex::new(State {
                file: None,
                written: 0,
                end: None,
            }),
            changed: Condvar::new(),
        });
        let reader = FollowReader {
            download: download.clone(),
            at: 0,
        };
        (FollowWriter(download), reader)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writing end of a download. If it is dropped before the download is complete, the reader gets an
/// error.
#[derive(Debug)]
pub(crate) struct FollowWriter(Arc<FollowedDownload>);

impl FollowWriter {
    /// Reports that `written` bytes of the file can be read now.
    pub(crate) fn advance(&self, file: &Arc<fs_err::File>, written: u64) {
        let mut state = self.0.lock();
        state.file.get_or_insert_with(|| file.clone());
        state.written = written;
        self.0.changed.notify_all();
    }

    /// Reports that the whole file can be read.
    pub(crate) fn complete(self) {
        self.0.lock().end = Some(End::Complete);
    }
}

impl Drop for FollowWriter {
    fn drop(&mut self) {
        self.0.lock().end.get_or_insert(End::Failed);
        self.0.changed.notify_all();
    }
}

/// Reading end of a download.
#[derive(Debug)]
pub(crate) struct FollowReader {
    download: Arc<FollowedDownload>,
    at: u64,
}

impl FollowReader {
    /// Returns the file that is read, if the download has begun.
    pub(crate) fn file(&self) -> Option<Arc<fs_err::File>> {
        self.download.lock().file.clone()
    }

    /// Waits until there are bytes to read. Returns the file and the number of bytes in it, or
    /// `None` at the end.
    fn wait(&self) -> Result<Option<(Arc<fs_err::File>, u64)>> {
        let mut state = self.download.lock();
        loop {
            match (&state.file, state.end) {
                (_, Some(End::Failed)) => {
                    return Err(Error::new(
                        ErrorKind::UnexpectedEof,
                        "the download ended early",
                    ));
                }
                (Some(file), _) if state.written > self.at => {
                    return Ok(Some((file.clone(), state.written)));
                }
                (_, Some(End::Complete)) => return Ok(None),
                _ => {}
            }
            state = self
                .download
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for FollowReader {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some((file, written)) = self.wait()? else {
            return Ok(0);
        };
        let len = (written - self.at).min(buffer.len() as u64) as usize;
        let file: &File = file.file();
        let len = file.read_at(&mut buffer[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reader_waits_for_bytes_and_sees_the_end_of_the_download() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("part");
        for completes in [true, false] {
            let file = File::options()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            let file = Arc::new(fs_err::File::from_parts(file, &path));
            let (flow, mut reader) = FollowedDownload::begin();
            let read = std::thread::spawn(move || {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map(|_| bytes)
            });
            for at in 0..10_u8 {
                let at_byte = u64::from(at) * 3;
                file.file().write_all_at(&[at; 3], at_byte).unwrap();
                flow.advance(&file, at_byte + 3);
            }
            if completes {
                flow.complete();
                let bytes = read.join().unwrap().unwrap();
                assert_eq!(bytes.len(), 30);
                assert!(bytes.is_sorted());
            } else {
                drop(flow);
                assert!(read.join().unwrap().is_err());
            }
        }
    }
}
