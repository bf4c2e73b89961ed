//! Tests of the run scripts, in each shell of this machine.
#![allow(clippy::unwrap_used)]

mod gpus;
mod hostlist;
mod packages;
mod ranks;
mod support;
