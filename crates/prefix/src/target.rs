//! Responsible for what the environment is solved for: the solver believes the [`Target`] and
//! nothing of the build host.

use std::path::{Path, PathBuf};

use rattler_conda_types::{GenericVirtualPackage, PackageName, Subdir, Version};

use crate::{error::Error, within::Within};

/// The machine and the path that an environment is made for.
#[derive(Debug, Clone)]
pub struct Target {
    /// Kind of processor.
    pub architecture: Architecture,
    /// Version of the C library that the programs will run on, `2.31`; none for a base without
    /// glibc.
    pub glibc: Option<String>,
    /// Version of the kernel, `5.14.21`.
    pub linux: Option<String>,
    /// Level or name of the processor, `x86_64_v3`, `zen3`.
    pub archspec: Option<String>,
    /// Version of CUDA that the driver of the compute nodes supports.
    pub cuda: Option<String>,
}

/// Processors that conda has packages for and supercomputers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Intel and AMD.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit Power, little-endian.
    Ppc64le,
}

impl Architecture {
    /// From the kernel's name for it (`uname -m`).
    pub fn from_machine(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            "ppc64le" => Some(Self::Ppc64le),
            _ => None,
        }
    }

    /// From conda's name for it, `linux-64`.
    pub fn from_platform(name: &str) -> Option<Self> {
        let all = [Self::X86_64, Self::Aarch64, Self::Ppc64le];
        all.into_iter()
            .find(|known| known.subdir().as_str() == name)
    }

    pub(crate) fn subdir(self) -> Subdir {
        match self {
            Self::X86_64 => Subdir::Linux64,
            Self::Aarch64 => Subdir::LinuxAarch64,
            Self::Ppc64le => Subdir::LinuxPpc64le,
        }
    }
}

impl Target {
    /// conda's platform: `linux-64`.
    pub fn platform(&self) -> &'static str {
        self.architecture.subdir().as_str()
    }

    /// What the solver is told, one `name=version` each.
    pub fn virtual_packages(&self) -> Vec<String> {
        let mut words = vec!["__unix=0".to_owned()];
        words.push(format!("__linux={}", self.linux.as_deref().unwrap_or("0")));
        let pairs = [("__glibc", &self.glibc), ("__cuda", &self.cuda)];
        words.extend(
            pairs
                .iter()
                .filter_map(|(name, version)| version.as_ref().map(|v| format!("{name}={v}"))),
        );
        if let Some(archspec) = &self.archspec {
            words.push(format!("__archspec=1={archspec}"));
        }
        words
    }

    pub(crate) fn generic_virtual_packages(&self) -> Result<Vec<GenericVirtualPackage>, String> {
        let parse = |word: &String| {
            let mut parts = word.splitn(3, '=');
            let (name, version, build) = (
                parts.next().unwrap_or(""),
                parts.next().unwrap_or("0"),
                parts.next(),
            );
            Ok(GenericVirtualPackage {
                name: name
                    .parse::<PackageName>()
                    .map_err(|error| error.to_string())?,
                version: version
                    .parse::<Version>()
                    .map_err(|_| format!("`{version}` is not a version for {name}"))?,
                build_string: build.unwrap_or("0").parse().map_err(|_| {
                    format!("`{}` is not a build string for {name}", build.unwrap_or(""))
                })?,
            })
        };
        self.virtual_packages().iter().map(parse).collect()
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} with {}",
            self.platform(),
            self.virtual_packages().join(", ")
        )
    }
}

/// The two addresses of an environment in the making.
///
/// An image's root is the installation root. The environment lies deeper, where users of the
/// replaced tool know it: `miniforge/envs/env1`.
#[derive(Debug, Clone)]
pub struct Place {
    /// The scratch directory that becomes the image's root.
    pub root: PathBuf,
    /// Where the image's root will be mounted: absolute, outside of everything the base or the
    /// host has.
    pub mount_point: PathBuf,
    /// The environment's path below both, `miniforge/envs/env1`.
    pub environment: PathBuf,
    /// Unpacked packages, gone when the build is over; on the same file system as `root`.
    pub packages: PathBuf,
}

/// conda packages are built with a placeholder of 255 bytes that the real path replaces in place.
const MAX_PREFIX_BYTES: usize = 255;

impl Place {
    /// The environment in scratch.
    pub fn scratch_env(&self) -> PathBuf {
        self.root.join(&self.environment)
    }

    /// The environment as it believes to be.
    pub fn mounted_env(&self) -> PathBuf {
        self.mount_point.join(&self.environment)
    }

    /// Inputs and results of build steps, left out of the image.
    pub fn build_dir(&self) -> PathBuf {
        self.root.join(BUILD_DIR)
    }

    /// The same directory as the build container sees it.
    pub fn mounted_build_dir(&self) -> PathBuf {
        self.mount_point.join(BUILD_DIR)
    }

    /// Opens the root in scratch such that no path leads out of it.
    ///
    /// # Errors
    /// [`Error::Io`] when it is missing.
    pub fn open_root(&self) -> Result<Within, Error> {
        Within::open(&self.root)
    }

    /// Opens the environment in scratch in the same way.
    ///
    /// # Errors
    /// [`Error::LeadsOut`] when a link leads out of the root, [`Error::Io`] when the directory is
    /// missing.
    pub fn open_env(&self) -> Result<Within, Error> {
        self.open_root()?.dir(&self.environment)
    }

    /// Opens the directory of build steps, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::LeadsOut`] when there is a link in its place, [`Error::Io`].
    pub fn open_build_dir(&self) -> Result<Within, Error> {
        self.open_root()?.make_own_dir(BUILD_DIR)
    }

    /// Refuses a mount point that packages have no room for.
    ///
    /// # Errors
    /// [`Error::MountPointTooLong`].
    pub fn check(mount_point: &Path, environment: &Path) -> Result<(), Error> {
        let path = mount_point.join(environment);
        let length = path.as_os_str().len();
        if length > MAX_PREFIX_BYTES {
            return Err(Error::MountPointTooLong { path, length });
        }
        Ok(())
    }
}

/// Name of the directory of build steps under the image's root; whoever scans the root leaves it
/// out.
pub const BUILD_DIR: &str = ".condense-build";
