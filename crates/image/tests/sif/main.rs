//! SIF files between this crate and the real runtime: what one writes the other reads, byte for
//! byte.
#![allow(clippy::unwrap_used)]

mod apptainer;
#[cfg(feature = "signatures")]
mod signatures;
