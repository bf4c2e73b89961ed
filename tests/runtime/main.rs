//! The whole program with the real parts: a runtime, a conda channel, base images, and two
//! accounts.
//!
//! `scripts/setup-tests` gets all of them. What is missing fails, it never skips.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::case_sensitive_file_extension_comparisons
)]

mod bad_input;
mod base_placement;
mod build;
#[path = "../support/channel.rs"]
mod channel;
mod conda;
mod conda_scripts;
mod cotainr;
mod findings;
mod hard_moments;
mod hard_places;
mod harness;
mod image;
mod judged;
mod locks;
mod picture;
mod pip;
mod pip_containerize;
mod private;
mod pythons;
mod reproducible;
mod running_job;
mod runtimes;
mod scripts;
#[path = "../support/server.rs"]
mod server;
mod shells;
mod slim;
mod solving;
mod steps;
mod update;
mod uv;
mod wrap;
mod wrappers;
