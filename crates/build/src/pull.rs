//! Responsible for making a SIF of an image that is elsewhere.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_image::Compression;
use condense_oci::{self as oci, Cache, Platform, PullOptions, Pulled, Reference, Source};
use condense_publish::{Existing, Staging};

use crate::{plan::Registries, report::Report};
use condense_diagnostics::UserError;

/// Layers at a time: as many as docker brings.
const DOWNLOADS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4).expect("not zero");

/// How a SIF is made of an image.
#[derive(Debug)]
pub struct Pull {
    /// How registries are reached, and what is kept of them.
    pub registries: Registries,
    /// The platform; this machine's without it.
    pub platform: Option<Platform>,
    /// How the root file system is compressed.
    pub compression: Compression,
    /// Parent of what is decompressed.
    pub scratch_parent: PathBuf,
    /// The time of what has none of its own.
    pub epoch: Option<u32>,
}

impl Pull {
    /// As apptainer makes images: every runtime and kernel reads this.
    pub const COMPRESSION: Compression = Compression::Gzip { level: 6 };

    /// A base image for this machine.
    pub fn for_a_base(registries: &Registries, scratch_parent: &Path, epoch: Option<u32>) -> Pull {
        Pull {
            registries: registries.clone(),
            platform: None,
            compression: Self::COMPRESSION,
            scratch_parent: scratch_parent.to_owned(),
            epoch,
        }
    }

    /// Makes the SIF at `out`; with `force` in place of a file that is there.
    pub fn run(
        &self,
        source: &Source,
        out: &Path,
        force: bool,
        report: &Arc<Report>,
    ) -> anyhow::Result<Pulled> {
        self.prepare()?;
        let there = out.symlink_metadata().ok();
        if let Some(there) = there {
            if there.is_dir() {
                bail!("cannot write `{}`: it is a directory", out.display());
            }
            if !force {
                bail!(UserError::new(
                    format!("`{}` is there already", out.display()),
                    "name another file, or replace it with `--force`",
                ));
            }
        }
        let dir = match out.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        if !dir.is_dir() {
            bail!(
                "cannot write `{}`: there is no directory `{}`",
                out.display(),
                dir.display()
            );
        }
        // Beside its place, so that one rename puts it there.
        let staging = Staging::beside(out).map_err(condense_image::Error::from)?;
        let name = out.file_name().unwrap_or_default();
        let mut pulled = oci::pull(
            source,
            &staging.path().join(name),
            &self.cache(report)?,
            &self.options(report),
        )?;
        let existing = if force {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        let published = staging.publish(&pulled.path, out, existing);
        published.map_err(condense_image::Error::from)?;
        out.clone_into(&mut pulled.path);
        Ok(pulled)
    }

    /// Makes the SIF in the cache, unless it is there.
    pub fn fetch(&self, source: &Source, report: &Arc<Report>) -> anyhow::Result<Pulled> {
        self.prepare()?;
        if self.registries.offline && source.is_in_registry() {
            bail!(UserError::new(
                format!("cannot ask a registry for `{source}` offline"),
                "make a file of it while there is a network, with `condense pull`, and name that",
            ));
        }
        Ok(oci::fetch(
            source,
            &self.cache(report)?,
            &self.options(report),
        )?)
    }

    /// Scratch is made where it is missing, as for everything else.
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

/// A base on this machine, whatever the reference is to.
#[derive(Debug)]
pub(super) struct Located {
    /// A file or directory.
    pub(super) path: String,
    /// Whether it lies in the cache, from which it may vanish.
    pub(super) is_cached: bool,
    /// Of the image's manifest, where there is one.
    pub(super) digest: Option<String>,
}

/// Finds a base, or makes one in the cache.
pub(super) fn locate(
    reference: &str,
    pull: &Pull,
    report: &Arc<Report>,
) -> anyhow::Result<Located> {
    Ok(match Reference::parse(reference)? {
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
