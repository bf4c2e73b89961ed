//! Says what will keep an environment, an image or a machine from running a job, before the queue
//! does.
//!
//! An [`Inventory`] is what a directory or an image holds that can matter: its ELF files, its
//! packages, its links. [`result`] judges one against a base's [`Surroundings`] and a [`Machine`],
//! [`request`] judges what somebody asks for, [`doctor`] a machine itself. All of them end in
//! [`Finding`]s: plain values, each with one of the [`CODES`], from which the page of all codes is
//! made as well.
//!
//! ```no_run
//! # fn main() -> Result<(), condense_check::Error> {
//! use condense_check::{Inventory, Machine, Surroundings, result};
//! let inventory = Inventory::of_directory("/scratch/env".as_ref(), "/LOCAL_TYKKY_0/env".as_ref(), None)?;
//! for finding in result(&inventory, &Surroundings::default(), &Machine::default()) {
//!     let line = finding.to_string();
//! }
//! # Ok(()) }
//! ```
//!
//! What this crate does not do: choose a base or a site, start anything, use the network, print.

mod checks;
mod code;
pub mod doctor;
mod elf;
mod error;
mod finding;
mod inventory;
mod machine;
mod packages;

pub use checks::{Request, Surroundings, System, packages, request, result};
pub use code::{CODES, Code, Severity, find_code, render_page};
pub use elf::Elf;
pub use error::Error;
pub use finding::{Finding, Verdict};
pub use inventory::Inventory;
pub use machine::{Gpu, Machine, Mpi};
pub use packages::{CondaPackage, PipPackage, Venv};
