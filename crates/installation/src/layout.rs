//! Responsible for an installation on disk: its generations, the state of a destination, and making
//! a generation visible.
//!
//! `DIR/.condense/N/` holds the whole generation N. `DIR/.condense/current` is a link to N, and
//! everything else in DIR is a link through `current`, so replacing `current` publishes a
//! generation. A first generation is published by creating `current` (if DIR is empty) or by
//! renaming a hidden sibling of DIR (if DIR does not exist). At any moment DIR holds no
//! installation or a complete one.

mod adopt;
mod base;
mod claim;
mod destination;
mod history;
mod lock;
mod removal;
mod staged;

pub use base::BaseMode;
pub use claim::Claim;
pub use destination::{Destination, State};
pub use history::{Generation, History};
pub use removal::{Removal, remove};
pub use staged::{Assembly, Installation, Program, Staged};

/// Directory that holds the generations, the lock and `current`.
const STATE_DIR: &str = ".condense";

/// Link in [`STATE_DIR`] to the visible generation.
const CURRENT: &str = "current";

/// Lock file in [`STATE_DIR`], locked while a build into this destination is running.
const LOCK: &str = "lock";

/// Names in DIR that are links through [`CURRENT`] in every installation. The names are Tykky's.
const LINKS: [&str; 5] = ["bin", "_bin", "common.sh", "container.sif", "share"];

/// Name of the image. An installation that only wraps a container has none.
const IMAGE: &str = "img.sqfs";

/// Landmarks: directories beside `bin` in which an interpreter looks for its prefix if the prefix
/// is not compiled in.
const LANDMARKS: [&str; 3] = ["lib", "include", "lib64"];

/// Configuration file of a virtual environment. A link to this file beside `bin` makes the
/// directory a virtual environment.
const VENV_MARK: &str = "pyvenv.cfg";

/// Links in DIR for generations that have these names.
const OPTIONAL_LINKS: [&str; 5] = [IMAGE, LANDMARKS[0], LANDMARKS[1], LANDMARKS[2], VENV_MARK];

/// Directory in a generation that is mounted over [`STATE_DIR`] for the programs that run in this
/// generation. It holds `current` and a mount point for the generation.
const SELF_DIR: &str = "self";

/// Returns the names of the parts of an installation that every tool knows. A site may give other
/// names to the base and the image.
fn usual_names() -> impl Iterator<Item = &'static str> {
    LINKS.into_iter().chain(OPTIONAL_LINKS)
}

/// Checks whether a part of an installation has this name, whatever the kind of the installation.
#[must_use]
pub fn has_part(name: &str) -> bool {
    name == STATE_DIR || name == SELF_DIR || usual_names().any(|usual| usual == name)
}

/// Mode of directories and programs. The members of a group share installations, so the builder's
/// umask does not count.
const MODE_EXECUTABLE: u32 = 0o755;

/// Mode of all other files.
const MODE_PLAIN: u32 = 0o644;

/// Mode bits of a directory that the members of a project share: set-group-ID, and write access for
/// the group.
const SHARED: u32 = 0o2020;

/// Mode of directories in such a shared directory. Every member can update and remove an
/// installation, whatever umask its builder had.
const MODE_SHARED_DIR: u32 = 0o2775;

/// Mode of the lock file in such a shared directory.
const MODE_SHARED_FILE: u32 = 0o664;

#[cfg(test)]
mod tests;
