//! Responsible for what a site says of its compute nodes, as far as findings depend on it.

use std::str::FromStr;

/// What the machine that jobs run on is like; what is not known is not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// For people: the site's name.
    pub site: String,
    /// Whose GPUs it has.
    pub gpu: Option<Gpu>,
    /// Version of ROCm that its driver belongs to: `6.3.4`.
    pub rocm_driver: Option<String>,
    /// The newest CUDA that its driver runs: `12.4`.
    pub cuda_driver: Option<String>,
    /// Level of x86-64, from 1.
    pub cpu_level: Option<u8>,
    /// That its runtime and its kernels read: `gzip`; empty if nothing is known.
    pub codecs: Vec<String>,
    /// As `uname -m` prints it.
    pub architecture: Option<String>,
    /// Whose MPI its nodes and its network want.
    pub mpi: Option<Mpi>,
}

/// Whose GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpu {
    /// ROCm.
    Amd,
    /// CUDA.
    Nvidia,
    /// There are none.
    None,
}

impl FromStr for Gpu {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "amd" => Ok(Self::Amd),
            "nvidia" => Ok(Self::Nvidia),
            "none" => Ok(Self::None),
            _ => Err(()),
        }
    }
}

/// Programs of one are not served by the other's libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mpi {
    /// MPICH, and what keeps its ABI: Cray's, Intel's, MVAPICH.
    Mpich,
    /// Open MPI.
    OpenMpi,
}

impl Mpi {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mpich => "MPICH",
            Self::OpenMpi => "Open MPI",
        }
    }

    /// Whose library a program asks for. What auditwheel put into a wheel has a digest in its name.
    pub(crate) fn of_library(name: &str) -> Option<Self> {
        let (stem, number) = name.split_once(".so.")?;
        let stem = stem.split('-').next().unwrap_or(stem);
        let known = matches!(
            stem,
            "libmpi" | "libmpich" | "libmpicxx" | "libmpifort" | "libmpi_cxx" | "libmpi_mpifh"
        );
        let number = number.split('.').next().unwrap_or(number);
        match (known, number) {
            (true, "12") => Some(Self::Mpich),
            (true, "20" | "40") => Some(Self::OpenMpi),
            _ => None,
        }
    }
}

impl FromStr for Mpi {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "mpich" => Ok(Self::Mpich),
            "openmpi" => Ok(Self::OpenMpi),
            _ => Err(()),
        }
    }
}

/// `x86_64_v3` is 3, `x86_64` is 1; other words are no level.
pub(crate) fn cpu_level(text: &str) -> Option<u8> {
    match text.strip_prefix("x86_64")? {
        "" => Some(1),
        rest => rest
            .trim_start_matches(['_', '-'])
            .strip_prefix('v')?
            .parse()
            .ok()
            .filter(|level| (1..=4).contains(level)),
    }
}

impl Machine {
    /// The level of x86-64 that a word means: `x86_64_v3`, `x86-64-v3`.
    pub fn parse_cpu_level(text: &str) -> Option<u8> {
        cpu_level(&text.replace("x86-64", "x86_64"))
    }
}

/// The numbers of a version.
pub(crate) fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit());
            part[..end.unwrap_or(part.len())].parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_tell_whose_mpi_they_are() {
        for (name, expected) in [
            ("libmpi.so.12", Some(Mpi::Mpich)),
            ("libmpich.so.12", Some(Mpi::Mpich)),
            ("libmpifort.so.12.1.8", Some(Mpi::Mpich)),
            ("libmpi-3f1e5b7a.so.12.3.1", Some(Mpi::Mpich)),
            ("libmpi.so.40", Some(Mpi::OpenMpi)),
            ("libmpi_mpifh.so.40", Some(Mpi::OpenMpi)),
            ("libmpi.so", None),
            ("libmpi_gnu_123.so.12", None),
            ("libm.so.6", None),
        ] {
            assert_eq!(Mpi::of_library(name), expected, "{name}");
        }
    }

    #[test]
    fn levels_and_numbers() {
        assert_eq!(Machine::parse_cpu_level("x86_64_v3"), Some(3));
        assert_eq!(Machine::parse_cpu_level("x86-64-v4"), Some(4));
        assert_eq!(Machine::parse_cpu_level("x86_64"), Some(1));
        assert_eq!(Machine::parse_cpu_level("zen3"), None);
        assert_eq!(Machine::parse_cpu_level("x86_64_v9"), None);
        assert_eq!(numbers("6.2.4-140"), [6, 2, 4]);
        assert_eq!(numbers("x"), Vec::<u32>::new());
    }
}
