//! Tests of SIF files with the real runtime: each side reads what the other side writes, byte for
//! byte.
#![allow(clippy::unwrap_used)]

mod apptainer;
#[cfg(feature = "signatures")]
mod signatures;
