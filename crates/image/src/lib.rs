//! Packs a directory tree into one SquashFS image, and reads images and SIF files.

mod codec;
mod compression;
mod error;
pub mod reader;
pub mod sif;

pub use compression::{BlockSize, Codec, Compression};
pub use error::Error;
pub use reader::Reader;
pub use sif::{Arch, Sif};
