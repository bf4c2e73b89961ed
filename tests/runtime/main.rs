//! Tests of the whole program with the real parts: a container runtime, a conda channel, base
//! images, and two accounts. `scripts/setup-tests` makes all of them. A missing part fails the
//! tests; no test is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    // Many tests have a `test` and a `text`.
    clippy::similar_names,
    clippy::case_sensitive_file_extension_comparisons
)]

mod bad_input;
mod base_placement;
mod build;
mod conda;
mod conda_scripts;
mod cotainr;
mod definitions;
mod desktop;
mod easyconfig;
mod findings;
mod harness;
mod hot_zone;
mod house;
mod image;
mod interruption;
mod jobs;
mod kernel;
mod locks;
mod modules;
mod mpi_host;
mod os_packages;
mod picture;
mod pip;
mod pip_containerize;
mod pip_held;
mod pip_preflight;
mod pip_sources;
mod private;
mod pythons;
mod recipes;
mod reproducible;
mod root_scripts;
mod root_ways;
mod run_scripts;
mod running_job;
mod runtimes;
mod scripts;
mod share;
mod shells;
mod slim;
mod solving;
mod stage;
mod steps;
mod submit;
#[path = "../support/mod.rs"]
mod support;
mod unusual_paths;
mod update;
mod uv;
mod wrap;
mod wrappers;
