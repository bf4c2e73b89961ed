//! Reads what others wrote: never more than a bound, and never for longer than it may take.
//!
//! [`read`] and [`read_to_string`] take files whole; [`read_named`] and [`read_named_to_string`] take pipes as well, for what
//! the user names on the command line (`<(…)`); [`open`] is for readers that go on by themselves, [`check`] for those of
//! other libraries that open a path again. [`Pace`] tells a slow transfer from one that will never end.
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
//! What this crate does not do: understand any of it, use the network, wait without an end.

mod pace;
mod read;

pub use pace::{Pace, TooSlow};
pub use read::{
    Refused, check, open, read, read_named, read_named_to_string, read_opened, read_to_string,
};

/// Bytes of what people write: environment files, requirements, scripts, settings, credentials. More than a thousand
/// times what is usual; their parsers keep some twenty times that in memory.
pub const TEXT_MOST: u64 = 16 << 20;

/// Bytes of what programs write in one piece: locks, receipts, records of packages, reports. Those of the largest
/// environments have a tenth of it.
pub const RECORD_MOST: u64 = 128 << 20;
