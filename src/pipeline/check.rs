//! Responsible for gathering what findings are judged by: an environment file, an installation, an image or a directory, and
//! the system around it.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_base::{Base as BaseImage, BaseFacts, MpiAbi};
use condense_check::{
    CondaPackage, Elf, Finding, Inventory, Machine, Mpi, Request, Surroundings, System,
};
use condense_image::Reader;
use condense_installation::{HostView, Placement, Receipt};
use condense_prefix::{EnvironmentSpec, NamedPackage};

use super::IMAGE;
use crate::report::Refusal;

/// The most that is read of a base's library, in bytes: those of C and C++ have a few million.
const LIBRARY_LEN_MAX: u64 = 256 << 20;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// What conda or pip is to install.
    File,
    /// An installation of condense.
    Installation,
    /// A SIF, or a bare image of a root file system.
    Image,
    /// Any other directory.
    Directory,
}

impl Subject {
    /// For people and scripts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Installation => "installation",
            Self::Image => "image",
            Self::Directory => "directory",
        }
    }

    fn of(path: &Path) -> anyhow::Result<Self> {
        let metadata = fs_err::metadata(path)?;
        if metadata.is_dir() {
            let ours = path.join("common.sh").exists() && path.join("share").exists();
            return Ok(if ours {
                Self::Installation
            } else {
                Self::Directory
            });
        }
        let is_image = condense_image::Sif::is_at(path)? || starts_as_squashfs(path)?;
        Ok(if is_image { Self::Image } else { Self::File })
    }
}

fn starts_as_squashfs(path: &Path) -> anyhow::Result<bool> {
    use std::io::Read;
    let mut head = Vec::new();
    fs_err::File::open(path)?.take(4).read_to_end(&mut head)?;
    Ok(head == b"hsqs")
}

/// Looks at `path` for `machine`, in `base` where it brings none itself.
///
/// # Errors
/// What cannot be read or understood.
pub(crate) fn check(
    path: &Path,
    base: Option<&str>,
    machine: &Machine,
    surroundings: &condense_prefix::Surroundings,
) -> anyhow::Result<(Subject, Vec<Finding>)> {
    let subject = Subject::of(path)?;
    let findings = match subject {
        Subject::File => {
            let spec = EnvironmentSpec::load_by_name(path, surroundings)?;
            let base = base.map(Surrounding::of_reference).transpose()?;
            let request = request(&spec, path);
            match &base {
                Some(base) => condense_check::request(&request, &base.around(), machine),
                None => condense_check::request(&request, &Surroundings::default(), machine),
            }
        }
        Subject::Installation => of_installation(path, machine)?,
        Subject::Image => {
            refuse_base(base, path)?;
            let image = Surrounding::of_image(BaseImage::open(&path.to_string_lossy())?)?;
            let reader = Reader::of_file(path)?;
            let inventory = Inventory::of_image(&reader, Path::new("/"), true)?;
            condense_check::result(&inventory, &image.around(), machine)
        }
        Subject::Directory => {
            let base = Surrounding::of_reference(base.unwrap_or("/"))?;
            let inventory = Inventory::of_directory(path, path)?;
            condense_check::result(&inventory, &base.around(), machine)
        }
    };
    Ok((subject, findings))
}

fn refuse_base(base: Option<&str>, path: &Path) -> anyhow::Result<()> {
    if base.is_some() {
        bail!(Refusal::new(
            format!("`{}` has its own base", path.display()),
            "leave out `--base`",
        ));
    }
    Ok(())
}

fn of_installation(dir: &Path, machine: &Machine) -> anyhow::Result<Vec<Finding>> {
    let receipt = Receipt::load(dir)?;
    let container = dir.join("container.sif");
    let base = BaseImage::open(&container.to_string_lossy())?;
    let base = match receipt.host_view {
        HostView::Base => Surrounding::of_image(base)?,
        HostView::Host => Surrounding::under_host(&base)?,
    };
    let image = dir.join(IMAGE);
    let inventory = if image.exists() {
        Inventory::of_image(&Reader::open(&image)?, &receipt.mount_point, false)?
    } else {
        Inventory::default()
    };
    let mut around = base.around();
    if receipt.base.placement == Placement::Symlink {
        around.linked = Some(receipt.base.path.display().to_string());
    }
    Ok(condense_check::result(&inventory, &around, machine))
}

/// What is asked for in a file.
pub(super) fn request(spec: &EnvironmentSpec, path: &Path) -> Request {
    Request {
        file: path.display().to_string(),
        channels: spec.channels(),
        conda: conda_packages(spec.conda_packages()),
        pip: spec.pip_as_written().to_vec(),
    }
}

/// In the words of findings.
pub(super) fn conda_packages(packages: Vec<NamedPackage>) -> Vec<CondaPackage> {
    let of = |package: NamedPackage| CondaPackage {
        name: package.name,
        version: package.version,
        build: package.build,
        channel: package.channel,
    };
    packages.into_iter().map(of).collect()
}

/// A base or the host, and what is known of it.
#[derive(Debug)]
pub(super) struct Surrounding {
    files: Option<Files>,
    facts: Option<BaseFacts>,
    moving: Option<String>,
}

#[derive(Debug)]
struct Files {
    base: BaseImage,
    directories: Vec<PathBuf>,
}

impl System for Files {
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
    }
}

impl Surrounding {
    /// What lies on this machine is read; of what is elsewhere only the name is known.
    fn of_reference(reference: &str) -> anyhow::Result<Self> {
        if reference.contains("://") {
            return Ok(Self {
                files: None,
                facts: None,
                moving: moves(reference).then(|| reference.to_owned()),
            });
        }
        let base = BaseImage::open(reference)?;
        let moving = base.is_moving_link().then(|| reference.to_owned());
        Ok(Self {
            moving,
            ..Self::of_image(base)?
        })
    }

    fn of_image(base: BaseImage) -> anyhow::Result<Self> {
        let facts = base.facts()?;
        Self::new(base, facts)
    }

    pub(super) fn new(base: BaseImage, facts: BaseFacts) -> anyhow::Result<Self> {
        let directories = base.library_directories()?;
        Ok(Self {
            files: Some(Files { base, directories }),
            facts: Some(facts),
            moving: None,
        })
    }

    /// The host's files, and the GPU software of the base.
    pub(super) fn under_host(base: &BaseImage) -> anyhow::Result<Self> {
        let mut host = Self::of_image(BaseImage::open("/")?)?;
        let of_base = base.facts()?;
        if let Some(facts) = &mut host.facts {
            facts.rocm = of_base.rocm;
            facts.cuda = of_base.cuda;
        }
        Ok(host)
    }

    pub(super) fn around(&self) -> Surroundings<'_> {
        let Some(facts) = &self.facts else {
            return Surroundings {
                moving: self.moving.clone(),
                ..Surroundings::default()
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
        Surroundings {
            system: self.files.as_ref().map(|files| files as &dyn System),
            architecture: facts.architecture.clone(),
            glibc: facts.glibc.clone(),
            rocm: facts.rocm.clone(),
            cuda: facts.cuda.clone(),
            mpi,
            moving: self.moving.clone(),
            linked: None,
        }
    }
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
