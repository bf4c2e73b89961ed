//! Responsible for the facts that are read from a base image.

pub(crate) mod software;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use condense_image::sif::DataKind;
use condense_image::{Arch, Sif};
use serde::Serialize;

use crate::os_release::{self, Distribution};
use crate::root::{Found, Root};
use crate::{Error, libc};

pub use software::{Conda, Mpi, MpiAbi};

/// Maximum number of bytes that are read from a text file or from labels. Real ones are far
/// smaller. Longer texts are cut, and longer labels are left out.
const TEXT_LEN_MAX: u64 = 1 << 20;
const ENVIRONMENT_DIRECTORY: &str = ".singularity.d/env";
const LABELS_FILE: &str = ".singularity.d/labels.json";
/// Label of NVIDIA's older images with the version of CUDA. Newer images have the version in
/// variables.
const CUDA_LABEL: &str = "com.nvidia.cuda.version";
/// Name of the SIF object in which apptainer stores labels. `apptainer inspect` reads this object
/// first.
const METADATA_OBJECT: &str = "inspect-metadata.json";

/// Facts about a base image, read from its labels and files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BaseFacts {
    /// Architecture in the wording of `uname -m`, for example `x86_64`.
    pub architecture: Option<String>,
    /// Distribution of the base, if its `os-release` exists.
    pub distribution: Option<Distribution>,
    /// Version of the GNU C library, for example `2.36`. A base with musl has none.
    pub glibc: Option<String>,
    /// Path of the loader that the base's shell requests, for example `/lib/ld-musl-x86_64.so.1`.
    pub loader: Option<PathBuf>,
    /// Whether `/bin/sh` exists. Without it the runtime can only `exec` programs.
    pub has_sh: bool,
    /// Whether the file `/bin/bash` exists.
    pub has_bash: bool,
    /// Python of the base, if it has one.
    pub python: Option<Python>,
    /// Version of ROCm, for example `6.2.4`.
    pub rocm: Option<String>,
    /// Version of CUDA, for example `12.4`.
    pub cuda: Option<String>,
    /// MPI libraries of the base.
    pub mpi: Vec<Mpi>,
    /// Path of the library `libfabric.so.1`.
    pub libfabric: Option<PathBuf>,
    /// Path of `libcxi.so.1`, the library for Slingshot's network cards.
    pub cxi: Option<PathBuf>,
    /// Path of the plugin through which RCCL or NCCL use libfabric.
    pub collectives_plugin: Option<PathBuf>,
    /// Conda installation of the base.
    pub conda: Option<Conda>,
    /// Command that activates the base's conda environment, from the variable `WITH_CONDA` of
    /// LUMI's images.
    pub with_conda: Option<String>,
    /// Names of the scripts that set up the base's environment variables, in the order in which
    /// they run.
    pub environment_scripts: Vec<String>,
    /// Labels of the base.
    pub labels: BTreeMap<String, String>,
    /// Size of the base's file in bytes; a directory has none.
    pub size_bytes: Option<u64>,
}

/// Python interpreter of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Python {
    /// Path of the interpreter with its links resolved, for example `/usr/bin/python3.11`.
    pub path: PathBuf,
    /// Major and minor version, if the path contains them.
    pub version: Option<String>,
}

/// Reads all facts. `declared_arch` is the architecture in the SIF's header, `size_bytes` the size
/// of the file.
pub(crate) fn load(
    root: &Root,
    sif: Option<&Sif>,
    declared_arch: Option<Arch>,
    size_bytes: Option<u64>,
) -> Result<BaseFacts, Error> {
    let libc = libc::find(root)?;
    let environment_scripts = list_environment_scripts(root)?;
    let scripts: Vec<PathBuf> = environment_scripts
        .iter()
        .map(|name| Path::new(ENVIRONMENT_DIRECTORY).join(name))
        .collect();
    let software = software::find(root, &scripts)?;
    let labels = find_labels(root, sif)?;
    Ok(BaseFacts {
        architecture: declared_arch.or(libc.arch).map(|arch| arch.to_string()),
        distribution: find_distribution(root)?,
        glibc: libc.glibc,
        loader: libc.loader,
        has_sh: root.locate_file("bin/sh")?.is_some(),
        has_bash: root.locate_file("bin/bash")?.is_some(),
        python: find_python(root)?,
        rocm: software.rocm,
        cuda: software.cuda.or_else(|| labels.get(CUDA_LABEL).cloned()),
        mpi: software.mpi,
        libfabric: software.libfabric,
        cxi: software.cxi,
        collectives_plugin: software.collectives_plugin,
        conda: software.conda,
        with_conda: software.with_conda,
        environment_scripts,
        labels,
        size_bytes,
    })
}

fn find_distribution(root: &Root) -> Result<Option<Distribution>, Error> {
    for path in os_release::PATHS {
        if let Some(file) = root.locate_file(path)? {
            let text = file.read(TEXT_LEN_MAX)?;
            return Ok(Some(os_release::parse(&String::from_utf8_lossy(&text))));
        }
    }
    Ok(None)
}

fn find_python(root: &Root) -> Result<Option<Python>, Error> {
    for path in ["usr/local/bin/python3", "usr/bin/python3", "bin/python3"] {
        if let Some(file) = root.locate_file(path)? {
            let version = file
                .path
                .file_name()
                .and_then(|name| name.to_str()?.strip_prefix("python"))
                .filter(|version| version.split('.').count() == 2)
                .map(str::to_owned);
            return Ok(Some(Python {
                path: Path::new("/").join(&file.path),
                version,
            }));
        }
    }
    Ok(None)
}

fn list_environment_scripts(root: &Root) -> Result<Vec<String>, Error> {
    let directory = root
        .locate(ENVIRONMENT_DIRECTORY)?
        .filter(Found::is_directory);
    let Some(directory) = directory else {
        return Ok(Vec::new());
    };
    let names = directory.list()?;
    Ok(names
        .iter()
        .filter(|name| Path::new(name).extension() == Some(OsStr::new("sh")))
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

/// Returns the labels in the SIF's own object, or else those in the root file system. Malformed
/// labels are left out: labels are only shown to the user, and apptainer does not need them to run
/// anything.
fn find_labels(root: &Root, sif: Option<&Sif>) -> Result<BTreeMap<String, String>, Error> {
    if let Some(sif) = sif {
        for object in sif.descriptors() {
            let is_metadata = object.kind == DataKind::Json && object.name == METADATA_OBJECT;
            if !is_metadata || object.size > TEXT_LEN_MAX {
                continue;
            }
            let json = sif.read(object, TEXT_LEN_MAX)?;
            if let Some(labels) = parse_labels(&json, "/data/attributes/labels") {
                return Ok(labels);
            }
        }
    }
    if let Some(file) = root.locate_file(LABELS_FILE)? {
        let json = file.read(TEXT_LEN_MAX)?;
        return Ok(parse_labels(&json, "").unwrap_or_default());
    }
    Ok(BTreeMap::new())
}

fn parse_labels(json: &[u8], pointer: &str) -> Option<BTreeMap<String, String>> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    let labels = json.pointer(pointer)?.as_object()?;
    Some(
        labels
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    )
}
