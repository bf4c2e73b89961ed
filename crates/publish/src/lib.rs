//! Gives files and directories their names when they are whole and on disk, and clears away what killed programs left.
//!
//! A [`Staging`] directory lies beside the destination and is locked for as long as its maker lives. What is made in it gets
//! its name with one rename, after its bytes are on disk; then the directory that has the name is. Whatever is found
//! unlocked later was left by somebody who was killed, and [`sweep`] removes it.
//!
//! ```
//! # fn main() -> Result<(), condense_publish::Error> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! let path = dir.path().join("report.html");
//! condense_publish::write(&path, b"<p>whole, or not there")?;
//! # Ok(())
//! # }
//! ```
//!
//! What this crate does not do: know what the files are, print.

mod error;
mod leftovers;
mod lock;
mod output;
mod owner;
mod place;
mod staging;
mod sync;

pub use error::Error;
pub use leftovers::{Maker, clear, discard, discard_quietly, remove_tree, sweep};
pub use lock::{Lock, Locking, try_lock};
pub use output::{Output, write};
pub use place::{Existing, give_name};
pub use staging::{LOCK, STATE_DIR, Staging};
pub use sync::{sync_directory, sync_tree};
