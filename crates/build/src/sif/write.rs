//! Responsible for the file: the definition, what `inspect` shows, and the root file system, read
//! back.

use std::{path::Path, sync::Arc};

use anyhow::bail;
use condense_image::{
    Arch, Image, Kind, PackOptions, Source, Tree, pack_at,
    sif::{DataKind, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter},
    verify,
};
use condense_installation::ContainerFiles;

use super::{
    super::{Build, Pull},
    base::Start,
};
use crate::report::{Phase, Report};

impl Build<'_> {
    /// Writes the SIF and reads it back.
    pub(super) fn write(
        &self,
        path: &Path,
        start: &Start,
        container: &ContainerFiles,
        stamp: u32,
    ) -> anyhow::Result<Image> {
        let tree = &start.tree;
        let architecture = self.facts.architecture.as_deref();
        let Some(arch) = architecture.and_then(Arch::from_name).or_else(Arch::host) else {
            bail!("this machine's architecture has no place in a SIF")
        };
        self.report.begin(Phase::Pack, Some(added_bytes(tree)));
        let progress: Arc<dyn condense_image::Progress> = Arc::<Report>::clone(self.report);
        let options = PackOptions {
            progress: Some(progress),
            cancel: Some(self.report.cancel_flag()),
            ..match &start.donor {
                Some(donor) => PackOptions::onto(donor.clone()),
                None => PackOptions {
                    compression: Pull::COMPRESSION,
                    ..PackOptions::default()
                },
            }
        };
        let mut writer = SifWriter::create(
            path,
            &SifOptions {
                created: stamp.into(),
                ..SifOptions::default()
            },
        )?;
        writer.add(
            &NewObject::new(DataKind::DefinitionFile),
            container.definition.as_bytes(),
        )?;
        writer.add(
            &NewObject::new(DataKind::Json).named("inspect-metadata.json"),
            &container.inspect_metadata()?,
        )?;
        let partition =
            NewObject::partition(FileSystem::SquashFs, PartitionRole::PrimarySystem, arch);
        add_image(writer, &partition, tree, &options, self.report)
    }
}

/// Packs `tree` as the last object of a SIF, and reads it back.
pub(super) fn add_image(
    mut writer: SifWriter,
    partition: &NewObject,
    tree: &Tree,
    options: &PackOptions,
    report: &Report,
) -> anyhow::Result<Image> {
    let mut packed = None;
    writer.add_with(partition, |room| {
        let image = pack_at(tree, room.path, room.offset, options)?;
        report.end(Phase::Pack);
        verify(&image, tree, None)?;
        let size = image.size_bytes;
        packed = Some(image);
        Ok(size)
    })?;
    writer.finish()?;
    Ok(packed.expect("the writer has asked for it"))
}

/// What has to be read and compressed: all but what is in an image already.
fn added_bytes(tree: &Tree) -> u64 {
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
