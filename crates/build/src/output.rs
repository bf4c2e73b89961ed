//! Responsible for checking where a command will write before it does any work: nothing is solved
//! or fetched for a result that has no place.

use std::{
    fs::FileType,
    path::{Path, PathBuf},
};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_publish::Existing;
use rustix::{fs::Access, io::Errno};

const WRITABLE: Access = Access::WRITE_OK.union(Access::EXEC_OK);
/// Maximum number of symbolic links that are followed, as in the kernel.
const LINKS_MAX: u32 = 40;
const ANOTHER: &str = "name a place that you may write into";

/// Checks that a file can be written, and changes nothing. `replace` is the option that replaces an
/// existing file, for the hint.
///
/// # Errors
/// Returns an error if the path is a directory, if it exists and `existing` refuses that, if there
/// is no directory for it, or if this user may not write there.
pub fn check_output(file: &Path, existing: Existing, replace: Option<&str>) -> anyhow::Result<()> {
    let shown = file.display();
    if file.is_dir() {
        bail!(UserError::new(
            format!("cannot write `{shown}`: it is a directory"),
            "name a file",
        ));
    }
    if existing == Existing::Refuse && file.symlink_metadata().is_ok() {
        bail!(UserError::new(
            format!("`{shown}` is there already"),
            match replace {
                Some(option) => format!("name another file, or replace it with `{option}`"),
                None => "remove it first, or choose another name".to_owned(),
            },
        ));
    }
    let end = end_of_links(file);
    // A file that may be written is written even where no file can be made beside it. Devices,
    // pipes and standard output are such files.
    if end.exists() && rustix::fs::access(&end, Access::WRITE_OK).is_ok() {
        return Ok(());
    }
    let dir = match end.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => Path::new("/"),
    };
    if dir.is_dir() {
        return match rustix::fs::access(dir, WRITABLE) {
            Ok(()) => Ok(()),
            Err(error) => Err(refused(file, dir, error)),
        };
    }
    if dir.exists() {
        bail!(UserError::new(
            format!(
                "cannot write `{shown}`: `{}` is no directory",
                dir.display()
            ),
            ANOTHER,
        ));
    }
    bail!(UserError::new(
        format!(
            "cannot write `{shown}`: there is no directory `{}`",
            dir.display()
        ),
        format!("make the directory first: `mkdir -p {}`", dir.display()),
    ))
}

/// Does the same as [`check_output`] for an image, which takes the place of what is there. Only a
/// file gives its place to an image, and not a device, a pipe or a socket.
///
/// # Errors
/// Returns any error of [`check_output`], and an error for what is no file.
pub fn check_image_output(
    file: &Path,
    existing: Existing,
    replace: Option<&str>,
) -> anyhow::Result<()> {
    let is_other = |kind: FileType| !kind.is_file() && !kind.is_dir();
    if std::fs::metadata(file).is_ok_and(|there| is_other(there.file_type())) {
        bail!(UserError::new(
            format!("cannot write `{}`: it is no file", file.display()),
            "name a file, or one that does not exist yet: an image is not written into devices or pipes",
        ));
    }
    check_output(file, existing, replace)
}

/// Checks that files can be written into a directory, which is made if it does not exist. Changes
/// nothing.
///
/// # Errors
/// Returns an error if the directory cannot be made, or if this user may not write into it.
pub fn check_output_dir(dir: &Path) -> anyhow::Result<()> {
    // A dangling link is no place for a directory.
    let there = dir
        .ancestors()
        .find(|dir| dir.symlink_metadata().is_ok())
        .unwrap_or(Path::new("/"));
    if !there.is_dir() {
        bail!(UserError::new(
            format!(
                "cannot write into `{}`: `{}` is no directory",
                dir.display(),
                there.display()
            ),
            ANOTHER,
        ));
    }
    match rustix::fs::access(there, WRITABLE) {
        Ok(()) => Ok(()),
        Err(error) => Err(refused(dir, there, error)),
    }
}

fn refused(path: &Path, dir: &Path, error: Errno) -> anyhow::Error {
    let reason = match error {
        Errno::ROFS => "is on a file system that is read-only here".to_owned(),
        Errno::ACCESS | Errno::PERM => "does not let you write".to_owned(),
        error => format!("cannot be written ({error})"),
    };
    UserError::new(
        format!(
            "cannot write `{}`: `{}` {reason}",
            path.display(),
            dir.display()
        ),
        ANOTHER,
    )
    .into()
}

/// Follows symbolic links to their end, whether or not a file exists there.
fn end_of_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            // A name of an open file, as `/proc/self/fd/1`, leads to no path.
            Ok(_) if path.starts_with("/proc") => return path,
            Ok(to) => path = path.parent().unwrap_or(Path::new("/")).join(to),
            Err(_) => return path,
        }
    }
    path
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    fn reason(file: &Path, existing: Existing) -> String {
        let error = check_output(file, existing, Some("--force")).unwrap_err();
        error.to_string()
    }

    #[test]
    fn places_are_checked_without_changing_anything() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs_err::write(at("file"), "").unwrap();
        fs_err::create_dir(at("dir")).unwrap();
        symlink("dir/new", at("link")).unwrap();
        symlink("none/new", at("dangling")).unwrap();
        for (name, existing) in [
            ("new", Existing::Refuse),
            ("file", Existing::Replace),
            ("link", Existing::Replace),
        ] {
            check_output(&at(name), existing, None).unwrap();
        }
        for path in ["/dev/stdout", "/dev/full", "/dev/null"] {
            check_output(Path::new(path), Existing::Replace, None).unwrap();
        }
        for (name, existing, expected) in [
            ("dir", Existing::Replace, "it is a directory"),
            ("dir", Existing::Refuse, "it is a directory"),
            ("file", Existing::Refuse, "is there already"),
            ("link", Existing::Refuse, "is there already"),
            ("file/x", Existing::Replace, "is no directory"),
            ("none/x", Existing::Replace, "there is no directory"),
            ("dangling", Existing::Replace, "there is no directory"),
        ] {
            let said = reason(&at(name), existing);
            assert!(said.contains(expected), "{name}: {said}");
        }
        let fifo = at("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        symlink("fifo", at("to-fifo")).unwrap();
        for existing in [Existing::Replace, Existing::Refuse] {
            for path in [&fifo, &at("to-fifo"), Path::new("/dev/null")] {
                let refused = check_image_output(path, existing, Some("--force")).unwrap_err();
                assert!(
                    refused.to_string().ends_with(": it is no file"),
                    "{refused}"
                );
            }
            check_image_output(&at("new"), existing, None).unwrap();
        }
        check_image_output(&at("file"), Existing::Replace, None).unwrap();
        fs_err::remove_file(fifo).unwrap();
        fs_err::remove_file(at("to-fifo")).unwrap();
        let names = fs_err::read_dir(room.path()).unwrap().count();
        assert_eq!(names, 4);
        check_output_dir(&at("dir/a/b")).unwrap();
        assert!(check_output_dir(&at("file/a")).is_err());
        assert!(check_output_dir(&at("dangling/a")).is_err());
    }
}
