//! Responsible for giving a result its name, even on file systems that cannot do so in one step.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use crate::Error;

/// The treatment of a file or directory that already has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The existing one stays, and the call fails.
    Refuse,
    /// The existing one is replaced in one step.
    Replace,
}

/// Renames `made` to `target`, which must be on the same file system.
///
/// # Errors
/// Returns [`Error::Io`] if the rename fails. The error's kind is `AlreadyExists` if `target`
/// exists and must not be replaced.
pub fn give_name(made: &Path, target: &Path, existing: Existing) -> Result<(), Error> {
    let renamed = match existing {
        Existing::Replace => rustix::fs::rename(made, target),
        Existing::Refuse => match renameat_with(CWD, made, CWD, target, RenameFlags::NOREPLACE) {
            // Some file systems cannot check for an existing name and rename in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => in_two_steps(made, target),
            other => other,
        },
    };
    renamed.map_err(Error::io("create", target))
}

fn in_two_steps(made: &Path, target: &Path) -> rustix::io::Result<()> {
    match linkat(CWD, made, CWD, target, AtFlags::empty()) {
        Ok(()) => {
            // The old name would also be removed later, together with its directory.
            let _ = std::fs::remove_file(made);
            Ok(())
        }
        Err(Errno::EXIST) => Err(Errno::EXIST),
        // Directories cannot have hard links, and some file systems have no hard links at all.
        Err(_) if target.symlink_metadata().is_ok() => Err(Errno::EXIST),
        Err(_) => rustix::fs::rename(made, target),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_existing_file_stays_unless_it_is_to_be_replaced() {
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
