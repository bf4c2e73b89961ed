//! Responsible for unpacked packages of the cache that turn out to be damaged while they are read:
//! they are removed, and unpacked again from their archives.

use std::{collections::HashSet, error::Error, ffi::OsString, io::ErrorKind, path::Path};

use crate::report::Report;

/// Words of the error that reading damaged contents gives.
const WORDS: &str = "its contents have changed";

/// Returns whether an error is that of a damaged package.
pub(crate) fn is_damage(error: &anyhow::Error) -> bool {
    let mut found = false;
    visit(error, &mut |error| {
        let io = error.downcast_ref::<std::io::Error>();
        found |= io.is_some_and(|io| {
            io.kind() == ErrorKind::InvalidData && io.to_string().contains(WORDS)
        });
    });
    found
}

/// Removes the packages of the cache that an error says are damaged.
pub(crate) fn remove_damaged(error: &anyhow::Error, report: &Report) {
    visit(error, &mut |error| {
        if let Some(condense_image::Error::Io { path, source, .. }) = error.downcast_ref()
            && source.kind() == ErrorKind::InvalidData
        {
            report.remove_damaged(path);
        }
    });
}

/// Removes the packages of the cache that an error says are damaged. Returns the error.
pub(crate) fn without_damaged(error: anyhow::Error, report: &Report) -> anyhow::Error {
    remove_damaged(&error, report);
    error
}

/// Calls a function with an error and its causes. Errors in an [`std::io::Error`] are among them,
/// which its chain leaves out.
fn visit(error: &anyhow::Error, call: &mut dyn FnMut(&(dyn Error + 'static))) {
    let mut next = Some(error.as_ref() as &(dyn Error + 'static));
    while let Some(error) = next {
        call(error);
        let within = error
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref());
        next = match within {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
}

/// Returns the names in a directory.
///
/// # Errors
/// Returns an error if it cannot be read.
pub(crate) fn names_in(dir: &Path) -> std::io::Result<HashSet<OsString>> {
    let entries = fs_err::read_dir(dir)?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found_below_other_errors() {
        let damage = || std::io::Error::new(ErrorKind::InvalidData, format!("{WORDS}: again"));
        let io = |source| condense_image::Error::Io {
            action: "read",
            path: "package".into(),
            source,
        };
        let nested = io(std::io::Error::other(io(damage())));
        let mut paths = 0;
        let nested = anyhow::Error::new(nested).context("a step");
        visit(&nested, &mut |error| {
            paths += usize::from(error.downcast_ref::<condense_image::Error>().is_some());
        });
        assert_eq!(paths, 2);
        assert!(is_damage(&nested));
        assert!(is_damage(&anyhow::Error::new(damage())));
        let other = io(std::io::Error::new(ErrorKind::InvalidData, "no UTF-8"));
        assert!(!is_damage(&anyhow::Error::new(other)));
    }
}
