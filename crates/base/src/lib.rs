//! Finds a base image on disk and reads its facts out of it, without starting it.
//!
//! A base image is the root file system in which an environment runs: a `.sif` file, a bare
//! SquashFS image, or a sandbox directory. The facts of a base (architecture, distribution, C
//! library, shells) decide which packages are solved for it and how its container is started. The
//! facts are read from a few inodes, so reading them from a base of ten gigabytes takes no longer
//! than from a small one.
//!
//! ```no_run
//! # fn main() -> Result<(), condense_base::Error> {
//! let base = condense_base::BaseImage::open("debian_12.sif")?;
//! base.check_architecture()?;
//! let glibc = base.facts()?.glibc;
//! # Ok(())
//! # }
//! ```
//!
//! # What this crate does not do
//! This crate does not choose a base, and knows no base by name. It starts no container, fetches
//! nothing from a network, and reads no environment variable.

mod base;
mod error;
mod facts;
mod libc;
mod os_release;
mod root;

pub use base::{BaseImage, BaseKind};
pub use error::Error;
pub use facts::{BaseFacts, Conda, Mpi, MpiAbi, Python};
pub use os_release::Distribution;
