//! Reads files of unknown origin, with a limit on their size and on the waiting time.
//!
//! [`read()`] and [`read_to_string`] read whole files. [`read_named`] and [`read_named_to_string`]
//! also accept pipes, because users name those on the command line (`<(…)`). [`open`] is for
//! callers that read piece by piece. [`check`] is for libraries that open a path themselves.
//! [`Pace`] distinguishes a slow transfer from one that will never end.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("env.yml");
//! # std::fs::write(&path, "dependencies: [python]")?;
//! let text = condense_input::read_to_string(&path, condense_input::TEXT_MOST)?;
//! assert!(condense_input::read(&path, 3).is_err());
//! assert!(condense_input::read("/dev/zero", condense_input::TEXT_MOST).is_err());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! This crate does not interpret what it reads, does not use the network, and never waits without a
//! limit.

mod pace;
mod read;

pub use pace::{Pace, TooSlow};
pub use read::{
    Refused, check, open, read, read_named, read_named_to_string, read_opened, read_to_string,
};

/// The limit in bytes for files that people write: environment files, requirements, scripts,
/// settings, credentials. It is more than a thousand times the usual size. Their parsers need some
/// twenty times the size in memory.
pub const TEXT_MOST: u64 = 16 << 20;

/// The limit in bytes for files that programs write in one piece: locks, receipts, package records,
/// reports. In the largest environments they have a tenth of it.
pub const RECORD_MOST: u64 = 128 << 20;
