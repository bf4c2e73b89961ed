//! Responsible for assertions about directories.

use std::{io::ErrorKind, path::Path};

/// Returns the sorted names in a directory; a directory that does not exist has none.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = match fs_err::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        entries => entries.unwrap(),
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns the sorted names of the hidden entries of a directory. Builds stage their work in hidden
/// directories beside their destinations.
pub fn hidden_names(dir: &Path) -> Vec<String> {
    let mut names = names(dir);
    names.retain(|name| name.starts_with('.'));
    names
}

/// Checks that a command left nothing in its scratch directory and nothing hidden in the directory
/// of its destination.
#[track_caller]
pub fn assert_nothing_left(scratch: &Path, beside_destination: &Path) {
    assert_eq!(names(scratch), [""; 0], "in scratch");
    assert_eq!(
        hidden_names(beside_destination),
        [""; 0],
        "beside the destination"
    );
}
