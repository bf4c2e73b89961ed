//! Responsible for a file that a user names for a result: written beside its place and renamed, unless it is a device or a pipe.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::staging::{Staging, parent_of};
use crate::{Error, Existing};

/// Links that are followed before it is taken for a loop, as the kernel does.
const LINKS_MAX: u32 = 40;

/// A result in the making. Without [`Output::publish`] the place is as it was.
#[derive(Debug)]
pub struct Output {
    file: File,
    /// Where it will be, links followed.
    target: PathBuf,
    existing: Existing,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Beside {
        staging: Staging,
        made: PathBuf,
    },
    /// What is there is no file, or nothing can be made beside it.
    InPlace,
}

/// Writes a whole result; what was there is replaced in one step.
///
/// # Errors
/// Those of [`Output::create`] and [`Output::publish`].
pub fn write(target: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut output = Output::create(target, Existing::Replace)?;
    output
        .write_all(bytes)
        .map_err(Error::io("write", target))?;
    output.publish()
}

impl Output {
    /// Begins one for `target`: at the end of its links, with the permissions of the file that is there.
    ///
    /// # Errors
    /// [`Error::Io`], of kind `AlreadyExists` when something is there that is to stay.
    pub fn create(target: &Path, existing: Existing) -> Result<Output, Error> {
        let failed = || Error::io::<std::io::Error>("create", target);
        let (target, old) = match existing {
            Existing::Refuse if target.symlink_metadata().is_ok() => {
                return Err(failed()(ErrorKind::AlreadyExists.into()));
            }
            Existing::Refuse => (target.to_owned(), None),
            Existing::Replace => {
                let Some(end) = end_of_links(target) else {
                    // A name of an open file: standard output, most often.
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
            // A file in a directory that is somebody else's.
            Err(error) if old.is_some() && is_refusal(error.source_kind()) => {
                return Self::in_place(&target, true).map_err(|_| error);
            }
            Err(Error::Io { source, .. }) => return Err(failed()(source)),
        };
        let made = staging
            .path()
            .join(target.file_name().unwrap_or("output".as_ref()));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&made)
            .map_err(failed())?;
        if let Some(old) = old {
            // Who may not give a file away keeps it; its bytes count.
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
            let permissions = std::fs::Permissions::from_mode(old.mode() & 0o777);
            file.set_permissions(permissions).map_err(failed())?;
        }
        Ok(Output {
            file,
            target,
            existing,
            way: Way::Beside { staging, made },
        })
    }

    /// Behind what is there, as a shell's `>>`; pipes and devices know no other way. Or instead of it.
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
            way: Way::InPlace,
        })
    }

    /// Where it is written now, for who writes by name.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.way {
            Way::Beside { made, .. } => made,
            Way::InPlace => &self.target,
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Waits until it is on disk, then gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there is there then, or all of the new one.
    pub fn publish(self) -> Result<(), Error> {
        let Output {
            mut file,
            target,
            existing,
            way,
        } = self;
        let Way::Beside { staging, made } = way else {
            return Ok(());
        };
        file.sync_all().map_err(Error::io("write", &target))?;
        let given = staging.publish(&made, &target, existing);
        if let Err(error) = &given
            && existing == Existing::Replace
            && error.source_kind() == ErrorKind::ResourceBusy
        {
            // A file that is mounted where it lies cannot be exchanged.
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

/// Where links lead, be there something or not; nothing for a name of an open file of a process.
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
    // The kernel says what is wrong with it.
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

        // Nobody sees it before it is whole, and nothing has changed when it never is.
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
    fn what_must_not_be_there_is_refused_early_and_late() {
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
