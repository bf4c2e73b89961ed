//! Responsible for giving a name to what is made, whatever the file system can do in one step.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use crate::Error;

/// What becomes of something that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and there is an error.
    Refuse,
    /// It is replaced, in one step.
    Replace,
}

/// Gives what lies at `made` the name `target` on the same file system.
///
/// # Errors
/// [`Error::Io`], of kind `AlreadyExists` where something is refused.
pub fn give_name(made: &Path, target: &Path, existing: Existing) -> Result<(), Error> {
    let renamed = match existing {
        Existing::Replace => rustix::fs::rename(made, target),
        Existing::Refuse => match renameat_with(CWD, made, CWD, target, RenameFlags::NOREPLACE) {
            // Not every file system can do both at once.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => in_two_steps(made, target),
            other => other,
        },
    };
    renamed.map_err(Error::io("create", target))
}

fn in_two_steps(made: &Path, target: &Path) -> rustix::io::Result<()> {
    match linkat(CWD, made, CWD, target, AtFlags::empty()) {
        Ok(()) => {
            // The other name goes with the directory that it is in.
            let _ = std::fs::remove_file(made);
            Ok(())
        }
        Err(Errno::EXIST) => Err(Errno::EXIST),
        // Directories have one name only, as has everything on some file systems.
        Err(_) if target.symlink_metadata().is_ok() => Err(Errno::EXIST),
        Err(_) => rustix::fs::rename(made, target),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_there_stays_unless_it_is_to_be_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for way in [
            |from: &Path, to: &Path| give_name(from, to, Existing::Refuse).is_ok(),
            |from: &Path, to: &Path| in_two_steps(from, to).is_ok(),
        ] {
            fs_err::write(at("new"), "new").unwrap();
            fs_err::write(at("old"), "old").unwrap();
            assert!(!way(&at("new"), &at("old")));
            assert_eq!(fs_err::read_to_string(at("old")).unwrap(), "old");
            assert!(way(&at("new"), &at("other")));
            assert!(!at("new").exists());
            fs_err::create_dir(at("dir")).unwrap();
            assert!(!way(&at("dir"), &at("old")));
            assert!(way(&at("dir"), &at("moved")));
            fs_err::remove_dir(at("moved")).unwrap();
            give_name(&at("other"), &at("old"), Existing::Replace).unwrap();
            assert_eq!(fs_err::read_to_string(at("old")).unwrap(), "new");
        }
    }
}
