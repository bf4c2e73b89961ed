//! Makes SIF files of OCI images in registries, layouts and archives, without a container runtime.
//!
//! [`pull()`] resolves an image to one manifest and downloads its layers in parallel. Each layer is
//! decompressed while it arrives, into one spool file without a name. The layers are merged into a
//! tree in memory, and the tree is packed directly into its partition of the SIF. No directory of
//! files is ever written.
//!
//! # What this crate does not do
//! This crate reads no environment variable. The caller passes the places of credentials,
//! certificates and the cache as [`Access`] and [`Cache`].

mod assemble;
mod cache;
mod cancel;
mod challenge;
mod credentials;
mod digest;
mod error;
mod fetch;
mod follow;
mod layer;
mod manifest;
mod mirror;
mod name;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod resolve;
mod rootfs;
mod runtime_files;
mod source;
mod store;

pub use cache::Cache;
pub use credentials::{Credentials, Keyring};
pub use error::Error;
pub use mirror::Mirror;
pub use platform::Platform;
pub use progress::{Phase, Progress};
pub use pull::{Found, PullOptions, Pulled, fetch, pull, resolve};
pub use reference::{Reference, suggest_scheme};
pub use registry::{Access, Retry, TrustDirs};
pub use runtime_files::{RuntimeEntry, runtime_entries};
pub use source::Source;
