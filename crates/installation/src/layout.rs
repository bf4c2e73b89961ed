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
mod paths;
mod removal;
mod staged;

pub use base::BaseMode;
pub use claim::Claim;
pub use destination::{Destination, State};
pub use history::{Generation, History};
pub use paths::is_reserved_name;
pub use removal::{Removal, remove};
pub use staged::{Assembly, Installation, Program, Staged};

#[cfg(test)]
mod tests;
