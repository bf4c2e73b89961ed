//! Responsible for a result file that the user names: it is written beside its final path and
//! renamed, unless the path is a device or a pipe.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::paths::parent_of;
use crate::staging::Staging;
use crate::{Error, Existing};

/// The maximum number of symbolic links that are followed. The kernel has the same limit.
const LINKS_MAX: u32 = 40;

/// A result that is being written. The final path does not change before [`Output::publish`].
#[derive(Debug)]
pub struct Output {
    file: File,
    /// The final path, with symbolic links followed.
    target: PathBuf,
    existing: Existing,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Beside {
        staging: Staging,
        made: PathBuf,
    },
    /// The path is not a regular file, or no file can be made beside it.
    InPlace,
}

/// Writes a whole result and replaces an existing file in one step.
///
/// # Errors
/// Returns any error of [`Output::create`] and [`Output::publish`], and [`Error::Io`] if the file
/// cannot be written.
pub fn write(target: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut output = Output::create(target, Existing::Replace)?;
    output
        .write_all(bytes)
        .map_err(Error::io("write", target))?;
    output.publish()
}

impl Output {
    /// Starts a result for `target`. Symbolic links are followed, and the result gets the
    /// permissions of an existing file.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be created. The error's kind is `AlreadyExists` if
    /// the path exists and must not be replaced.
    pub fn create(target: &Path, existing: Existing) -> Result<Output, Error> {
        Self::create_with(target, existing, |path| {
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)
        })
    }

    /// Does the same as [`Output::create`] for a large file, whose layout on Lustre grows with it;
    /// see [`create_image`](crate::create_image).
    ///
    /// # Errors
    /// Returns any error of [`Output::create`].
    pub fn create_image(target: &Path, existing: Existing) -> Result<Output, Error> {
        Self::create_with(target, existing, |path| crate::create_image(path, 0o666))
    }

    fn create_with(
        target: &Path,
        existing: Existing,
        open: impl FnOnce(&Path) -> std::io::Result<File>,
    ) -> Result<Output, Error> {
        let failed = || Error::io::<std::io::Error>("create", target);
        let (target, old) = match existing {
            Existing::Refuse if target.symlink_metadata().is_ok() => {
                return Err(failed()(ErrorKind::AlreadyExists.into()));
            }
            Existing::Refuse => (target.to_owned(), None),
            Existing::Replace => {
                let Some(end) = end_of_links(target) else {
                    // The path names an open file, most often standard output.
                    return Self::in_place(target, false);
                };
                let old = std::fs::metadata(&end).ok();
                (end, old)
            }
        };
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return Self::in_place(&target, false);
        }
        let staging = match Staging::beside(&target) {
            Ok(staging) => staging,
            // The file is in a directory that this user may not write to.
            Err(error) if old.is_some() && is_refusal(error.source_kind()) => {
                return Self::in_place(&target, true).map_err(|_| error);
            }
            Err(Error::Io { source, .. }) => return Err(failed()(source)),
        };
        let made = staging
            .path()
            .join(target.file_name().unwrap_or("output".as_ref()));
        let file = open(&made).map_err(failed())?;
        if let Some(old) = old {
            // A user who may not change the owner becomes the owner: the contents matter more.
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
            let permissions = std::fs::Permissions::from_mode(old.mode() & 0o777);
            file.set_permissions(permissions).map_err(failed())?;
        }
        Ok(Output {
            file,
            target,
            existing,
            method: Method::Beside { staging, made },
        })
    }

    /// Opens the existing file itself. With `instead`, the new contents replace the old ones.
    /// Without, they are appended as with `>>` in a shell, which also suits pipes and devices.
    fn in_place(target: &Path, instead: bool) -> Result<Output, Error> {
        let file = File::options()
            .append(!instead)
            .write(instead)
            .truncate(instead)
            .open(target)
            .map_err(Error::io("open", target))?;
        Ok(Output {
            file,
            target: target.to_owned(),
            existing: Existing::Replace,
            method: Method::InPlace,
        })
    }

    /// Returns the path that is currently written to, for callers that write by name.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.method {
            Method::Beside { made, .. } => made,
            Method::InPlace => &self.target,
        }
    }

    /// Returns the open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes the file to disk, then gives it its final name.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be stored or renamed. The final path then holds
    /// either the old file or the whole new one.
    pub fn publish(self) -> Result<(), Error> {
        let Output {
            mut file,
            target,
            existing,
            method,
        } = self;
        let Method::Beside { staging, made } = method else {
            return Ok(());
        };
        file.sync_all().map_err(Error::io("write", &target))?;
        let given = staging.publish(&made, &target, existing);
        if let Err(error) = &given
            && existing == Existing::Replace
            && error.source_kind() == ErrorKind::ResourceBusy
        {
            // A file that is itself a mount point cannot be replaced by a rename.
            return copy_over(&mut file, &target);
        }
        given
    }
}

fn copy_over(from: &mut File, target: &Path) -> Result<(), Error> {
    let failed = || Error::io::<std::io::Error>("write", target);
    let mut to = File::options()
        .write(true)
        .truncate(true)
        .open(target)
        .map_err(failed())?;
    from.seek(SeekFrom::Start(0)).map_err(failed())?;
    std::io::copy(from, &mut to).map_err(failed())?;
    to.sync_all().map_err(failed())
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

/// Follows symbolic links to their end, whether or not a file exists there. Returns `None` if the
/// path names an open file of a process.
fn end_of_links(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let dir = std::fs::canonicalize(parent_of(&path)).unwrap_or_default();
        if dir.starts_with("/proc") || dir == Path::new("/dev/fd") {
            return None;
        }
        match std::fs::read_link(&path) {
            Ok(to) => path = parent_of(&path).join(to),
            Err(_) => return Some(path),
        }
    }
    // The loop of links is left to the kernel, which reports the error when the path is used.
    Some(path)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use condense_diagnostics::Hint as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_permissions_and_where_its_links_lead() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let read = |name: &str| fs_err::read_to_string(at(name)).unwrap();
        write(&at("new"), b"one").unwrap();
        assert_eq!(read("new"), "one");
        let mode = std::fs::Permissions::from_mode(0o640);
        fs_err::set_permissions(at("new"), mode).unwrap();
        fs_err::create_dir(at("links")).unwrap();
        fs_err::os::unix::fs::symlink("../new", at("links/first")).unwrap();
        fs_err::os::unix::fs::symlink("links/first", at("second")).unwrap();
        fs_err::os::unix::fs::symlink("dangling-to", at("dangling")).unwrap();

        // The new contents are not visible before they are complete, and the old ones stay if that
        // never happens.
        let mut output = Output::create(&at("second"), Existing::Replace).unwrap();
        output.write_all(b"half").unwrap();
        assert_eq!(read("new"), "one");
        drop(output);
        assert_eq!(read("new"), "one");

        write(&at("second"), b"two").unwrap();
        write(&at("dangling"), b"three").unwrap();
        assert_eq!(
            (read("new"), read("dangling-to")),
            ("two".into(), "three".into())
        );
        assert!(at("second").is_symlink() && at("dangling").is_symlink());
        let mode = fs_err::metadata(at("new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(
            names(scratch.path()),
            ["dangling", "dangling-to", "links", "new", "second"]
        );
        assert_eq!(names(&at("links")), ["first"]);
        write(&at("none/file"), b"").unwrap_err();
        write(&at("links"), b"").unwrap_err();
    }

    #[test]
    fn an_existing_file_is_refused_at_creation_and_at_publication() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new");
        let output = Output::create(&path, Existing::Refuse).unwrap();
        fs_err::write(&path, "mine").unwrap();
        for error in [
            output.publish().unwrap_err(),
            Output::create(&path, Existing::Refuse).unwrap_err(),
        ] {
            assert_eq!(error.source_kind(), ErrorKind::AlreadyExists);
            assert!(error.hint().is_some());
        }
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "mine");
        assert_eq!(names(scratch.path()), ["new"]);
    }

    #[test]
    fn pipes_devices_and_open_files_stay_what_they_are() {
        let scratch = tempfile::tempdir().unwrap();
        let pipe = scratch.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).unwrap();
        let (reader, name) = (pipe.clone(), pipe.clone());
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            File::open(reader)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        });
        write(&name, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        write(Path::new("/dev/null"), b"away").unwrap();
        assert!(write(Path::new("/dev/full"), b"too much").is_err());
        assert_eq!(names(scratch.path()), ["pipe"]);

        let mut open = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(scratch.path().join("open"))
            .unwrap();
        open.write_all(b"before ").unwrap();
        let name = format!("/proc/self/fd/{}", open.as_raw_fd());
        write(Path::new(&name), b"behind").unwrap();
        let mut text = String::new();
        open.seek(SeekFrom::Start(0)).unwrap();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before behind");
    }
}
