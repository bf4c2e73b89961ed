//! Responsible for writing the SIF of a stage: the definition, the metadata that `inspect` shows,
//! and the root file system, read back.

use std::path::Path;

use condense_image::{
    Image, PackOptions,
    sif::{DataKind, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter},
};

use super::{Builder, Made, metadata::inspect_metadata};
use crate::{
    pack::observed,
    pull::Pull,
    report::Phase,
    sif::{METADATA, add_image, added_bytes},
};

impl Builder<'_> {
    /// Writes the SIF of a stage, and reads it back.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(super) fn write(&self, made: &Made, path: &Path) -> anyhow::Result<Image> {
        let report = self.session.report;
        report.begin(Phase::Pack, Some(added_bytes(&made.tree)));
        let options = match &made.donor {
            Some(donor) => PackOptions::onto(donor.clone()),
            None => PackOptions {
                compression: Pull::COMPRESSION,
                ..PackOptions::default()
            },
        };
        let mut writer = SifWriter::create(
            path,
            &SifOptions {
                created: self.now.into(),
                ..SifOptions::default()
            },
        )?;
        writer.add(
            &NewObject::new(DataKind::DefinitionFile),
            self.plan.definition.text.as_bytes(),
        )?;
        writer.add(
            &NewObject::new(DataKind::Json).named(METADATA),
            &inspect_metadata(&made.tree)?,
        )?;
        let role = PartitionRole::PrimarySystem;
        let partition = NewObject::partition(FileSystem::SquashFs, role, made.arch);
        let options = observed(options, report);
        add_image(writer, &partition, &made.tree, &options, report)
    }
}
