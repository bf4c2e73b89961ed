//! Responsible for the system around an environment at run time: its base or the host, and the
//! binds of a site.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use condense_base::{BaseFacts, BaseImage, MpiAbi};
use condense_check::{BaseSystem, Elf, MountedImage, Mpi, RuntimeContext};
use condense_image::Reader;
use condense_installation::Bind;

use condense_catalogue::{BaseView, SiteRules};

/// Maximum number of bytes that are read of a base's library. Those of C and C++ have a few
/// million.
const LIBRARY_LEN_MAX: u64 = 256 << 20;

/// A base or the host, and its facts.
#[derive(Debug)]
pub(crate) struct BaseContext {
    files: Option<Files>,
    facts: Option<BaseFacts>,
    moving: Option<String>,
    images: Vec<MountedImage>,
    /// Paths in the container at which files of the host are bound.
    pub(super) bound: Vec<PathBuf>,
}

#[derive(Debug)]
struct Files {
    base: Arc<BaseImage>,
    directories: Vec<PathBuf>,
    /// Directories of this machine that are shown inside.
    shown: Vec<PathBuf>,
}

impl BaseSystem for Files {
    fn library(&self, name: &str) -> Option<Elf> {
        let mut found = self.directories.iter().filter_map(|directory| {
            self.base
                .read(directory.join(name), LIBRARY_LEN_MAX)
                .ok()
                .flatten()
        });
        found
            .next()
            .map(|bytes| Elf::parse(&bytes).unwrap_or_default())
    }

    fn exists(&self, path: &Path) -> bool {
        self.base.exists(path).unwrap_or(false)
            || self.shown.iter().any(|dir| path.starts_with(dir)) && path.exists()
    }
}

/// Returns the path and the codec of an image.
fn with_codec(path: &Path, reader: &Reader) -> MountedImage {
    MountedImage {
        name: path.display().to_string(),
        codec: reader.superblock().codec.to_string(),
    }
}

/// Returns the path and the codec of a base. A directory has none.
fn codec_of_base(base: &BaseImage) -> Option<MountedImage> {
    Some(with_codec(base.path(), base.reader()?))
}

impl BaseContext {
    /// Returns the context of a base by its reference. A base on this machine is read. Only the
    /// name is known of a base in a registry.
    pub(super) fn of_reference(reference: &str) -> anyhow::Result<Self> {
        if reference.contains("://") {
            return Ok(Self {
                files: None,
                facts: None,
                moving: moves(reference).then(|| reference.to_owned()),
                images: Vec::new(),
                bound: Vec::new(),
            });
        }
        let base = Arc::new(BaseImage::open(reference)?);
        let moving = base.is_moving_link().then(|| reference.to_owned());
        Ok(Self {
            moving,
            ..Self::of_image(base)?
        })
    }

    /// Returns the context of an image or a root directory.
    pub(super) fn of_image(base: Arc<BaseImage>) -> anyhow::Result<Self> {
        let facts = base.facts()?;
        Self::new(base, facts)
    }

    /// Returns the context of a base whose facts are known.
    pub(crate) fn new(base: Arc<BaseImage>, facts: BaseFacts) -> anyhow::Result<Self> {
        let directories = base.library_directories()?;
        let images = codec_of_base(&base).into_iter().collect();
        Ok(Self {
            files: Some(Files {
                base,
                directories,
                shown: Vec::new(),
            }),
            facts: Some(facts),
            moving: None,
            images,
            bound: Vec::new(),
        })
    }

    /// Returns the context of the host's files with the GPU software of the base.
    pub(super) fn under_host(base: &BaseImage, of_base: &BaseFacts) -> anyhow::Result<Self> {
        let mut host = Self::of_image(Arc::new(BaseImage::open("/")?))?;
        host.images = codec_of_base(base).into_iter().collect();
        if let Some(facts) = &mut host.facts {
            facts.rocm.clone_from(&of_base.rocm);
            facts.cuda.clone_from(&of_base.cuda);
        }
        Ok(host)
    }

    /// Adds the binds of a site.
    pub(super) fn following(mut self, rules: &SiteRules) -> anyhow::Result<Self> {
        if let (Some(files), Some(facts)) = (&self.files, &self.facts) {
            let base = &files.base;
            self.bound = destinations(&rules.binds_for(BaseView { base, facts })?);
        }
        Ok(self)
    }

    /// Adds directories of this machine that programs see.
    pub(super) fn showing(mut self, shown: &[PathBuf]) -> Self {
        if let Some(files) = &mut self.files {
            files.shown.extend_from_slice(shown);
        }
        self
    }

    /// Adds another image that has to be mounted.
    pub(super) fn mounting(mut self, image: &Path) -> Self {
        let reader = image.is_file().then(|| Reader::open(image).ok());
        let reader = reader.flatten();
        self.images
            .extend(reader.map(|reader| with_codec(image, &reader)));
        self
    }

    /// Returns the context as the checks read it.
    pub(crate) fn runtime_context(&self) -> RuntimeContext<'_> {
        let Some(facts) = &self.facts else {
            return RuntimeContext {
                mutable_name: self.moving.clone(),
                ..RuntimeContext::default()
            };
        };
        let mut mpi: Vec<Mpi> = facts
            .mpi
            .iter()
            .filter_map(|found| match found.abi {
                MpiAbi::Mpich => Some(Mpi::Mpich),
                MpiAbi::OpenMpi => Some(Mpi::OpenMpi),
                _ => None,
            })
            .collect();
        mpi.sort();
        mpi.dedup();
        RuntimeContext {
            system: self.files.as_ref().map(|files| files as &dyn BaseSystem),
            architecture: facts.architecture.clone(),
            glibc: facts.glibc.clone(),
            rocm: facts.rocm.clone(),
            cuda: facts.cuda.clone(),
            mpi,
            mutable_name: self.moving.clone(),
            bound_files: self.bound.clone(),
            images: self.images.clone(),
            linked_base: None,
        }
    }
}

/// Returns the paths in the container of binds.
pub(super) fn destinations(binds: &[Bind]) -> Vec<PathBuf> {
    binds
        .iter()
        .map(|bind| bind.destination().to_owned())
        .collect()
}

/// Returns whether a reference has no digest and no tag, or a tag that is meant to move.
pub(super) fn moves(reference: &str) -> bool {
    let Some((_, rest)) = reference.split_once("://") else {
        return false;
    };
    if rest.contains('@') {
        return false;
    }
    let last = rest.rsplit('/').next().unwrap_or(rest);
    match last.split_once(':') {
        Some((_, tag)) => matches!(tag, "latest" | "nightly" | "main" | "master" | "edge"),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::moves;

    #[test]
    fn references_that_move() {
        for (reference, expected) in [
            ("docker://ubuntu", true),
            ("docker://registry:5000/ubuntu", true),
            ("docker://ubuntu:latest", true),
            ("docker://ubuntu:24.04", false),
            ("docker://ubuntu@sha256:00", false),
            ("oras://host/a/b:v1", false),
            ("base.sif", false),
        ] {
            assert_eq!(moves(reference), expected, "{reference}");
        }
    }
}
