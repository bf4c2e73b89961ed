//! Responsible for an existing image whose compressed blocks are to be taken as they are.

use std::path::Path;
use std::sync::Arc;

use crate::format::Format;
use crate::{BlockSize, Compression, Error, Reader, Tree};

/// An image, or the root file system of a SIF, whose blocks go into another image without being
/// compressed again.
///
/// One image has one codec, one block size and one options block, so the donor's bind the new
/// image; only the level of what is added is free.
///
/// Putting an environment and a file into a base, with the result inside of a new SIF:
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
/// files.add_bytes(".singularity.d/env/99-new.sh", *b"PATH=/opt/conda/envs/new/bin:$PATH\n", 0o755)?;
/// tree.graft("/", files, Existing::Merge)?;
///
/// let options = PackOptions::onto(donor);
/// let mut sif = SifWriter::create(dir.path().join("new.sif"), &SifOptions::default())?;
/// let partition = NewObject::partition(FileSystem::SquashFs, PartitionRole::PrimarySystem, Arch::X86_64);
/// sif.add_with(&partition, |room| {
///     let image = pack_at(&tree, room.path, room.offset, &options)?;
///     verify(&image, &tree, None)?;
///     Ok(image.size_bytes)
/// })?;
/// let sif = sif.finish()?;
/// assert!(sif.reader()?.resolve("/opt/conda/envs/new/bin/tool")?.is_some());
/// # Ok(())
/// # }
/// ```
///
/// An update takes the previous image as donor, with all that is unchanged found by
/// [`Tree::scan_changes`], or by [`Tree::keep_unchanged`] in a tree that is there:
///
/// ```
/// # fn main() -> Result<(), condense_image::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let (root, old, new) = (dir.path().join("root"), dir.path().join("old"), dir.path().join("new"));
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
    /// Opens an image file, or the root file system of a SIF.
    pub fn open(path: impl AsRef<Path>) -> Result<Donor, Error> {
        Self::new(Reader::of_file(path)?)
    }

    /// Of an image that is open.
    ///
    /// # Errors
    /// [`Error::DonorCodec`] when its codec is only read here.
    pub fn new(reader: Reader) -> Result<Donor, Error> {
        let Some(format) = Format::of(&reader)? else {
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

    /// Everything that is in the image. Entries may be taken out of it, and trees grafted into it.
    pub fn tree(&self) -> Result<Tree, Error> {
        Tree::of_image(&self.reader)
    }

    /// The codec that binds what is added, with the level that it gets if no other is asked for.
    pub fn compression(&self) -> Compression {
        self.format.compression
    }

    /// The block size that binds what is added.
    pub fn block_size(&self) -> BlockSize {
        self.format.block_size
    }

    /// The image.
    pub fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(crate) fn format(&self) -> &Format {
        &self.format
    }
}
