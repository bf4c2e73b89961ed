//! Responsible for writing the SIF: the definition, the metadata that `inspect` shows, and the root
//! file system, read back.

use std::path::Path;

use anyhow::bail;
use condense_image::{
    Arch, Donor, Image, Kind, PackOptions, Source, Tree, pack_at,
    sif::{DataKind, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter},
    verify,
};

use super::{
    base::{BaseBlocks, Beginning, METADATA},
    contents::Contents,
};
use crate::{
    damage::without_damaged,
    pack::observed,
    pull::Pull,
    report::{Phase, Report},
};

impl Contents<'_> {
    /// Writes the SIF, which is not read back yet.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(super) fn write(&self, path: &Path, beginning: &mut Beginning) -> anyhow::Result<Image> {
        let Beginning { tree, blocks, .. } = beginning;
        match blocks {
            BaseBlocks::Directory => self.write_flat(path, tree, None),
            BaseBlocks::Reused(donor) => self.write_flat(path, tree, Some(donor)),
            BaseBlocks::BelowOverlay(donor) => self.write_overlay(path, tree, donor),
        }
    }

    fn write_flat(&self, path: &Path, tree: &Tree, donor: Option<&Donor>) -> anyhow::Result<Image> {
        let report = self.build.report();
        let architecture = self.build.prepared.base.facts.architecture.as_deref();
        let Some(arch) = architecture.and_then(Arch::from_name).or_else(Arch::host) else {
            bail!("this machine's architecture has no place in a SIF")
        };
        report.begin(Phase::Pack, Some(added_bytes(tree)));
        let options = match donor {
            Some(donor) => PackOptions::onto(donor.clone()),
            None => PackOptions {
                compression: Pull::COMPRESSION,
                ..PackOptions::default()
            },
        };
        let options = PackOptions {
            hot: self.hot_paths(),
            known: self.packed_ahead(),
            ..options
        };
        let mut writer = SifWriter::create(
            path,
            &SifOptions {
                created: self.stamp.into(),
                ..SifOptions::default()
            },
        )?;
        writer.add(
            &NewObject::new(DataKind::DefinitionFile),
            self.container.definition.as_bytes(),
        )?;
        writer.add(
            &NewObject::new(DataKind::Json).named(METADATA),
            &self.container.inspect_metadata()?,
        )?;
        let partition =
            NewObject::partition(FileSystem::SquashFs, PartitionRole::PrimarySystem, arch);
        pack_image(writer, &partition, tree, &observed(options, report), report)
    }
}

/// Packs `tree` as the last object of a SIF, and reads it back.
///
/// # Errors
/// Returns an error if the file cannot be written or is damaged.
pub(crate) fn add_image(
    writer: SifWriter,
    partition: &NewObject,
    tree: &Tree,
    options: &PackOptions,
    report: &Report,
) -> anyhow::Result<Image> {
    let image = pack_image(writer, partition, tree, options, report)?;
    read_back(&image, tree, report, || Ok(()))?;
    Ok(image)
}

/// Reads an image in a SIF back, while its file goes to the disk and while `start` starts it, since
/// starting a container is mostly waiting. Its blocks are held for [`Report::keep_blocks`].
///
/// # Errors
/// Returns an error if the file cannot be stored or is damaged, or the error of `start`.
pub(super) fn read_back(
    image: &Image,
    tree: &Tree,
    report: &Report,
    start: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let compared = condense_threads::scoped(scope, || verify(image, tree, None))?;
        let stored = condense_threads::scoped(scope, || {
            let file = fs_err::File::open(&image.path)?;
            file.sync_all()
        })?;
        let started = start();
        let compared = compared.join();
        compared.map_err(|_| anyhow::anyhow!("failed to read the image back"))??;
        let stored = stored.join();
        stored.map_err(|_| anyhow::anyhow!("failed to store the image"))??;
        report.hold_blocks(image);
        started
    })
}

/// Packs `tree` as the last object of a SIF, whose file may not be on disk yet.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub(super) fn pack_image(
    mut writer: SifWriter,
    partition: &NewObject,
    tree: &Tree,
    options: &PackOptions,
    report: &Report,
) -> anyhow::Result<Image> {
    let mut packed = None;
    let added = writer.add_with(partition, |room| {
        let image = pack_at(tree, room.path, room.offset, options)?;
        report.end(Phase::Pack);
        let size = image.size_bytes;
        packed = Some(image);
        Ok(size)
    });
    added.map_err(|error| without_damaged(error.into(), report))?;
    let mut image = packed.expect("the writer has asked for it");
    writer.finish_unsynced()?.path().clone_into(&mut image.path);
    Ok(image)
}

/// Returns the number of bytes that are read and compressed: all but those of the base image.
pub(crate) fn added_bytes(tree: &Tree) -> u64 {
    let sizes = tree.walk().map(|(_, entry)| match &entry.kind {
        Kind::File {
            source: Source::Image(_),
            ..
        } => 0,
        Kind::File { size, .. } => *size,
        _ => 0,
    });
    sizes.sum()
}
