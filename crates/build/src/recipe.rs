//! Responsible for what a build takes over from its lock, so that it makes the bytes of the image
//! that wrote the lock, and for what it writes into its own.

use std::path::Path;

use condense_image::BlockSize;
use condense_oci::Reference;
use condense_prefix::{CondaSettings, ImageKind, Lock, Recipe, without_secrets};

use crate::{
    plan::{Generation, MountPoint},
    report::Report,
};

/// Facts of a lock that decide bytes of an image besides its packages.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfLock {
    /// Settings of conda, if a lock has named them.
    pub(crate) conda: Option<CondaSettings>,
    /// Properties of the image. Absent if this build has other requests or scripts than the one
    /// that wrote the lock: another environment needs another mount point.
    recipe: Option<Recipe>,
}

impl OfLock {
    /// Reads the facts of a lock. `is_same` says that requests and scripts are those of the lock.
    pub(crate) fn new(lock: &Lock, is_same: bool) -> Self {
        let recipe = lock.recipe();
        Self {
            conda: recipe.map(|_| lock.conda_settings().clone()),
            recipe: recipe.filter(|_| is_same).cloned(),
        }
    }

    /// Returns the properties of an image of this kind, with the environment at this path.
    pub(crate) fn recipe(&self, kind: ImageKind, environment: &Path) -> Option<&Recipe> {
        let recipe = self.recipe.as_ref();
        recipe.filter(|recipe| recipe.kind == kind && recipe.environment == environment)
    }
}

/// Returns the mount point of an image: that of the lock, unless the installation has one already.
pub(crate) fn mount_point(chosen: MountPoint, recipe: Option<&Recipe>) -> MountPoint {
    match (chosen, recipe) {
        (MountPoint::Prefix(_), Some(recipe)) => MountPoint::Fixed(recipe.mount_point.clone()),
        (chosen, _) => chosen,
    }
}

impl Generation {
    /// Returns the generation with the lock's compression and size of blocks, as far as the user
    /// has asked for no other.
    pub(crate) fn following(&self, recipe: Option<&Recipe>) -> Self {
        let mut generation = self.clone();
        let Some(recipe) = recipe else {
            return generation;
        };
        let of_lock = recipe.compression.as_ref();
        let of_lock = of_lock.and_then(|text| text.parse().ok());
        if generation.compression_is_default {
            generation.compression = of_lock.or(generation.compression);
        }
        if generation.block_size == BlockSize::default() {
            let of_lock = recipe.block_size.and_then(BlockSize::new);
            generation.block_size = of_lock.unwrap_or_default();
        }
        generation
    }
}

/// Warns if the bytes cannot be those of the image that wrote the lock.
pub(crate) fn warn_of_others(recipe: Option<&Recipe>, base_digest: Option<&str>, report: &Report) {
    let Some(recipe) = recipe else { return };
    if let (Some(locked), Some(found)) = (recipe.base_digest.as_deref(), base_digest)
        && locked != found
    {
        report.warning(format!(
            "the lock was written on the base image `{}` with the digest {locked}; this one has {found}, so the image may have other bytes",
            recipe.base
        ));
    }
}

/// Returns the name of a base without credentials. A file is named without its directory, which
/// other machines do not have and which may be private.
pub(crate) fn base_name(reference: &str) -> String {
    match Reference::parse(reference) {
        Ok(Reference::File(path)) => match path.file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => reference.to_owned(),
        },
        _ => without_secrets(reference).into_owned(),
    }
}
