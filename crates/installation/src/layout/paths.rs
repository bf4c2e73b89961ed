//! Responsible for the names, modes and links of the files in an installation.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Directory that holds the generations, the lock and `current`.
pub(super) const STATE_DIR: &str = ".condense";

/// Link in [`STATE_DIR`] to the visible generation.
pub(super) const CURRENT: &str = "current";

/// Lock file in [`STATE_DIR`], locked while a build into this destination is running.
pub(super) const LOCK: &str = "lock";

/// Names in DIR that are links through [`CURRENT`] in every installation. The names are Tykky's.
pub(super) const LINKS: [&str; 5] = ["bin", "_bin", "common.sh", "container.sif", "share"];

/// Name of the image. An installation that only wraps a container has none.
pub(super) const IMAGE: &str = "img.sqfs";

/// Landmarks: directories beside `bin` in which an interpreter looks for its prefix if the prefix
/// is not compiled in.
pub(super) const LANDMARKS: [&str; 3] = ["lib", "include", "lib64"];

/// Configuration file of a virtual environment. A link to this file beside `bin` makes the
/// directory a virtual environment.
pub(super) const VENV_MARK: &str = "pyvenv.cfg";

/// Links in DIR for generations that have these names.
pub(super) const OPTIONAL_LINKS: [&str; 5] =
    [IMAGE, LANDMARKS[0], LANDMARKS[1], LANDMARKS[2], VENV_MARK];

/// Directory in a generation that is mounted over [`STATE_DIR`] for the programs that run in this
/// generation. It holds `current` and a mount point for the generation.
pub(super) const SELF_DIR: &str = "self";

/// Returns the names of the parts of an installation that every tool knows. A site may give other
/// names to the base and the image.
pub(super) fn usual_names() -> impl Iterator<Item = &'static str> {
    LINKS.into_iter().chain(OPTIONAL_LINKS)
}

/// Checks whether a part of an installation has this name, whatever the kind of the installation.
#[must_use]
pub fn is_reserved_name(name: &str) -> bool {
    name == STATE_DIR || name == SELF_DIR || usual_names().any(|usual| usual == name)
}

/// Mode of directories and programs. The members of a group share installations, so the builder's
/// umask does not count.
pub(super) const MODE_EXECUTABLE: u32 = 0o755;

/// Mode of all other files.
pub(super) const MODE_PLAIN: u32 = 0o644;

/// Mode bits of a directory that the members of a project share: set-group-ID, and write access for
/// the group.
pub(super) const SHARED: u32 = 0o2020;

/// Mode of directories in such a shared directory. Every member can update and remove an
/// installation, whatever umask its builder had.
pub(super) const MODE_SHARED_DIR: u32 = 0o2775;

/// Mode of the lock file in such a shared directory.
pub(super) const MODE_SHARED_FILE: u32 = 0o664;

/// Returns the number of the visible generation, if there is one.
pub(super) fn find_current(dir: &Path) -> Option<u32> {
    let link = std::fs::read_link(dir.join(STATE_DIR).join(CURRENT)).ok()?;
    let generation = link.to_str()?.parse().ok()?;
    generation_dir(dir, generation)
        .is_dir()
        .then_some(generation)
}

/// Returns the directory of a generation of the installation `dir`.
pub(super) fn generation_dir(dir: &Path, generation: u32) -> PathBuf {
    dir.join(STATE_DIR).join(generation.to_string())
}

/// Returns the target of a link in an installation that leads to `name` in the visible
/// generation.
pub(super) fn target_through_current(name: &OsStr) -> PathBuf {
    Path::new(STATE_DIR).join(CURRENT).join(name)
}

/// Checks whether `name` in an installation is a link to the same name in the visible
/// generation.
pub(super) fn links_through_current(dir: &Path, name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref();
    std::fs::read_link(dir.join(name)).is_ok_and(|target| target == target_through_current(name))
}

/// Returns the names in a destination that are links through `current`.
pub(super) fn links_of(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = names_of(dir)?;
    names.retain(|name| links_through_current(dir, name));
    Ok(names)
}

/// Returns the names in a directory, sorted.
pub(super) fn names_of(dir: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(dir).map_err(Error::Io)? {
        names.push(entry.map_err(Error::Io)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Creates a directory with its standard mode, whatever the umask is.
pub(super) fn create_dir(path: &Path) -> Result<()> {
    fs_err::create_dir(path).map_err(Error::Io)?;
    set_mode(path, mode_of_dir(path)?)
}

/// Returns the mode for a directory. In a shared directory, every member of the project gets write
/// access.
pub(super) fn mode_of_dir(path: &Path) -> Result<u32> {
    Ok(if is_shared(parent_of(path))? {
        MODE_SHARED_DIR
    } else {
        MODE_EXECUTABLE
    })
}

/// Checks whether a directory is shared by a group: new files in it get its group, and the group
/// has write access.
pub(super) fn is_shared(dir: &Path) -> Result<bool> {
    let metadata = fs_err::metadata(dir).map_err(Error::Io)?;
    Ok(metadata.mode() & SHARED == SHARED)
}

/// Returns the directory that contains the last component of the path.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().expect("only the root directory has none")
}

/// Sets the permissions of a file or directory, whatever the umask is.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(Error::Io)
}

/// Makes a link. A link that exists already is replaced in one step.
pub(super) fn replace_link(root: &Path, target: &Path, link: &Path) -> Result<()> {
    let temporary = root.join(STATE_DIR).join("link.tmp");
    fs_err::os::unix::fs::symlink(target, &temporary).map_err(Error::Io)?;
    let Err(error) = fs_err::rename(&temporary, link) else {
        return Ok(());
    };
    let _ = std::fs::remove_file(&temporary);
    // An NFS client repeats a request if its answer was lost. The repeated rename then fails
    // because the first one has already succeeded.
    if std::fs::read_link(link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    Err(Error::Io(error))
}
