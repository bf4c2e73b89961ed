//! Finds a base image on disk and reads its facts out of it, without starting it.
//!
//! A base is what an environment runs in: a `.sif`, a bare SquashFS image, or a sandbox directory.
//! Its facts (architecture, distribution, C library, shells) decide what is solved for it and how
//! it is started. They are read from a few inodes, so a base of ten gigabytes costs no more than a
//! small one.
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
//! It does not choose a base, and knows none by name. It starts no container, and reads no
//! environment variable: where credentials, certificates and the cache are, it is told.

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
