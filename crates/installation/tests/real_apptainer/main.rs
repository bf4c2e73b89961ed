//! The wrappers and the runtime against real apptainer, as root and as an ordinary user.
//!
//! Ignored by default: they need what `scripts/setup-tests` makes, and root. `cargo test -p
//! condense-installation -- --ignored` runs them.

#![allow(clippy::unwrap_used)]

#[path = "../shared/mod.rs"]
mod shared;

mod parts;
mod scene;

/// What is shown inside, and the user's own wishes about it.
mod binds;
/// Variables: activation, paths, what leaves a container, venvs on top.
mod environment;
/// Arguments, streams, exit codes and signals reach the program as with a bare `exec`.
mod exec;
/// Where the program believes it is, and where it finds its packages.
mod identity;
/// From staging to an update under a running job.
mod lifecycle;
/// What the build asks of the runtime.
mod runtime;
