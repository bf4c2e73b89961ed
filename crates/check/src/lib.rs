//! Finds reasons why an environment, an image or a machine will not run a job, before the job waits
//! in a queue.
//!
//! An [`Inventory`] lists the contents of a directory or an image that matter: ELF files, packages
//! and links. [`check_environment`] checks an inventory against the [`RuntimeContext`] that a base
//! makes and against a [`Machine`]. [`check_request`] checks requested packages, and [`doctor`]
//! checks a machine itself, and [`check_logs`] reads what a job has written. All of them return
//! [`Finding`]s: plain values, each with one of the
//! [`CODES`]. The page of all codes is generated from the same table.
//!
//! ```no_run
//! # fn main() -> Result<(), condense_check::Error> {
//! use condense_check::{Inventory, Machine, RuntimeContext, check_environment};
//! let inventory =
//!     Inventory::from_dir("/scratch/env".as_ref(), "/LOCAL_TYKKY_0/env".as_ref(), None)?;
//! for finding in check_environment(&inventory, &RuntimeContext::default(), &Machine::default()) {
//!     let line = finding.to_string();
//! }
//! # Ok(()) }
//! ```
//!
//! This crate does not choose a base or a site, start programs, use the network, or print.

mod checks;
mod code;
mod context;
pub mod doctor;
mod elf;
mod error;
mod finding;
mod inventory;
mod log;
mod machine;
mod mpi_use;
mod packages;
#[cfg(test)]
mod testing;

pub use checks::{HostPython, check_environment, check_host_python, check_packages, check_request};
pub use code::{CODES, Code, Severity, find_code, render_page};
pub use context::{BaseSystem, MountedImage, Request, RuntimeContext};
pub use elf::Elf;
pub use error::Error;
pub use finding::{Finding, Verdict};
pub use inventory::Inventory;
pub use log::{JobFacts, JobLog, check_logs};
pub use machine::{Gpu, Machine, Mpi};
pub use mpi_use::MpiUse;
pub use packages::{CondaPackage, PipPackage, Venv};
