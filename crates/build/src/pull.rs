//! Responsible for making a SIF of an image in a registry or an archive.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_image::Compression;
use condense_oci::{self as oci, Cache, Found, Platform, PullOptions, Pulled, Reference, Source};
use condense_publish::{Existing, Staging};

use crate::{check_image_output, plan::Registries, report::Report};
use condense_diagnostics::UserError;

/// Number of layers that are downloaded at the same time, as with docker.
const DOWNLOADS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4).expect("not zero");

/// Options for making a SIF of an image.
#[derive(Debug)]
pub struct Pull {
    /// Access to registries, and the cache of their images.
    pub registries: Registries,
    /// Platform of the image. Without it, this machine's.
    pub platform: Option<Platform>,
    /// Compression of the root file system.
    pub compression: Compression,
    /// Parent of the directory in which layers are decompressed.
    pub scratch_parent: PathBuf,
    /// Time of files that have none of their own, in seconds since 1970.
    pub epoch: Option<u32>,
}

impl Pull {
    /// Compression of the images that apptainer makes. Every runtime and kernel reads it.
    pub const COMPRESSION: Compression = Compression::Gzip { level: 6 };

    /// Returns the options for a base image for this machine.
    pub fn for_a_base(registries: &Registries, scratch_parent: &Path, epoch: Option<u32>) -> Pull {
        Pull {
            registries: registries.clone(),
            platform: None,
            compression: Self::COMPRESSION,
            scratch_parent: scratch_parent.to_owned(),
            epoch,
        }
    }

    /// Makes the SIF at `out`. With `force`, it replaces a file that is there.
    pub fn run(
        &self,
        source: &Source,
        out: &Path,
        force: bool,
        report: &Arc<Report>,
    ) -> anyhow::Result<Pulled> {
        self.prepare()?;
        let existing = if force {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        check_image_output(out, existing, Some("--force"))?;
        // Beside its place, so that one rename puts it there.
        let staging = Staging::beside(out).map_err(condense_image::Error::from)?;
        let name = out.file_name().unwrap_or_default();
        let mut pulled = oci::pull(
            source,
            &staging.path().join(name),
            &self.cache(report)?,
            &self.options(report),
        )?;
        check_image_output(out, existing, Some("--force"))?;
        let published = staging.publish(&pulled.path, out, existing);
        published.map_err(condense_image::Error::from)?;
        out.clone_into(&mut pulled.path);
        Ok(pulled)
    }

    /// Makes the SIF in the cache, unless the cache has it already.
    pub fn fetch(&self, source: &Source, report: &Arc<Report>) -> anyhow::Result<Pulled> {
        self.prepare()?;
        let cache = self.cache(report)?;
        if self.asks_nobody(source) {
            return self.recall(source, &cache, report);
        }
        let pulled = oci::fetch(source, &cache, &self.options(report))?;
        if source.is_in_registry() && self.registries.cache.is_some() {
            // Only later runs without a network miss the note.
            if let Err(error) = cache.remember(&self.noted_name(source), &pulled) {
                report.debug(format!("{error:#}"));
            }
        }
        Ok(pulled)
    }

    /// Returns the image in the cache that the reference led to last.
    fn recall(&self, source: &Source, cache: &Cache, report: &Report) -> anyhow::Result<Pulled> {
        let Some(found) = cache.recall(&self.noted_name(source)) else {
            bail!(UserError::new(
                format!(
                    "cannot ask a registry for `{source}` offline, and the cache does not have it"
                ),
                "run it once without `--offline`, or make a file of it while there is a network, with `condense pull`, and name that",
            ));
        };
        report.info(format!(
            "offline: `{source}` is taken as it was fetched last, {}",
            found.digest
        ));
        Ok(found)
    }

    /// Returns the name under which the cache notes an image: images for other machines are others.
    fn noted_name(&self, source: &Source) -> String {
        let platform = match &self.platform {
            Some(platform) => platform.to_string(),
            None => std::env::consts::ARCH.to_owned(),
        };
        format!("{source} {platform} {}", self.compression)
    }

    /// Resolves the image without fetching its layers. `notes` is a directory for temporary files.
    ///
    /// # Errors
    /// Returns an error if the image cannot be found or understood.
    pub(super) fn resolve(
        &self,
        source: &Source,
        notes: &Path,
        report: &Arc<Report>,
    ) -> anyhow::Result<Found> {
        let cache = match &self.registries.cache {
            Some(cache) => cache.open(report)?,
            None => Cache::temporary(notes)?,
        };
        if self.asks_nobody(source) {
            let pulled = self.recall(source, &cache, report)?;
            return Ok(Found {
                digest: pulled.digest,
                cached: Some(pulled.path),
                size_bytes: 0,
                download_bytes: 0,
                architecture: None,
            });
        }
        let options = PullOptions {
            scratch_dir: notes.to_owned(),
            ..self.options(report)
        };
        Ok(oci::resolve(source, &cache, &options)?)
    }

    /// Returns whether the image is in a registry, and no registry may be asked.
    fn asks_nobody(&self, source: &Source) -> bool {
        self.registries.offline && source.is_in_registry()
    }

    /// Makes the parent of scratch if it is missing.
    fn prepare(&self) -> anyhow::Result<()> {
        Ok(fs_err::create_dir_all(&self.scratch_parent)?)
    }

    fn cache(&self, report: &Report) -> anyhow::Result<Cache> {
        Ok(match &self.registries.cache {
            Some(cache) => cache.open(report)?,
            None => Cache::temporary(&self.scratch_parent)?,
        })
    }

    fn options(&self, report: &Arc<Report>) -> PullOptions {
        PullOptions {
            access: self.registries.access.clone(),
            platform: self.platform.clone(),
            scratch_dir: self.scratch_parent.clone(),
            compression: self.compression,
            threads: None,
            downloads: DOWNLOADS,
            epoch: self.epoch,
            cancel: Some(report.cancel_flag()),
            progress: report.clone(),
        }
    }
}

/// A base on this machine.
#[derive(Debug)]
pub(super) struct Located {
    /// Path of a file or directory.
    pub(super) path: String,
    /// Whether it is in the cache, from which it may be removed.
    pub(super) is_cached: bool,
    /// Digest of the image's manifest, if it has one.
    pub(super) digest: Option<String>,
}

/// Returns the error for a base that is neither on this machine nor a reference with a scheme.
pub fn missing(reference: &str) -> UserError {
    let file = "name a .sif file, as `condense pull` or `apptainer build` makes it, a sandbox directory, or an image of `condense base ls`";
    UserError::new(
        format!("the base `{reference}` does not exist"),
        match oci::suggest_scheme(reference) {
            Some(with_scheme) => {
                format!("`{with_scheme}` if it is an image in a registry; else {file}")
            }
            None => file.to_owned(),
        },
    )
}

/// Finds a base, or makes one in the cache.
pub(super) fn locate(
    reference: &str,
    pull: &Pull,
    report: &Arc<Report>,
) -> anyhow::Result<Located> {
    Ok(match Reference::parse(reference)? {
        Reference::File(path) if path.symlink_metadata().is_err() => {
            bail!(missing(reference))
        }
        Reference::File(_) => Located {
            path: reference.to_owned(),
            is_cached: false,
            digest: None,
        },
        Reference::Image(source) => {
            let pulled = pull.fetch(&source, report)?;
            Located {
                path: pulled.path.display().to_string(),
                is_cached: true,
                digest: Some(pulled.digest),
            }
        }
    })
}
