//! Responsible for an installation on disk: generations, what lies at a destination, and making a
//! generation visible.
//!
//! `DIR/.condense/N/` holds one generation whole. `DIR/.condense/current` is a link to N, and
//! everything else in DIR is a link through it, so replacing that one link publishes. A first
//! generation is published by making `current` (an empty DIR) or by renaming a hidden sibling of
//! DIR (no DIR yet): at any moment there is no installation, or a complete one.

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

/// Holds the generations, the lock and `current`.
const STATE_DIR: &str = ".condense";

/// The link in [`STATE_DIR`] to the generation that is visible.
const CURRENT: &str = "current";

/// Locked while a build into this destination is running.
const LOCK: &str = "lock";

/// What DIR holds, as links through [`CURRENT`]. Tykky's names.
const LINKS: [&str; 5] = ["bin", "_bin", "common.sh", "container.sif", "share"];

/// The image; what only wraps a container has none.
const IMAGE: &str = "img.sqfs";

/// An interpreter that does not know its prefix looks for these beside `bin`.
const LANDMARKS: [&str; 3] = ["lib", "include", "lib64"];

/// A virtual environment's own file; a link to it beside `bin` makes what is beside it one.
const VENV_MARK: &str = "pyvenv.cfg";

/// Further links, for generations that have them.
const OPTIONAL_LINKS: [&str; 5] = [IMAGE, LANDMARKS[0], LANDMARKS[1], LANDMARKS[2], VENV_MARK];

/// In a generation: what [`STATE_DIR`] shows to the programs that run in it, `current` and a place
/// for the generation.
const SELF_DIR: &str = "self";

/// The names that every tool knows; a site may have given two of them other ones.
fn usual_names() -> impl Iterator<Item = &'static str> {
    LINKS.into_iter().chain(OPTIONAL_LINKS)
}

/// Whether something in an installation has this name, of whatever kind the installation is.
#[must_use]
pub fn has_part(name: &str) -> bool {
    name == STATE_DIR || name == SELF_DIR || usual_names().any(|usual| usual == name)
}

/// For directories and programs: users of a group share installations, whatever the umask of the
/// builder was.
const MODE_EXECUTABLE: u32 = 0o755;

/// For all other files.
const MODE_PLAIN: u32 = 0o644;

/// The bits of a directory that a project's members share: set-group-ID, and the group may write.
const SHARED: u32 = 0o2020;

/// For directories in such a one: another member can update and remove, whatever the umask of the
/// first was.
const MODE_SHARED_DIR: u32 = 0o2775;

/// For the lock in such a one.
const MODE_SHARED_FILE: u32 = 0o664;

#[cfg(test)]
mod tests;
