//! Responsible for the machine and the paths that an environment is made for. The solver uses only
//! the values in [`Target`] and reads nothing from the build host.

use std::path::{Path, PathBuf};

use rattler_conda_types::{GenericVirtualPackage, PackageName, Subdir, Version};

use condense_within::Within;

use crate::{error::Error, solution::Solution};

/// Machine that an environment is made for.
#[derive(Debug, Clone)]
pub struct Target {
    /// Architecture of the processor.
    pub architecture: Architecture,
    /// Version of the C library that the programs will run on, such as `2.31`; `None` for a base
    /// without glibc.
    pub glibc: Option<String>,
    /// Version of the Linux kernel, such as `5.14.21`.
    pub linux: Option<String>,
    /// Level or name of the processor, such as `x86_64_v3` or `zen3`.
    pub archspec: Option<String>,
    /// Version of CUDA that the GPU driver of the compute nodes supports.
    pub cuda: Option<String>,
}

/// Processor architectures of supercomputers for which conda has packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit Intel and AMD processors.
    X86_64,
    /// 64-bit Arm processors (AArch64).
    Aarch64,
    /// 64-bit Power processors, little-endian.
    Ppc64le,
}

impl Architecture {
    /// Returns the architecture for the kernel's name of it (`uname -m`).
    pub fn from_machine(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            "ppc64le" => Some(Self::Ppc64le),
            _ => None,
        }
    }

    /// Returns the architecture for conda's name of the platform, such as `linux-64`.
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
    /// Returns conda's name of the platform, such as `linux-64`.
    pub fn platform(&self) -> &'static str {
        self.architecture.subdir().as_str()
    }

    /// Returns the target with the versions that the packages of `solution` were solved for, as far
    /// as it tells them.
    #[must_use]
    pub fn with_those_of(self, solution: &Solution) -> Self {
        let words = &solution.virtual_packages;
        let of = |name: &str| {
            let rest = words.iter().find_map(|word| word.strip_prefix(name))?;
            Some(rest.to_owned()).filter(|rest| !rest.is_empty())
        };
        let version = |name: &str| {
            let version = of(name)?;
            Some(version.split('=').next().unwrap_or_default().to_owned())
        };
        Self {
            architecture: self.architecture,
            glibc: version("__glibc=").or(self.glibc),
            linux: version("__linux=")
                .filter(|version| version != "0")
                .or(self.linux),
            archspec: of("__archspec=1=").or(self.archspec),
            cuda: version("__cuda=").or(self.cuda),
        }
    }

    /// Returns the virtual packages that the solver gets, each as `name=version` or
    /// `name=version=build`.
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

/// Path of an environment in the scratch directory during the build, and its path after mounting.
///
/// The root of the image is the installation root. The environment is in a directory below it, at
/// the path that users of Tykky know: `miniforge/envs/env1`.
#[derive(Debug, Clone)]
pub struct Place {
    /// Scratch directory that becomes the image's root.
    pub root: PathBuf,
    /// Path at which the image's root will be mounted: absolute, and not inside a directory that
    /// the base image or the host has.
    pub mount_point: PathBuf,
    /// Path of the environment relative to both `root` and `mount_point`, such as
    /// `miniforge/envs/env1`.
    pub environment: PathBuf,
    /// Directory of unpacked packages, removed at the end of the build. It is on the same file
    /// system as `root`.
    pub packages: PathBuf,
}

/// Longest path of an environment in bytes. conda packages are built with a placeholder of 255
/// bytes, which the real path replaces in place.
const MAX_PREFIX_BYTES: usize = 255;

impl Place {
    /// Returns the path of the environment in the scratch directory.
    pub fn scratch_env(&self) -> PathBuf {
        self.root.join(&self.environment)
    }

    /// Returns the path of the environment after mounting, which is written into its files.
    pub fn mounted_env(&self) -> PathBuf {
        self.mount_point.join(&self.environment)
    }

    /// Returns the directory of inputs and results of build steps. It is not packed into the image.
    pub fn build_dir(&self) -> PathBuf {
        self.root.join(BUILD_DIR)
    }

    /// Returns the path of the build steps' directory inside the build container.
    pub fn mounted_build_dir(&self) -> PathBuf {
        self.mount_point.join(BUILD_DIR)
    }

    /// Opens the root in the scratch directory such that no path leads out of it.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the directory is missing.
    pub fn open_root(&self) -> Result<Within, Error> {
        Ok(Within::open(&self.root)?)
    }

    /// Opens the environment in the scratch directory such that no path leads out of it.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link leads out of the root, and [`Error::Io`] if the
    /// directory is missing.
    pub fn open_env(&self) -> Result<Within, Error> {
        Ok(self.open_root()?.dir(&self.environment)?)
    }

    /// Opens the directory of build steps and creates it if it is missing.
    ///
    /// # Errors
    /// Returns [`Error::LeadsOut`] if a link has the directory's name, and [`Error::Io`] if the
    /// directory cannot be created.
    pub fn open_build_dir(&self) -> Result<Within, Error> {
        Ok(self.open_root()?.make_own_dir(BUILD_DIR)?)
    }

    /// Refuses a mount point that makes the environment's path longer than the
    /// placeholder in conda packages.
    ///
    /// # Errors
    /// Returns [`Error::MountPointTooLong`] if the path of the environment has more than 255 bytes.
    pub fn check(mount_point: &Path, environment: &Path) -> Result<(), Error> {
        let path = mount_point.join(environment);
        let length = path.as_os_str().len();
        if length > MAX_PREFIX_BYTES {
            return Err(Error::MountPointTooLong { path, length });
        }
        Ok(())
    }
}

/// Name of the directory of build steps below the image's root. Code that scans the root must leave
/// this directory out.
pub const BUILD_DIR: &str = ".condense-build";

/// Path of the directory of build steps in the container of a pip that cannot write below the mount
/// point. What pip builds may name it, so it says nothing of this machine.
pub const BUILD_DIR_BESIDE: &str = "/.condense-build";
