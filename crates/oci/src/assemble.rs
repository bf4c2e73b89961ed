//! Responsible for writing the SIF of an image: the tree of its layers, the files that a runtime
//! reads in it, and the SIF objects beside it.

use std::path::Path;
use std::sync::Arc;

use condense_image::sif::{DataKind, FileSystem, NewObject, PartitionRole, SifOptions, SifWriter};
use condense_image::{Arch, PackOptions, pack_at, verify};

use super::layer::Layer;
use super::progress::{Phase, Progress};
use super::resolve::Image;
use super::rootfs::RootFs;
use super::runtime_files::RuntimeFiles;
use super::source::Source;
use crate::Error;

/// All parts of the SIF.
pub(crate) struct SifParts<'a> {
    pub(crate) source: &'a Source,
    pub(crate) image: &'a Image<'a>,
    /// Layers of the image, the lowest first.
    pub(crate) layers: &'a [Arc<Layer>],
    /// Time of files and objects without a time of their own, in seconds since 1970. The default is
    /// the image's creation time.
    pub(crate) epoch: Option<u32>,
}

impl SifParts<'_> {
    /// Writes the SIF. The file appears at `out` only after it has been read back and verified.
    pub(crate) fn write(
        &self,
        out: &Path,
        options: &PackOptions,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let invalid = |problem| Error::InvalidImage {
            image: self.source.to_string(),
            problem,
        };
        let configuration = &self.image.configuration;
        let epoch = self.epoch.unwrap_or_else(|| self.created());
        let (transport, from) = self.source.definition();
        let files = RuntimeFiles::new(
            &configuration.config,
            transport,
            from,
            &configuration.architecture,
            &render_date(epoch),
        );
        let mut root = RootFs::new(epoch);
        for (layer, blob) in self.layers.iter().zip(&self.image.layers) {
            root.apply(layer)
                .map_err(|problem| invalid(format!("its layer {}: {problem}", blob.key)))?;
        }
        files.install(&mut root).map_err(invalid)?;
        self.warn(&files, progress);
        let tree = root.into_tree()?;

        let options_of_sif = SifOptions {
            created: epoch.into(),
            ..SifOptions::default()
        };
        let mut writer = SifWriter::create(out, &options_of_sif)?;
        let definition = NewObject::new(DataKind::DefinitionFile);
        writer.add(&definition, files.definition().as_bytes())?;
        for (name, value) in [
            ("inspect-metadata.json", &files.inspect_metadata()),
            ("oci-config.json", &self.image.run),
        ] {
            let object = NewObject::new(DataKind::Json).named(name);
            writer.add(&object, value.to_string().as_bytes())?;
        }
        let arch = Arch::from_name(&configuration.architecture)
            .or_else(Arch::host)
            .ok_or_else(|| {
                invalid(format!(
                    "its architecture `{}` has no place in a SIF",
                    configuration.architecture
                ))
            })?;
        let partition =
            NewObject::partition(FileSystem::SquashFs, PartitionRole::PrimarySystem, arch);
        progress.begin(Phase::Pack, tree.summary().bytes);
        writer.add_with(&partition, |room| {
            let image = pack_at(&tree, room.path, room.offset, options)?;
            verify(&image, &tree, options.threads)?;
            Ok(image.size_bytes)
        })?;
        writer.finish()?;
        progress.end(Phase::Pack);
        Ok(())
    }

    /// Returns the creation time in the image's configuration, or 0 if there is none. With this
    /// time, the same image always gives the same bytes.
    fn created(&self) -> u32 {
        let created = self.image.configuration.created.as_deref();
        created
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .and_then(|time| u32::try_from(time.as_second()).ok())
            .unwrap_or(0)
    }

    fn warn(&self, files: &RuntimeFiles, progress: &dyn Progress) {
        let sum =
            |count: fn(&Layer) -> u64| self.layers.iter().map(|layer| count(layer)).sum::<u64>();
        let devices = sum(|layer| layer.dropped.devices);
        if devices > 0 {
            progress.warn(format!(
                "{devices} device files of the image are empty files in the result"
            ));
        }
        let attributes = sum(|layer| layer.dropped.attributes);
        if attributes > 0 {
            progress.warn(format!(
                "{attributes} files of the image lose extended attributes that only root can set, such as capabilities"
            ));
        }
        for name in &files.unusable {
            progress.warn(format!(
                "the image's variable `{name}` is left out: no shell can set it"
            ));
        }
    }
}

/// Formats a time as apptainer writes it into labels: `Saturday_21_November_2026_3:30:32_UTC`.
fn render_date(seconds: u32) -> String {
    jiff::Timestamp::from_second(seconds.into())
        .expect("every 32-bit number of seconds is a time")
        .strftime("%A_%-d_%B_%Y_%-H:%-M:%-S_UTC")
        .to_string()
}

/// Reports the progress of packing.
pub(crate) struct Packing(pub(crate) Arc<dyn Progress>);

impl condense_image::Progress for Packing {
    fn packed(&self, bytes: u64) {
        self.0.advance(Phase::Pack, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::render_date;

    #[test]
    fn dates_are_written_as_in_other_images() {
        assert_eq!(
            render_date(1_795_231_832),
            "Saturday_21_November_2026_3:30:32_UTC"
        );
        assert_eq!(render_date(0), "Thursday_1_January_1970_0:0:0_UTC");
    }
}
