//! Responsible for what surrounds an environment where it runs: its base or the host, and what a
//! site shows in it.

use std::path::{Path, PathBuf};

use condense_base::{BaseFacts, BaseImage, MpiAbi};
use condense_check::{BaseSystem, Elf, MountedImage, Mpi, RuntimeContext};
use condense_image::Reader;
use condense_installation::Bind;

use condense_catalogue::{BaseView, SiteRules};

/// The most that is read of a base's library, in bytes: those of C and C++ have a few million.
const LIBRARY_LEN_MAX: u64 = 256 << 20;

/// A base or the host, and what is known of it.
#[derive(Debug)]
pub(super) struct BaseContext {
    files: Option<Files>,
    facts: Option<BaseFacts>,
    moving: Option<String>,
    images: Vec<MountedImage>,
    /// Where files of the host are shown.
    pub(super) bound: Vec<PathBuf>,
}

#[derive(Debug)]
struct Files {
    base: BaseImage,
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

/// An image, and its codec. A directory has none, and neither has a SIF of another file system.
fn codec_of(path: &Path) -> Option<MountedImage> {
    let reader = path.is_file().then(|| Reader::open(path).ok())??;
    let codec = reader.superblock().codec.to_string();
    Some(MountedImage {
        name: path.display().to_string(),
        codec,
    })
}

impl BaseContext {
    /// What lies on this machine is read; of what is elsewhere only the name is known.
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
        let base = BaseImage::open(reference)?;
        let moving = base.is_moving_link().then(|| reference.to_owned());
        Ok(Self {
            moving,
            ..Self::of_image(base)?
        })
    }

    /// An image or a root directory.
    pub(super) fn of_image(base: BaseImage) -> anyhow::Result<Self> {
        let facts = base.facts()?;
        Self::new(base, facts)
    }

    /// What is known already.
    pub(super) fn new(base: BaseImage, facts: BaseFacts) -> anyhow::Result<Self> {
        let directories = base.library_directories()?;
        let images = codec_of(base.path()).into_iter().collect();
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

    /// The host's files, and the GPU software of the base.
    pub(super) fn under_host(base: &BaseImage) -> anyhow::Result<Self> {
        let mut host = Self::of_image(BaseImage::open("/")?)?;
        let of_base = base.facts()?;
        host.images = codec_of(base.path()).into_iter().collect();
        if let Some(facts) = &mut host.facts {
            facts.rocm = of_base.rocm;
            facts.cuda = of_base.cuda;
        }
        Ok(host)
    }

    /// The same with what a site shows in it.
    pub(super) fn following(mut self, rules: &SiteRules) -> anyhow::Result<Self> {
        if let (Some(files), Some(facts)) = (&self.files, &self.facts) {
            let base = &files.base;
            self.bound = destinations(&rules.binds_for(BaseView { base, facts })?);
        }
        Ok(self)
    }

    /// The same with directories of this machine in it.
    pub(super) fn showing(mut self, shown: &[PathBuf]) -> Self {
        if let Some(files) = &mut self.files {
            files.shown.extend_from_slice(shown);
        }
        self
    }

    /// The same with another image that has to be mounted.
    pub(super) fn mounting(mut self, image: &Path) -> Self {
        self.images.extend(codec_of(image));
        self
    }

    /// In the words of findings.
    pub(super) fn runtime_context(&self) -> RuntimeContext<'_> {
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

/// Where binds are shown.
pub(super) fn destinations(binds: &[Bind]) -> Vec<PathBuf> {
    binds
        .iter()
        .map(|bind| bind.destination().to_owned())
        .collect()
}

/// A reference to a registry without a digest, and with no tag or one that is meant to move.
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
