//! Packs a directory tree into one SquashFS image, and reads images and SIF files.

mod codec;
mod compression;
mod error;

pub use compression::{BlockSize, Codec, Compression};
pub use error::Error;
