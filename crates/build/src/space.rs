//! Responsible for checking the free space before anything is downloaded.

use std::{os::unix::fs::MetadataExt, path::Path};

use anyhow::bail;
use indicatif::HumanBytes;

use condense_diagnostics::UserError;

/// Files that will be written.
pub(super) struct Need<'a> {
    /// Directory in which they are written.
    pub dir: &'a Path,
    /// Minimum size in bytes.
    pub bytes: u64,
    /// Noun for the files, for the message.
    pub what: &'static str,
    /// Hint for the user.
    pub hint: &'static str,
}

/// Checks that all files fit. The sizes on one file system are added up. A file system that does
/// not report its free space is taken to have enough.
///
/// # Errors
/// Returns an error with the sizes if the files do not fit.
pub(super) fn check(needs: &[Need]) -> anyhow::Result<()> {
    let mut systems: Vec<(u64, u64, Vec<&Need>)> = Vec::new();
    for need in needs.iter().filter(|need| need.bytes > 0) {
        let Some(dir) = need.dir.ancestors().find(|dir| dir.is_dir()) else {
            continue;
        };
        let (Ok(found), Ok(metadata)) = (rustix::fs::statvfs(dir), dir.metadata()) else {
            continue;
        };
        match systems
            .iter_mut()
            .find(|(device, _, _)| *device == metadata.dev())
        {
            Some((_, _, here)) => here.push(need),
            None => systems.push((
                metadata.dev(),
                found.f_bavail.saturating_mul(found.f_frsize),
                vec![need],
            )),
        }
    }
    for (_, free, here) in systems {
        let needed: u64 = here.iter().map(|need| need.bytes).sum();
        if free >= needed {
            continue;
        }
        let largest = here
            .iter()
            .max_by_key(|need| need.bytes)
            .expect("a system has a need");
        let what: Vec<&str> = here.iter().map(|need| need.what).collect();
        bail!(UserError::new(
            format!(
                "not enough space in `{}`: {} free, at least {} needed for {}",
                largest.dir.display(),
                HumanBytes(free),
                HumanBytes(needed),
                what.join(", ")
            ),
            largest.hint,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Need, check};
    use std::path::Path;

    fn need<'a>(dir: &'a Path, bytes: u64, what: &'static str) -> Need<'a> {
        Need {
            dir,
            bytes,
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
}
