//! Packs a directory tree into one SquashFS image, and reads images and SIF files.
//!
//! A [`Tree`] is scanned from disk or built in memory. [`pack()`] writes it as an [`Image`], with
//! all cores and bounded memory, and [`verify()`] reads the image back. With a [`Donor`], blocks of
//! an existing image are reused without compressing them again. [`Reader`] reads any image, and
//! [`Sif`] reads any SIF file.
//!
//! ```
//! # fn main() -> Result<(), condense_image::Error> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! use condense_image::{PackOptions, Tree, pack, verify};
//! let tree = Tree::scan(dir.path(), &Default::default())?;
//! # let out = tempfile::tempdir().expect("a temporary directory");
//! let image = pack(&tree, &out.path().join("img.sqfs"), &PackOptions::default())?;
//! verify(&image, &tree, None)?;
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows nothing of conda or containers, does not use the network, and prints nothing.

mod ahead;
mod around;
mod block_digests;
mod block_pack;
mod blocks;
mod check;
mod codec;
mod compression;
mod content;
mod diff;
mod digest;
mod donor;
mod donor_blocks;
mod error;
mod extract;
mod format;
mod output;
mod pack;
mod placement;
mod plan;
mod pool;
mod progress;
pub mod reader;
mod reused_files;
mod scan;
mod sequence;
pub mod sif;
mod source;
mod tables;
mod threads;
mod tree;
mod unpack;
mod verify;
mod xattr;
mod zone;

pub use ahead::pack_ahead;
pub use around::frame;
pub use block_digests::BlockDigests;
pub use block_pack::{BlockPack, PackFault, PackSource, write_block_pack};
pub use blocks::{BlockKey, BlockKeys, ImageBlocks, KnownBlock, KnownBlocks, PackedBlock};
pub use check::{CheckOptions, Checked, check};
pub use compression::{BlockSize, Codec, Compression};
pub use diff::{Aspect, Change, DiffOptions, Difference, diff};
pub use donor::Donor;
pub use error::{Error, SpaceUnit};
pub use extract::{ExtractOptions, Extracted, Skipped, extract};
pub use pack::{Image, PackOptions, pack, pack_at};
pub use progress::Progress;
pub use reader::Reader;
pub use reused_files::ReusedFiles;
pub use scan::{Modes, Mtime, ScanOptions};
pub use sif::{Arch, Sif};
pub use source::{DiskFile, FileRange, ImageFile, Source};
pub use tree::{Child, Entry, EntryReader, Existing, Kind, Summary, Tree};
pub use unpack::{Changes, UnpackOptions, Unpacked};
pub use verify::{ReadBack, verify};
pub use zone::HotZone;
