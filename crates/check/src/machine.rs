//! Responsible for representing a site's compute nodes, as far as findings depend on them.

use std::str::FromStr;

/// Machine that jobs run on. Unknown values are not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Name of the site, shown to the user.
    pub site: String,
    /// Vendor of the GPUs.
    pub gpu: Option<Gpu>,
    /// Version of ROCm that the driver belongs to: `6.3.4`.
    pub rocm_driver: Option<String>,
    /// Newest CUDA that the driver supports: `12.4`.
    pub cuda_driver: Option<String>,
    /// Level of x86-64, starting at 1.
    pub cpu_level: Option<u8>,
    /// Codecs supported by the site's runtime and kernel, such as `gzip`; empty if unknown.
    pub codecs: Vec<String>,
    /// Architecture as `uname -m` prints it.
    pub architecture: Option<String>,
    /// MPI that the nodes and the network of the site need.
    pub mpi: Option<Mpi>,
}

/// Vendor of the GPUs of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpu {
    /// AMD, whose software is ROCm.
    Amd,
    /// NVIDIA, whose software is CUDA.
    Nvidia,
    /// The nodes have no GPUs.
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

/// MPI implementation, by its ABI. Programs for one cannot use the libraries of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mpi {
    /// MPICH and implementations with the same ABI: Cray's, Intel's, MVAPICH.
    Mpich,
    /// Open MPI and its ABI.
    OpenMpi,
}

impl Mpi {
    /// Returns the name to show to the user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mpich => "MPICH",
            Self::OpenMpi => "Open MPI",
        }
    }

    /// Returns the implementation that a library belongs to, by its name. Libraries that auditwheel
    /// put into a wheel have a digest in their names.
    pub(crate) fn from_library(name: &str) -> Option<Self> {
        let (stem, number) = name.split_once(".so.")?;
        let stem = stem.split('-').next().unwrap_or(stem);
        let known = matches!(
            stem,
            "libmpi"
                | "libmpich"
                | "libmpicxx"
                | "libmpichcxx"
                | "libmpifort"
                | "libmpichfort"
                | "libmpi_cxx"
                | "libmpi_mpifh"
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

/// Parses a level of x86-64: `x86_64_v3` is 3 and `x86_64` is 1; other words are not levels.
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
    /// Parses a level of x86-64, written `x86_64_v3` or `x86-64-v3`.
    pub fn parse_cpu_level(text: &str) -> Option<u8> {
        cpu_level(&text.replace("x86-64", "x86_64"))
    }
}

/// Returns the numbers of a version.
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
    fn names_of_libraries_show_their_mpi() {
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
            assert_eq!(Mpi::from_library(name), expected, "{name}");
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
