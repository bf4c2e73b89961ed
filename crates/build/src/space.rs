//! Responsible for checking the free space and the free inodes before anything is downloaded.

use std::{collections::HashMap, os::unix::fs::MetadataExt, path::Path};

use anyhow::bail;
use condense_prefix::{Network, Solution};
use indicatif::{HumanBytes, HumanCount};

use crate::build::ImageDestination;
use condense_diagnostics::UserError;

/// Factor by which packages grow at least when they are unpacked.
const UNPACKED_PER_ARCHIVE: u64 = 2;
/// Minimum number of inodes of an unpacked package: its directories, its record and a file.
const INODES_PER_PACKAGE: u64 = 4;
/// Number of inodes of an installation without its wrappers: the generation's directories, the
/// image, the base, the scripts and the records.
pub(super) const INODES_OF_INSTALLATION: u64 = 12;

/// Files that will be written.
#[derive(Clone, Copy)]
pub(super) struct Need<'a> {
    /// Directory in which they are written.
    pub dir: &'a Path,
    /// Minimum size in bytes.
    pub bytes: u64,
    /// Minimum number of files and directories.
    pub inodes: u64,
    /// Noun for the files, for the message.
    pub what: &'static str,
    /// Hint for the user.
    pub hint: &'static str,
}

/// Free space of a file system, and the files that will be written to it.
struct FileSystem<'a> {
    free_bytes: u64,
    /// Number of free inodes; `None` for a file system without a fixed number, such as btrfs.
    free_inodes: Option<u64>,
    needs: Vec<&'a Need<'a>>,
}

impl FileSystem<'_> {
    fn new(found: &rustix::fs::StatVfs) -> Self {
        Self {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            free_inodes: (found.f_files > 0).then_some(found.f_favail),
            needs: Vec::new(),
        }
    }

    /// Refuses if the needs exceed the free space or the free inodes.
    fn check(&self) -> anyhow::Result<()> {
        let bytes = self.needs.iter().map(|need| need.bytes).sum();
        if self.free_bytes < bytes {
            let (free, needed) = (HumanBytes(self.free_bytes), HumanBytes(bytes));
            bail!(self.refused("space", |need| need.bytes, &free, &needed));
        }
        let inodes: u64 = self.needs.iter().map(|need| need.inodes).sum();
        if let Some(free) = self.free_inodes.filter(|free| *free < inodes) {
            let (free, needed) = (HumanCount(free), HumanCount(inodes));
            bail!(self.refused(
                "inodes (numbers of files)",
                |need| need.inodes,
                &free,
                &needed
            ));
        }
        Ok(())
    }

    fn refused(
        &self,
        resource: &str,
        amount: impl Fn(&Need) -> u64,
        free: &dyn std::fmt::Display,
        needed: &dyn std::fmt::Display,
    ) -> UserError {
        let largest = self.needs.iter().max_by_key(|need| amount(need));
        let largest = largest.expect("a system has a need");
        let what: Vec<&str> = self.needs.iter().map(|need| need.what).collect();
        UserError::new(
            format!(
                "not enough {resource} in `{}`: {free} free, at least {needed} needed for {}",
                largest.dir.display(),
                what.join(", ")
            ),
            largest.hint,
        )
    }
}

/// Checks that all files fit. The needs on one file system are added up. A file system that does
/// not report its free space is taken to have enough.
///
/// # Errors
/// Returns an error with the amounts if the files do not fit.
pub(super) fn check(needs: &[Need]) -> anyhow::Result<()> {
    let mut systems: HashMap<u64, FileSystem> = HashMap::new();
    for need in needs
        .iter()
        .filter(|need| need.bytes > 0 || need.inodes > 0)
    {
        let Some(dir) = need.dir.ancestors().find(|dir| dir.is_dir()) else {
            continue;
        };
        let (Ok(found), Ok(metadata)) = (rustix::fs::statvfs(dir), dir.metadata()) else {
            continue;
        };
        let system = systems.entry(metadata.dev());
        let system = system.or_insert_with(|| FileSystem::new(&found));
        system.needs.push(need);
    }
    systems.values().try_for_each(FileSystem::check)
}

/// Checks that the packages of a solution fit: unpacked in scratch, their archives in the cache,
/// and the image at its destination.
///
/// # Errors
/// Returns an error with the amounts if the files do not fit.
pub(super) fn check_packages(
    solution: &Solution,
    network: &Network,
    scratch: &Path,
    destination: ImageDestination,
) -> anyhow::Result<()> {
    let archives = solution.archive_bytes();
    let packages = solution.len() as u64;
    let (missing, missing_bytes) = condense_prefix::missing_archives(solution, network);
    check(&[
        Need {
            dir: scratch,
            bytes: archives.saturating_mul(UNPACKED_PER_ARCHIVE),
            inodes: packages.saturating_mul(INODES_PER_PACKAGE),
            what: "the unpacked packages",
            hint: "name another place with `--tmpdir DIR` or CW_BUILD_TMPDIR",
        },
        Need {
            dir: &network.settings().cache_dir,
            bytes: missing_bytes,
            inodes: missing,
            what: "the packages' archives",
            hint: "name another place with CONDENSE_CACHE_DIR",
        },
        Need {
            dir: destination.path,
            bytes: archives + destination.bytes_beside,
            inodes: INODES_OF_INSTALLATION,
            what: "the image",
            hint: "make room there, or install somewhere else",
        },
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{FileSystem, Need, check};
    use condense_diagnostics::Hint;
    use std::path::Path;

    fn need<'a>(dir: &'a Path, bytes: u64, what: &'static str) -> Need<'a> {
        Need {
            dir,
            bytes,
            inodes: 0,
            what,
            hint: "move",
        }
    }

    #[test]
    fn needs_on_one_file_system_are_added_up() {
        let dir = tempfile::tempdir().unwrap();
        let found = rustix::fs::statvfs(dir.path()).unwrap();
        let most = found.f_bavail * found.f_frsize / 5 * 3;
        let below = dir.path().join("not/yet/there");
        assert!(check(&[need(dir.path(), most, "one")]).is_ok());
        let error = check(&[need(dir.path(), most, "one"), need(&below, most, "two")]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("needed for one, two"), "{text}");
    }

    #[test]
    fn what_needs_nothing_is_not_looked_at() {
        assert!(check(&[need(Path::new("/proc"), 0, "nothing")]).is_ok());
    }

    /// Row B20: the error names inodes and not space.
    #[test]
    fn inodes_are_counted_beside_bytes() {
        let files = Need {
            inodes: 40,
            ..need(Path::new("/scratch"), 1, "the unpacked packages")
        };
        let more = Need {
            inodes: 12,
            ..need(Path::new("/scratch/out"), 1, "the image")
        };
        let system = |free_inodes| FileSystem {
            free_bytes: 1 << 40,
            free_inodes,
            needs: vec![&files, &more],
        };
        assert!(system(Some(52)).check().is_ok());
        // btrfs and others give no number.
        assert!(system(None).check().is_ok());
        let error = system(Some(51)).check().unwrap_err();
        let error = error.downcast::<super::UserError>().unwrap();
        assert_eq!(
            error.to_string(),
            "not enough inodes (numbers of files) in `/scratch`: 51 free, at least 52 needed for \
             the unpacked packages, the image"
        );
        assert_eq!(error.hint().as_deref(), Some("move"));
    }
}
