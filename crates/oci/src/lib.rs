//! Responsible for making a SIF of an image that is elsewhere or in another form, without a
//! container runtime.
//!
//! An image is resolved to one manifest, its layers are downloaded side by side and decompressed
//! while they arrive, each into one spool file without a name; what they make together is a tree,
//! and the tree is packed where it belongs in the SIF. No directory of files is ever written.

mod assemble;
mod cache;
mod cancel;
mod challenge;
mod credentials;
mod digest;
mod error;
mod fetch;
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
mod tide;

pub use cache::Cache;
pub use credentials::{Credentials, Keyring};
pub use error::Error;
pub use mirror::Mirror;
pub use platform::Platform;
pub use progress::{Progress, Stage};
pub use pull::{PullOptions, Pulled, fetch, pull};
pub use reference::Reference;
pub use registry::{Access, Retry, TrustDirs};
pub use source::Source;
