//! Responsible for an existing image whose compressed blocks are reused in a new image.

use std::path::Path;
use std::sync::Arc;

use crate::format::{Format, XZ_DICTIONARY_MIN, XzSettings};
use crate::{BlockSize, Codec, Compression, Error, Reader, Tree};

/// Image, or root file system of a SIF file, whose blocks are copied into another image without
/// being compressed again.
///
/// One image has one codec, one block size and one options block. The new image therefore has those
/// of the donor. Only the compression level of added content can be chosen.
///
/// Example: insert an environment and a file into a base image, and write the result into a new SIF
/// file:
///
/// ```
/// # fn main() -> Result<(), condense_image::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let base = dir.path().join("base.sqfs");
/// # let mut tree = condense_image::Tree::new();
/// # tree.add_bytes("etc/os-release", *b"ID=debian\n", 0o644)?;
/// # condense_image::pack(&tree, &base, &Default::default())?;
/// use condense_image::sif::{FileSystem, NewObject, PartitionRole, SifOptions, SifWriter};
/// use condense_image::{Arch, Donor, Existing, PackOptions, Tree, pack_at, verify};
///
/// let donor = Donor::open(&base)?;
/// let mut tree = donor.tree()?;
/// let mut environment = Tree::new(); // Or `Tree::scan` of a directory.
/// environment.add_bytes("bin/tool", *b"#!/bin/sh\n", 0o755)?;
/// tree.graft("/opt/conda/envs/new", environment, Existing::Refuse)?;
/// let mut files = Tree::new();
/// let script = *b"PATH=/opt/conda/envs/new/bin:$PATH\n";
/// files.add_bytes(".singularity.d/env/99-new.sh", script, 0o755)?;
/// tree.graft("/", files, Existing::Merge)?;
///
/// let options = PackOptions::onto(donor);
/// let mut sif = SifWriter::create(dir.path().join("new.sif"), &SifOptions::default())?;
/// let role = PartitionRole::PrimarySystem;
/// let partition = NewObject::partition(FileSystem::SquashFs, role, Arch::X86_64);
/// sif.add_with(&partition, |slot| {
///     let image = pack_at(&tree, slot.path, slot.offset, &options)?;
///     verify(&image, &tree, None)?;
///     Ok(image.size_bytes)
/// })?;
/// let sif = sif.finish()?;
/// assert!(sif.reader()?.resolve("/opt/conda/envs/new/bin/tool")?.is_some());
/// # Ok(())
/// # }
/// ```
///
/// Example: update an image, with the previous image as donor. [`Tree::scan_changes`] finds the
/// unchanged files while it scans a directory; [`Tree::keep_unchanged`] finds them in an existing
/// tree:
///
/// ```
/// # fn main() -> Result<(), condense_image::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let root = dir.path().join("root");
/// # let (old, new) = (dir.path().join("old"), dir.path().join("new"));
/// # std::fs::create_dir(&root).expect("a directory");
/// # std::fs::write(root.join("file"), "content").expect("a file");
/// # condense_image::pack(&Tree::scan(&root, &Default::default())?, &old, &Default::default())?;
/// use condense_image::{Donor, PackOptions, Tree, pack, verify};
/// let options = PackOptions::repack(Donor::open(&old)?);
/// let (tree, kept) = Tree::scan_changes(&root, &Default::default(), &options)?;
/// assert_eq!(kept.files, 1);
/// let image = pack(&tree, &new, &options)?;
/// verify(&image, &tree, None)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Donor {
    reader: Arc<Reader>,
    format: Format,
}

impl Donor {
    /// Opens an image file, or the root file system of a SIF file.
    pub fn open(path: impl AsRef<Path>) -> Result<Donor, Error> {
        Self::new(Reader::open(path)?)
    }

    /// Makes a donor of an open image.
    ///
    /// # Errors
    /// Returns [`Error::DonorCodec`] if this crate can only read the codec of the image, or
    /// [`Error::Corrupt`] if the options block of the image is invalid.
    pub fn new(reader: Reader) -> Result<Donor, Error> {
        let Some(format) = Format::from_donor(&reader)? else {
            return Err(Error::DonorCodec {
                path: reader.path().to_owned(),
                codec: reader.superblock().codec,
            });
        };
        Ok(Donor {
            reader: Arc::new(reader),
            format,
        })
    }

    /// Returns a tree of everything in the image. Entries can be removed from the tree, and other
    /// trees can be grafted into it.
    pub fn tree(&self) -> Result<Tree, Error> {
        Tree::from_image(&self.reader)
    }

    /// Returns the codec of the image, which added content must have, with the default level for
    /// added content.
    pub fn compression(&self) -> Compression {
        self.format.compression
    }

    /// Returns the block size of the image, which added content must have.
    pub fn block_size(&self) -> BlockSize {
        self.format.block_size
    }

    /// Returns the reader of the image.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(crate) fn format(&self) -> &Format {
        &self.format
    }
}

impl Format {
    /// Returns the format of an image that reuses blocks of `donor`, or `None` if this crate cannot
    /// write the codec of the donor.
    fn from_donor(donor: &Reader) -> Result<Option<Format>, Error> {
        let superblock = donor.superblock();
        let options = donor.options_block()?;
        let content = options.as_ref().map_or(&[][..], |options| &options.content);
        let number = |at: usize| {
            let bytes = content.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let compression = match superblock.codec {
            // The level of the donor's maker says little about the level that is wanted for new
            // content, so the levels are our defaults.
            Codec::Gzip => Compression::Gzip {
                level: Compression::GZIP_LEVEL,
            },
            Codec::Zstd => Compression::Zstd {
                level: Compression::ZSTD_LEVEL,
            },
            Codec::Xz => Compression::Xz {
                level: Compression::XZ_LEVEL,
            },
            Codec::Lz4 => Compression::Lz4 {
                high: number(4).unwrap_or(0) & 1 != 0,
            },
            Codec::Lzma | Codec::Lzo => return Ok(None),
        };
        let mut format = Format::new(compression, superblock.block_size);
        if superblock.codec == Codec::Xz
            && let (Some(dictionary), Some(filters)) = (number(0), number(4))
        {
            format.xz = XzSettings {
                dictionary,
                filters,
            };
            if !(XZ_DICTIONARY_MIN..=BlockSize::MAX.bytes()).contains(&dictionary)
                || filters >> XzSettings::FILTERS != 0
            {
                return Err(donor.corrupt(format!(
                    "its options tell of a dictionary of {dictionary} bytes and filters {filters:#x}"
                )));
            }
        }
        format.options = options.map(|options| options.raw);
        format.is_mixed = true;
        Ok(Some(format))
    }
}
