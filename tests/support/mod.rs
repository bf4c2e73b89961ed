//! Harness that the offline tests and the tests with the real runtime share: running a command,
//! assertions about its output, snapshots of it, and the channel and HTTP server of the tests.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::panic
)]

pub mod channel;
pub mod files;
pub mod output;
pub mod server;
pub mod snapshot;
