//! Responsible for finding the software of a base that an environment must be compatible with: ROCm
//! or CUDA, MPI, the network fabric, and conda.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::TEXT_LEN_MAX;
use crate::Error;
use crate::root::{Found, Root};

/// Library directories of any distribution, relative to the root directory. The linker's own
/// configuration names more.
const LIBRARY_DIRECTORIES: [&str; 8] = [
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib",
    "lib64",
    "usr/local/lib",
    "usr/local/lib64",
    "lib",
];
const LINKER_CONFIGURATION: &str = "etc/ld.so.conf.d";
/// Prefixes into which conda's installers install.
const CONDA_PREFIXES: [&str; 8] = [
    "opt/miniconda3",
    "opt/miniforge3",
    "opt/mambaforge",
    "opt/anaconda3",
    "opt/conda",
    "opt/cotainr/conda",
    "usr/local/miniconda3",
    "usr/local/conda",
];

/// An MPI library under the file name that programs request from the linker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mpi {
    /// Path of the library with the links in its directory resolved.
    pub path: PathBuf,
    /// Name of the library: `libmpi.so.12` (`libmpich.so.12` in Debian) or `libmpi.so.40`.
    pub soname: String,
    /// ABI of the library.
    pub abi: MpiAbi,
}

/// ABI of an MPI library. Programs that are linked with one ABI do not run with the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MpiAbi {
    /// The ABI of MPICH, Intel MPI, MVAPICH and Cray MPICH.
    Mpich,
    /// The ABI of Open MPI from 1.10 to 4. Open MPI 5 kept the library's name.
    OpenMpi,
}

/// A conda installation in a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conda {
    /// Prefix of the installation.
    pub prefix: PathBuf,
    /// Names of its environments.
    pub environments: Vec<String>,
    /// Version of the Python in its base environment, for example `3.12`.
    pub python: Option<String>,
}

/// Software that was found in a base image.
#[derive(Debug, Default)]
pub(crate) struct Software {
    pub(crate) rocm: Option<String>,
    pub(crate) cuda: Option<String>,
    pub(crate) mpi: Vec<Mpi>,
    pub(crate) libfabric: Option<PathBuf>,
    pub(crate) cxi: Option<PathBuf>,
    pub(crate) collectives_plugin: Option<PathBuf>,
    pub(crate) conda: Option<Conda>,
    pub(crate) with_conda: Option<String>,
}

/// Finds the software of a base. `scripts` are the paths of the base's environment scripts,
/// relative to the root directory.
pub(crate) fn find(root: &Root, scripts: &[PathBuf]) -> Result<Software, Error> {
    let variables = read_variables(root, scripts)?;
    let value = |name: &str| {
        let assigned = variables.iter().rev().find(|(found, _)| found == name);
        assigned.map(|(_, value)| value.clone())
    };
    let mut software = Software {
        rocm: find_rocm(root)?,
        cuda: find_cuda(root)?
            .or_else(|| value("CUDA_VERSION").map(|found| major_minor(&found)))
            .or_else(|| required_cuda(&value("NVIDIA_REQUIRE_CUDA")?)),
        conda: find_conda(root)?,
        with_conda: value("WITH_CONDA"),
        ..Software::default()
    };
    // The file name of CUDA's runtime library contains only the major version.
    let first = |version: &str| version.split('.').take(1).collect::<String>();
    let mut runtime = None;
    let mut seen = BTreeSet::new();
    for directory in library_directories(root, software.conda.as_ref())? {
        let Some(found) = root.locate(&directory)?.filter(Found::is_directory) else {
            continue;
        };
        // `lib` is usually a link to `usr/lib`.
        if !seen.insert(found.path.clone()) {
            continue;
        }
        for name in found.list()? {
            let Some(name) = name.to_str() else { continue };
            let path = || Path::new("/").join(&found.path).join(name);
            match name {
                "libmpi.so.12" | "libmpich.so.12" | "libmpi.so.40" => software.mpi.push(Mpi {
                    path: path(),
                    soname: name.to_owned(),
                    abi: if name.ends_with("12") {
                        MpiAbi::Mpich
                    } else {
                        MpiAbi::OpenMpi
                    },
                }),
                "libfabric.so.1" => {
                    software.libfabric.get_or_insert_with(path);
                }
                "libcxi.so.1" => {
                    software.cxi.get_or_insert_with(path);
                }
                "librccl-net.so" | "libnccl-net.so" => {
                    software.collectives_plugin.get_or_insert_with(path);
                }
                _ => runtime = runtime.or_else(|| name.strip_prefix("libcudart.so.").map(first)),
            }
        }
    }
    software.cuda = software.cuda.or(runtime);
    Ok(software)
}

/// Returns the usual library directories, those in the linker's configuration, those of the
/// software in `/opt` and `/usr/local`, and conda's.
pub(crate) fn library_directories(
    root: &Root,
    conda: Option<&Conda>,
) -> Result<Vec<PathBuf>, Error> {
    let mut directories: Vec<PathBuf> = LIBRARY_DIRECTORIES.iter().map(PathBuf::from).collect();
    for name in list(root, LINKER_CONFIGURATION)? {
        let path = Path::new(LINKER_CONFIGURATION).join(&name);
        let text = read_text(root, &path)?.unwrap_or_default();
        let lines = text.lines().map(str::trim);
        directories.extend(lines.filter_map(|line| line.strip_prefix('/').map(PathBuf::from)));
    }
    for parent in ["opt", "usr/local"] {
        for name in list(root, parent)? {
            let prefix = Path::new(parent).join(name);
            directories.extend([prefix.join("lib"), prefix.join("lib64")]);
        }
    }
    directories.extend(conda.map(|conda| relative(&conda.prefix).join("lib")));
    Ok(directories)
}

/// Returns the version of ROCm from `/opt/rocm/.info/version`, which holds for example `6.2.4-140`,
/// or else from the directory's name.
fn find_rocm(root: &Root) -> Result<Option<String>, Error> {
    let mut candidates = vec![PathBuf::from("opt/rocm")];
    let named = list(root, "opt")?;
    let named = named.iter().filter(|name| name.starts_with("rocm-"));
    candidates.extend(named.map(|name| Path::new("opt").join(name)));
    for prefix in candidates {
        let Some(found) = root.locate(&prefix)?.filter(Found::is_directory) else {
            continue;
        };
        for file in [".info/version", ".info/version-dev"] {
            if let Some(text) = read_text(root, found.path.join(file))? {
                let version: String = text
                    .trim()
                    .chars()
                    .take_while(|c| c.is_ascii_digit() || *c == '.')
                    .collect();
                if !version.is_empty() {
                    return Ok(Some(version));
                }
            }
        }
        let name = found.path.file_name().and_then(|name| name.to_str());
        if let Some(version) = name.and_then(|name| name.strip_prefix("rocm-")) {
            return Ok(Some(version.to_owned()));
        }
    }
    Ok(None)
}

/// Returns the version of CUDA from `/usr/local/cuda/version.json`, or `version.txt` in older
/// versions, or else from the directory's name.
fn find_cuda(root: &Root) -> Result<Option<String>, Error> {
    let Some(found) = root.locate("usr/local/cuda")?.filter(Found::is_directory) else {
        let named = list(root, "usr/local")?;
        let newest = named
            .iter()
            .rev()
            .find_map(|name| name.strip_prefix("cuda-"));
        return Ok(newest.map(str::to_owned));
    };
    if let Some(text) = read_text(root, found.path.join("version.json"))? {
        let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let version = json.as_ref().and_then(|json| json.pointer("/cuda/version"));
        if let Some(version) = version.and_then(serde_json::Value::as_str) {
            return Ok(Some(major_minor(version)));
        }
    }
    if let Some(text) = read_text(root, found.path.join("version.txt"))?
        && let Some(version) = text.trim().strip_prefix("CUDA Version ")
    {
        return Ok(Some(major_minor(version)));
    }
    let name = found.path.file_name().and_then(|name| name.to_str());
    let version = name.and_then(|name| name.strip_prefix("cuda-"));
    Ok(version.map(str::to_owned))
}

/// Returns the version of CUDA from the driver requirements of an NVIDIA image, for example
/// `cuda>=12.4 brand=tesla,driver>=470,driver<471`.
fn required_cuda(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let version = words.find_map(|word| word.strip_prefix("cuda>="))?;
    let is_one = version.starts_with(|c: char| c.is_ascii_digit());
    is_one.then(|| major_minor(version))
}

fn major_minor(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn find_conda(root: &Root) -> Result<Option<Conda>, Error> {
    for prefix in CONDA_PREFIXES.map(Path::new) {
        if root.locate(prefix.join("conda-meta"))?.is_none() {
            continue;
        }
        let libraries = list(root, prefix.join("lib"))?;
        let python = libraries
            .iter()
            .filter_map(|name| name.strip_prefix("python"))
            .find(|version| version.contains('.'));
        return Ok(Some(Conda {
            prefix: Path::new("/").join(prefix),
            environments: list(root, prefix.join("envs"))?
                .into_iter()
                .filter(|name| !name.starts_with('.'))
                .collect(),
            python: python.map(str::to_owned),
        }));
    }
    Ok(None)
}

/// Returns the assignments of constant text in the environment scripts, in their order: `export
/// NAME="value"` and `NAME=${NAME:-"value"}`.
fn read_variables(root: &Root, scripts: &[PathBuf]) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    for script in scripts {
        let text = read_text(root, script)?.unwrap_or_default();
        for line in text.lines() {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let is_name = name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
            if name.is_empty() || !is_name {
                continue;
            }
            let default = value
                .strip_prefix("\"${")
                .and_then(|rest| rest.split_once(":-"))
                .and_then(|(inner, rest)| (inner == name).then(|| rest.strip_suffix("}\"")))
                .flatten();
            let value = default.unwrap_or(value).trim_matches(['"', '\'']);
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

fn list(root: &Root, directory: impl AsRef<Path>) -> Result<Vec<String>, Error> {
    let Some(found) = root.locate(directory)?.filter(Found::is_directory) else {
        return Ok(Vec::new());
    };
    let names = found.list()?;
    Ok(names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect())
}

fn read_text(root: &Root, path: impl AsRef<Path>) -> Result<Option<String>, Error> {
    let Some(file) = root.locate_file(path)? else {
        return Ok(None);
    };
    let bytes = file.read(TEXT_LEN_MAX)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
