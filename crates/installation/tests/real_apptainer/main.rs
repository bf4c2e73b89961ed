//! Tests of the wrappers and the runtime with real apptainer, as root and as an ordinary user.
//!
//! The tests are ignored by default, because they need root and the files that
//! `scripts/setup-tests` makes. `cargo test -p condense-installation -- --ignored` runs them.

#![allow(clippy::unwrap_used)]

#[path = "../shared/mod.rs"]
mod shared;

mod parts;
mod scene;

/// Tests of the directories in the container and of the user's own bind mounts.
mod binds;
/// Tests of variables: activation, paths, variables that leave a container, and venvs on top of an
/// environment.
mod environment;
/// Tests that arguments, streams, exit codes and signals reach the program as with a bare `exec`.
mod exec;
/// Tests of the program's own path and of the prefix in which it finds its packages.
mod identity;
/// Tests from staging to an update under a running job.
mod lifecycle;
/// Tests of the calls that a build makes to the runtime.
mod runtime;
