//! Tests of the whole program without a network: hand-made packages, and a fake container runtime.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    // Many tests have a `test` and a `text`.
    clippy::similar_names
)]

mod bad_input;
mod bases;
mod bind_variables;
mod build;
mod builds;
mod cache;
mod channel_priority;
mod check;
mod check_log;
mod colours;
mod completion;
mod config;
mod contents;
mod cotainr;
mod definition_options;
mod definitions;
mod desktop;
mod doctor;
mod dry_runs;
mod easyconfig;
mod environment_files;
mod errors;
mod generations;
mod gpu_bases;
mod harness;
mod help;
mod host_mpi;
mod hostile_packages;
mod house;
mod image;
mod image_pack;
mod inputs;
mod installations;
mod interrupted;
mod jobs;
mod json;
mod kept_packages;
mod kernel;
mod leftovers;
mod limits;
mod lock;
mod modules;
mod network;
mod os_packages;
mod outputs;
mod pip_containerize;
mod private;
mod pull;
mod reproducible;
mod run;
mod runtime_failures;
mod search;
mod sif;
mod sif_subjects;
mod speech;
mod stage;
mod standard_streams;
mod statuses;
mod stripes;
mod submit;
mod suggestions;
#[path = "../support/mod.rs"]
mod support;
mod update;
mod update_packages;
mod user_site;
mod verify;
mod wrap;
