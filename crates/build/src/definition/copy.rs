//! Responsible for copying files into a stage, as `%files` says: from this machine with all links
//! followed, and from another stage with links kept.

use std::{
    ffi::OsString,
    io::ErrorKind,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use condense_definition::Transfer;
use condense_diagnostics::{UserError, closest};
use condense_image::{Entry, Kind, Tree};
use rustix::io::Errno;

use super::{
    pattern::{expand, list_of_host},
    root::{DIRECTORY_MODE, Found, find, list, resolve, take_place},
};

/// Permissions that the usual mask of a build leaves to copied files.
const MODE_OF_FILES: u32 = 0o775;
const MODE_OF_DIRECTORIES: u32 = 0o1775;
const CIRCLE_HINT: &str = "remove the link, or name what you need one by one";
const NOWHERE_HINT: &str = "make what the link leads to, or leave it out";

/// Copies files of this machine into the tree. Relative sources start from `cwd`.
///
/// # Errors
/// Returns an error with the line if a source is missing, cannot be read or has no place.
pub(super) fn from_host(tree: &mut Tree, transfer: &Transfer, cwd: &Path) -> anyhow::Result<()> {
    for source in expand(&transfer.source, &list_of_host(cwd)) {
        let here = cwd.join(&source);
        if let Err(error) = here.metadata() {
            bail!(not_found(transfer, &here, &source, &error));
        }
        if here.canonicalize().is_ok_and(|path| path == Path::new("/")) {
            bail!(UserError::at(
                transfer.location.clone(),
                format!("`{}` is this whole machine", source.display()),
                Some("name the files and directories that the image needs".to_owned()),
            ));
        }
        let given = transfer.destination.as_ref().map(PathBuf::from);
        let given = given.unwrap_or_else(|| source.clone());
        let target = prepare(tree, &given, last_name(&source))
            .and_then(|target| copy(tree, &here, &target, &mut Vec::new()));
        target.map_err(|error| located(transfer, &source.display(), &error))?;
    }
    Ok(())
}

/// Copies files of another stage into the tree.
///
/// # Errors
/// Returns an error with the line if a source is missing or has no place.
pub(super) fn from_stage(
    tree: &mut Tree,
    transfer: &Transfer,
    stage: &Tree,
    name: &str,
) -> anyhow::Result<()> {
    let listed = |path: &Path| resolve(stage, path).map_or(Vec::new(), |path| list(stage, &path));
    let pattern = format!("/{}", transfer.source.trim_start_matches('/'));
    for source in expand(&pattern, &listed) {
        let from = resolve(stage, &source)?;
        if find(stage, &from).is_none() {
            bail!(UserError::at(
                transfer.location.clone(),
                format!("`{}` is not in the stage `{name}`", source.display()),
                Some("name a path as it is in that stage".to_owned()),
            ));
        }
        let given = transfer.destination.as_ref().map(PathBuf::from);
        let given = given.unwrap_or_else(|| source.clone());
        let own_name = if ends_with_slash(&source) {
            None
        } else {
            source.file_name().map(OsString::from)
        };
        let copied = prepare(tree, &given, own_name)
            .and_then(|target| copy_between(tree, &target, stage, &from));
        copied.map_err(|error| located(transfer, &source.display(), &error))?;
    }
    Ok(())
}

/// Returns the place of a copy, and makes the directories above it. The copy goes into an existing
/// directory under `name`.
fn prepare(tree: &mut Tree, given: &Path, name: Option<OsString>) -> anyhow::Result<PathBuf> {
    let place = resolve(tree, given)?;
    let found = find(tree, &place);
    if found.is_none() {
        let above = if ends_with_slash(given) {
            Some(place.as_path())
        } else {
            place.parent()
        };
        if let Some(above) = above {
            tree.add_directory(above)?;
        }
    }
    if find(tree, &place) == Some(Found::Directory) {
        return Ok(match name {
            Some(name) => place.join(name),
            None => place,
        });
    }
    if ends_with_slash(given) {
        bail!("`/{}` is not a directory in the image", place.display());
    }
    Ok(place)
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Returns the name under which a source is copied into a directory; none for `.` and `..`, whose
/// entries are copied.
fn last_name(source: &Path) -> Option<OsString> {
    let text = source.as_os_str().as_encoded_bytes();
    let end = text.iter().rposition(|byte| *byte != b'/')?;
    let last = text[..=end].rsplit(|byte| *byte == b'/').next()?;
    if last == b"." || last == b".." {
        return None;
    }
    source.file_name().map(OsString::from)
}

/// Copies a file or directory of this machine to a path, with all links followed. `above` has the
/// device and inode numbers of the directories above it.
fn copy(
    tree: &mut Tree,
    source: &Path,
    target: &Path,
    above: &mut Vec<(u64, u64)>,
) -> anyhow::Result<()> {
    let target = &resolve(tree, target)?;
    let metadata = fs_err::metadata(source)?;
    let kind = metadata.file_type();
    if metadata.is_file() {
        let mode = (metadata.mode() & MODE_OF_FILES) as u16;
        let mode = take_place(tree, target)?.unwrap_or(mode);
        return Ok(tree.add_disk_file(target, source, mode)?);
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        bail!(UserError::new(
            format!("`{}` is a device, a pipe or a socket", source.display()),
            "leave it out: only files and directories are copied",
        ));
    }
    let identity = (metadata.dev(), metadata.ino());
    if above.contains(&identity) {
        bail!(UserError::new(
            format!("symbolic links go in a circle at `{}`", source.display()),
            CIRCLE_HINT,
        ));
    }
    match find(tree, target) {
        Some(Found::Directory) => {}
        Some(_) => bail!("`/{}` is not a directory in the image", target.display()),
        None => {
            tree.add_directory(target)?;
            let mode = (metadata.mode() & MODE_OF_DIRECTORIES) as u16;
            tree.set_mode(target, mode)?;
        }
    }
    let entries = fs_err::read_dir(source)?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name());
    }
    names.sort();
    above.push(identity);
    for name in names {
        copy(tree, &source.join(&name), &target.join(&name), above)?;
    }
    above.pop();
    Ok(())
}

/// Copies an entry of another tree. A directory's entries go into the directory at the target, and
/// everything else replaces it.
fn copy_between(tree: &mut Tree, target: &Path, stage: &Tree, from: &Path) -> anyhow::Result<()> {
    let entry = stage.entry_at(from).context("it was found before")?;
    if !entry.kind.is_directory() {
        return copy_entry(tree, target, stage, from, entry);
    }
    if find(tree, target) != Some(Found::Directory) {
        if find(tree, target).is_some() {
            bail!("`/{}` is not a directory in the image", target.display());
        }
        tree.add_directory(target)?;
        tree.set_mode(target, DIRECTORY_MODE)?;
    }
    let mut pending = vec![(from.to_owned(), target.to_owned())];
    while let Some((from, target)) = pending.pop() {
        for name in list(stage, &from) {
            let (from, target) = (from.join(&name), target.join(&name));
            let Some(entry) = stage.entry_at(&from) else {
                continue;
            };
            copy_entry(tree, &target, stage, &from, entry)?;
            if entry.kind.is_directory() {
                pending.push((from, target));
            }
        }
    }
    Ok(())
}

/// Copies one entry with its attributes. An existing directory stays if the entry is one, and
/// anything else is replaced.
fn copy_entry(
    tree: &mut Tree,
    target: &Path,
    stage: &Tree,
    from: &Path,
    entry: &Entry,
) -> anyhow::Result<()> {
    let kind = match &entry.kind {
        Kind::Directory(_) => Kind::Directory(Vec::new()),
        other => other.clone(),
    };
    match find(tree, target) {
        None => {}
        Some(Found::Directory) if kind.is_directory() => {}
        Some(_) => tree.remove(target)?,
    }
    tree.add_entry(
        target,
        Entry {
            kind,
            links: 1,
            ..entry.clone()
        },
    )?;
    let attributes = stage.xattrs(from)?;
    if !attributes.is_empty() {
        tree.set_xattrs(target, attributes.to_vec())?;
    }
    Ok(())
}

fn located(
    transfer: &Transfer,
    source: &dyn std::fmt::Display,
    error: &anyhow::Error,
) -> anyhow::Error {
    UserError::at(
        transfer.location.clone(),
        format!("cannot copy `{source}`: {error:#}"),
        Some(crate::hints::hint(error).unwrap_or_else(|| hint_for(error).to_owned())),
    )
    .into()
}

/// Returns whether the links of a path go in a circle.
fn is_circle(error: &std::io::Error) -> bool {
    // An error with a path keeps the kind alone, which has no stable name.
    error.kind() == std::io::Error::from(Errno::LOOP).kind()
}

/// Returns the hint for an error that has none of its own.
fn hint_for(error: &anyhow::Error) -> &'static str {
    let mut causes = error.chain();
    let cause = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match cause {
        None => "`DST/` with a slash at its end takes several files",
        Some(error) if error.kind() == ErrorKind::PermissionDenied => {
            "make it readable for you, or leave it out"
        }
        // A name that a directory lists and nobody finds is that of a link.
        Some(error) if error.kind() == ErrorKind::NotFound => NOWHERE_HINT,
        Some(error) if is_circle(error) => CIRCLE_HINT,
        Some(_) => "copy what you need of it to a file, and name that one",
    }
}

/// Returns the error for a source that does not exist, with a similar name in its directory, or
/// that cannot be reached.
fn not_found(transfer: &Transfer, here: &Path, source: &Path, error: &std::io::Error) -> UserError {
    let is_link = here.symlink_metadata().is_ok();
    let (problem, hint) = if is_circle(error) {
        ("is a circle of symbolic links", CIRCLE_HINT.to_owned())
    } else if error.kind() == ErrorKind::PermissionDenied {
        let hint = "a directory on the way there is closed to you: open it, or leave it out";
        ("cannot be reached", hint.to_owned())
    } else if is_link {
        ("leads nowhere", NOWHERE_HINT.to_owned())
    } else {
        ("does not exist", similar(here, source))
    };
    UserError::at(
        transfer.location.clone(),
        format!("`{}` {problem}", source.display()),
        Some(hint),
    )
}

/// Returns the hint with a similar name in the directory of a source that does not exist.
fn similar(here: &Path, source: &Path) -> String {
    let list = list_of_host(Path::new("/"));
    let names: Vec<String> = here
        .parent()
        .map(list)
        .into_iter()
        .flatten()
        .filter_map(|name| name.into_string().ok())
        .collect();
    let name = here.file_name().unwrap_or_default().to_string_lossy();
    match closest(&name, names.iter().map(String::as_str)) {
        Some(similar) if similar != name => {
            format!(
                "did you mean `{}`?",
                source.with_file_name(similar).display()
            )
        }
        _ => "relative paths start from the current directory".to_owned(),
    }
}

#[cfg(test)]
mod tests;
