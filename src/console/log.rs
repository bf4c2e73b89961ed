//! Responsible for the logs of failed build steps: files below the cache, of which the newest are
//! kept.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Name of the directory below the cache.
pub(super) const DIR: &str = "logs";
/// Number of logs that are kept.
const KEPT: usize = 10;
const EXTENSION: &str = "log";

/// Writes the output of a step into a new file that only this user can read, and removes the
/// oldest files. Returns `None` if the file cannot be written: the error of the step matters more.
pub(super) fn keep(dir: &Path, step: &str, lines: &[&str]) -> Option<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .ok()?;
    let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let word = step.split_whitespace().next().unwrap_or("step");
    let word: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = dir.join(format!("{time}-{word}-{}.{EXTENSION}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .ok()?;
    let text = lines.join("\n") + "\n";
    if file.write_all(text.as_bytes()).is_err() {
        let _ = std::fs::remove_file(&path);
        return None;
    }
    remove_old(dir);
    Some(path)
}

/// Removes all logs but the newest. Their names begin with their times.
fn remove_old(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut logs: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == EXTENSION))
        .collect();
    logs.sort();
    for old in &logs[..logs.len().saturating_sub(KEPT)] {
        let _ = std::fs::remove_file(old);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_newest_logs_are_kept_for_their_user_alone() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("cache/logs");
        fs_err::create_dir_all(&dir).unwrap();
        for number in 0..KEPT + 3 {
            fs_err::write(dir.join(format!("2020010{number:02}-x.log")), "old\n").unwrap();
        }
        fs_err::write(dir.join("notes"), "kept\n").unwrap();
        let path = keep(&dir, "pip install", &["one", "two"]).unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(&dir).unwrap().count(), KEPT + 1);
        assert!(dir.join("notes").exists());
        assert_eq!(keep(Path::new("/dev/null/logs"), "x", &[]), None);
    }
}
