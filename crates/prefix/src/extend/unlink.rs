//! Responsible for the removal of packages from an environment: their files, the byte code of these
//! files, directories left empty, and records.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use rattler_conda_types::{PrefixRecord, prefix_record::PathType};
use rustix::fs::FileType;

use super::old_byte_code_of;
use crate::{error::Error, link, records};
use condense_within::Within;

/// Directories that are kept even if they are empty, since other code expects them.
const STAYS: [&str; 3] = ["bin", "lib", "conda-meta"];

/// Finds the packages that stay and have, or gave up, a file of the packages that go, which are
/// given by the names of their archives. They have to be linked again, so that the file is theirs.
/// Returns the names of their archives.
///
/// # Errors
/// Returns [`Error::Io`] if a record cannot be read.
pub(super) fn sharers(env: &Within, gone: &HashSet<String>) -> Result<HashSet<String>, Error> {
    let mut found = HashSet::new();
    if gone.is_empty() {
        return Ok(found);
    }
    let records = records::records(env)?;
    let stems: HashSet<&str> = gone.iter().map(|archive| stem(archive)).collect();
    let (going, kept): (Vec<_>, Vec<_>) = records.iter().partition(|record| {
        let name = record.file_name();
        stems.contains(name.strip_suffix(".json").unwrap_or(&name))
    });
    let files: HashSet<&Path> = going.into_iter().flat_map(files_of).collect();
    for record in kept {
        let path = Path::new("conda-meta").join(record.file_name());
        let yielded = records::yielded_files(env, &path)?;
        let mut yielded = yielded.iter().map(PathBuf::as_path);
        if files_of(record).any(|file| files.contains(file))
            || yielded.any(|file| files.contains(file))
        {
            found.insert(record.repodata_record.identifier.to_file_name());
        }
    }
    Ok(found)
}

/// Returns the files and links of a package, without its empty directories, which several packages
/// may have.
fn files_of(record: &PrefixRecord) -> impl Iterator<Item = &Path> {
    let entries = record.paths_data.paths.iter();
    let entries = entries.filter(|entry| entry.path_type != PathType::Directory);
    entries.map(|entry| entry.relative_path.as_path())
}

/// Removes packages, which are given by the names of their archives. A file that also belongs to a
/// remaining package is kept, and so is an empty directory. Returns the removed paths, records
/// included, each directory behind everything in it, and the directories of remaining packages.
///
/// # Errors
/// Returns [`Error::Refused`] if a file may not be removed, [`Error::LeadsOut`] for a record that
/// names files outside of the environment, and [`Error::Io`] if a file cannot be read or removed.
pub(super) fn remove_packages(
    env: &Within,
    archives: &HashSet<String>,
) -> Result<(Vec<PathBuf>, HashSet<PathBuf>), Error> {
    if archives.is_empty() {
        return Ok((Vec::new(), HashSet::new()));
    }
    let mut removed = BTreeSet::new();
    let stems: HashSet<&str> = archives.iter().map(|archive| stem(archive)).collect();
    let records = records::records(env)?;
    let (gone, kept): (Vec<_>, Vec<_>) = records.iter().partition(|record| {
        let name = record.file_name();
        stems.contains(name.strip_suffix(".json").unwrap_or(&name))
    });
    let kept = kept.iter().flat_map(|record| &record.paths_data.paths);
    let kept_dirs = kept
        .clone()
        .filter(|entry| entry.path_type == PathType::Directory)
        .map(|entry| entry.relative_path.clone())
        .collect();
    let kept: HashSet<&Path> = kept.map(|entry| entry.relative_path.as_path()).collect();
    let mut dirs = BTreeSet::new();
    for record in gone {
        let stays = |path: &Path| kept.contains(path);
        link::remove_linked(env, record, &stays)?;
        for entry in &record.paths_data.paths {
            let path = &entry.relative_path;
            if stays(path) {
                continue;
            }
            if path.extension().is_some_and(|extension| extension == "py") {
                remove_byte_code(env, path)?;
                for path in old_byte_code_of(path).iter().filter(|path| !stays(path)) {
                    env.remove(path)?;
                }
                dirs.insert(path.with_file_name("__pycache__"));
            }
            dirs.extend(path.ancestors().skip(1).map(Path::to_owned));
            removed.insert(path.clone());
        }
        let path = Path::new("conda-meta").join(record.file_name());
        env.remove(&path)?;
        removed.insert(path);
    }
    // Each directory is removed after everything in it. A directory that is not empty, or a link,
    // is kept.
    for dir in dirs.iter().rev() {
        let stays =
            STAYS.iter().any(|stays| dir == Path::new(stays)) || kept.contains(dir.as_path());
        if *dir != Path::new("") && !stays && is_directory(env, dir) {
            env.remove(dir)?;
        }
    }
    Ok((removed.into_iter().rev().collect(), kept_dirs))
}

fn is_directory(env: &Within, path: &Path) -> bool {
    let found = env.stat_of_link(path);
    found.is_some_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

/// Cuts an archive's name to `name-version-build`.
fn stem(archive: &str) -> &str {
    archive
        .strip_suffix(".conda")
        .or_else(|| archive.strip_suffix(".tar.bz2"))
        .unwrap_or(archive)
}

/// Removes byte code that no record names because an earlier build or a script has compiled it.
fn remove_byte_code(env: &Within, source: &Path) -> Result<(), Error> {
    let dir = source.with_file_name("__pycache__");
    let Some(name) = source.file_stem().filter(|_| is_directory(env, &dir)) else {
        return Ok(());
    };
    let beginning = format!("{}.", name.to_string_lossy());
    for name in env.names(&dir)? {
        let path = dir.join(name);
        if is_byte_code_of(&path, &beginning) {
            env.remove(&path)?;
        }
    }
    Ok(())
}

/// Returns true for byte code such as `name.cpython-311.opt-1.pyc`, but not for byte code of
/// `name.more.py`.
pub(super) fn is_byte_code_of(path: &Path, beginning: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(tag) = name
        .strip_prefix(beginning)
        .and_then(|rest| rest.strip_suffix(".pyc"))
    else {
        return false;
    };
    let tag = tag.split_once(".opt-").map_or(tag, |(tag, _)| tag);
    !tag.contains('.')
}
