//! Responsible for a SIF as users look at it: where it comes from, what is in it, and whether it is
//! whole and starts.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_base::BaseImage;
use condense_diagnostics::UserError;
use condense_image::{
    Arch, CheckOptions, Reader, Sif, check,
    sif::{DataKind, FileSystem},
};
use condense_installation::{Exec, Isolation, Runtime};
use indicatif::HumanBytes;
use sha2::{Digest, Sha256};

use crate::{
    contents::Subject,
    report::{Phase, Report},
};

/// Label with the digest of the lock in the image.
const LOCK_DIGEST: &str = "condense.lock.digest";

/// Origin and parts of a SIF.
#[derive(Debug, Clone)]
pub struct SifFacts {
    /// Path of the file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Name of the architecture, such as `amd64`.
    pub architecture: Option<&'static str>,
    /// Time at which it was made, in seconds since 1970.
    pub created: Option<u64>,
    /// Labels, which also `inspect` of a runtime shows.
    pub labels: BTreeMap<String, String>,
    /// Objects of the file: number, kind, name and size in bytes.
    pub objects: Vec<SifObject>,
    /// Path of the lock in the image, if condense has made it.
    pub lock: Option<PathBuf>,
}

/// Object of a SIF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SifObject {
    /// Number of the object.
    pub id: u32,
    /// Kind of the object, such as `partition`.
    pub kind: String,
    /// Name of the object; empty if it has none.
    pub name: String,
    /// Size of the object in bytes.
    pub size_bytes: u64,
}

impl SifFacts {
    /// Reads the facts of a SIF. No container is started.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn load(subject: &Subject) -> anyhow::Result<Self> {
        let path = subject.path();
        let sif = Sif::open(path)?;
        let objects = sif.descriptors().iter().map(|object| SifObject {
            id: object.id,
            kind: object.kind.name().to_owned(),
            name: object.name.clone(),
            size_bytes: object.size,
        });
        Ok(Self {
            path: path.to_owned(),
            size_bytes: fs_err::metadata(path)?.len(),
            architecture: sif.arch().map(Arch::name),
            created: u64::try_from(sif.header().created)
                .ok()
                .filter(|time| *time > 0),
            labels: BaseImage::open(path)?.facts()?.labels,
            objects: objects.collect(),
            lock: subject.lock_text()?.map(|(path, _)| path),
        })
    }

    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// Checks a SIF: its table of objects, all blocks of its SquashFS partitions, and its lock. With
/// `runtime`, which may be `None` for the first one on `search_path`, starts a program in it.
///
/// # Errors
/// Returns the first problem.
pub fn verify_sif(
    subject: &Subject,
    start: Option<(Option<&Path>, &OsStr)>,
    report: &Arc<Report>,
) -> anyhow::Result<()> {
    let path = subject.path();
    let sif = Sif::open(path)?;
    for object in sif.descriptors() {
        let Some(partition) = object.partition() else {
            continue;
        };
        if partition.file_system != FileSystem::SquashFs {
            report.warning(format!(
                "object {} is {}, which is not looked into",
                object.id, partition.file_system
            ));
            continue;
        }
        check_partition(
            &Reader::open_at(path, partition.offset, partition.size)?,
            report,
        )?;
        report.info(format!(
            "object {} ({}): whole, {}",
            object.id,
            partition.role.name(),
            HumanBytes(partition.size)
        ));
    }
    check_lock(subject)?;
    let mut objects = sif.descriptors().iter();
    if objects.any(|object| object.kind == DataKind::Signature) {
        report.info(format!(
            "it is signed: `condense sif verify {}` checks the signatures",
            path.display()
        ));
    }
    if let Some((runtime, search_path)) = start {
        let base = BaseImage::open(path)?;
        base.check_architecture()?;
        let runtime = Runtime::find_unless(&|| report.cancelled(), runtime, search_path)?;
        start_once(&runtime, path, base.facts()?.has_sh)?;
        report.info("it starts");
    }
    Ok(())
}

fn check_partition(reader: &Reader, report: &Arc<Report>) -> anyhow::Result<()> {
    report.begin(Phase::Check, Some(reader.superblock().bytes_used));
    let options = CheckOptions {
        threads: None,
        progress: Some(Arc::new({
            let report = Arc::clone(report);
            move |bytes| report.advance(Phase::Check, bytes)
        })),
        cancel: Some(report.cancel_flag()),
    };
    check(reader, &options)?;
    report.end(Phase::Check);
    Ok(())
}

/// Compares the lock in the image with the digest of it in the labels.
fn check_lock(subject: &Subject) -> anyhow::Result<()> {
    let labels = BaseImage::open(subject.path())?.facts()?.labels;
    let Some(expected) = labels.get(LOCK_DIGEST) else {
        return Ok(());
    };
    let text = subject.lock_text()?.map(|(_, text)| text);
    let found = text.map(|text| format!("sha256:{}", hex::encode(Sha256::digest(text))));
    if found.as_ref() != Some(expected) {
        bail!(UserError::new(
            format!(
                "the lock in `{}` is another one than when the image was made: its digest is {}, the label says {expected}",
                subject.path().display(),
                found.as_deref().unwrap_or("unknown")
            ),
            "build the image again",
        ));
    }
    Ok(())
}

fn start_once(runtime: &Runtime, sif: &Path, has_sh: bool) -> anyhow::Result<()> {
    if !has_sh {
        return Ok(());
    }
    let exec = Exec {
        base: sif.to_owned(),
        isolation: Isolation {
            clean_env: true,
            ..Isolation::default()
        },
        // A Python of an environment is started as well, since its libraries may be missing.
        argv: [
            "/bin/sh",
            "-c",
            "test ! -x \"${CONDA_PREFIX-}/bin/python\" || exec python -c 'import sys'",
        ]
        .map(Into::into)
        .into(),
        ..Exec::default()
    };
    let output = runtime
        .exec(&exec)
        .stdin(std::process::Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!(
        "`{}` does not start here ({}):\n{}",
        sif.display(),
        output.status,
        String::from_utf8_lossy(&said).trim()
    )
}
