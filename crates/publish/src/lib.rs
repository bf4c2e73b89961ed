//! Gives files and directories their names once they are complete and on disk, and removes what
//! killed programs left behind.
//!
//! A [`Staging`] directory is made beside the destination and is locked for as long as its maker
//! runs. A result that is made in it is first written to disk and then gets its name with one
//! rename. After that, the directory that contains the name is written to disk as well. A staging
//! directory that is found unlocked later belongs to a killed program, and [`sweep`] removes it.
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
//! This crate knows nothing about the contents of the files, and it does not print.

mod error;
mod leftovers;
mod lock;
mod naming;
mod output;
mod owner;
mod paths;
mod staging;
mod stripes;
mod sync;

pub use error::Error;
pub use leftovers::{OwnerState, discard, discard_quietly, remove_if_ended, remove_tree, sweep};
pub use lock::{Lock, Locking, try_lock};
pub use naming::{Existing, give_name};
pub use output::{Output, write};
pub use paths::{LOCK, STATE_DIR};
pub use staging::Staging;
pub use stripes::{
    StripeMode, Striping, ask_lfs, copy_image, create_image, is_on_lustre, set_striping,
};
pub use sync::{sync_directory, sync_tree};
