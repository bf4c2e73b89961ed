//! Responsible for dry runs: everything that can be known about a build before anything is
//! downloaded or made. The base is opened or resolved, the environment is solved, and the checks
//! that need no files run. Nothing is written but the caches of indices and of pip or uv; notes in
//! scratch are removed at the end, and no container is started.

mod base;
mod display;
mod estimate;
mod installation;
mod packages;
mod pip;

use std::path::PathBuf;

use condense_check::Finding;
use condense_image::Compression;
use serde::Serialize;

use crate::report::Report;
pub(crate) use base::FoundBase;
pub(crate) use estimate::{Amounts, Estimate, Step};
pub use installation::preview_build;
pub(crate) use packages::{Solved, solve};
pub(crate) use pip::{PipQuestion, PythonVersion, resolve};

/// Returns a number with its noun in the plural where that is needed.
pub(crate) fn count_of(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Result of a dry run.
#[derive(Debug, Serialize)]
pub struct Preview {
    /// File or directory that the build would make or change.
    pub output: PathBuf,
    /// Path at which the image would be mounted, if it is.
    pub mount_point: Option<PathBuf>,
    /// Base image of the result.
    pub base: PreviewedBase,
    /// Platform and virtual packages for which the environment was solved.
    pub target: Option<String>,
    /// Packages of conda, sorted by name.
    pub packages: Vec<PreviewedPackage>,
    /// Changes of the conda packages of an installation, sorted by name.
    pub changes: Vec<PreviewedChange>,
    /// Packages of pip, sorted by name, as far as they are known.
    pub pip: Vec<PreviewedPip>,
    /// Source of the packages of pip: `lock`, `uv` or `pip`. `None` if the build resolves them.
    pub pip_resolved_by: Option<&'static str>,
    /// Requirements for pip that only the build resolves, without credentials.
    pub pip_lines: Vec<String>,
    /// Reason why only the build can resolve them.
    pub pip_unresolved: Option<String>,
    /// Number of bytes that are not on this machine yet: of the base, of conda and of pip.
    pub download_bytes: u64,
    /// Estimated size of the image in bytes, if one is made.
    pub image_bytes: Option<u64>,
    /// Estimated time of the build in seconds.
    pub seconds: u64,
    /// Findings that would not end the build.
    pub findings: Vec<Finding>,
    /// Parts of the build in their order.
    pub steps: Vec<String>,
    /// Description of the plan, as lines of titles and values.
    #[serde(skip)]
    plan: String,
    /// Codec and level of the image.
    compression: Option<String>,
}

/// Base image of a dry run.
#[derive(Debug, Serialize)]
pub struct PreviewedBase {
    /// Reference as the user or the site named it.
    pub reference: String,
    /// Path of the base if it is on this machine.
    pub path: Option<PathBuf>,
    /// Digest of the manifest of an image in a registry or an archive.
    pub manifest_digest: Option<String>,
    /// Number of bytes that would be downloaded.
    pub download_bytes: u64,
    /// Version of the GNU C library that was solved for.
    pub glibc: Option<String>,
}

/// A package of conda that would be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewedPackage {
    /// Name of the package.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// Build string of the package.
    pub build: String,
    /// URL of the channel, without credentials.
    pub channel: String,
    /// Size of the archive in bytes, if the channel gives it.
    pub size: Option<u64>,
    /// Whether the archive is on this machine already.
    pub cached: bool,
}

/// Change of a conda package of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewedChange {
    /// Kind: `install`, `upgrade`, `downgrade`, `rebuild` or `remove`.
    pub change: &'static str,
    /// Name of the package.
    pub name: String,
    /// Version and build that are installed; `None` for a package that comes.
    pub from: Option<String>,
    /// Version and build afterwards; `None` for a package that goes.
    pub to: Option<String>,
}

/// A package of pip that would be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewedPip {
    /// Name of the project.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// Size of the wheel in bytes, if it is known.
    pub size: Option<u64>,
}

/// Parts of a preview that all builders have.
pub(crate) struct Parts {
    pub(crate) output: PathBuf,
    pub(crate) mount_point: Option<PathBuf>,
    pub(crate) base: PreviewedBase,
    pub(crate) plan: String,
    pub(crate) target: Option<String>,
    pub(crate) packages: Vec<PreviewedPackage>,
    pub(crate) pip: Resolved,
    pub(crate) estimate: Estimate,
    pub(crate) steps: Vec<String>,
    pub(crate) compression: Option<Compression>,
}

/// Packages of pip, as far as they are known before a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) packages: Vec<PreviewedPip>,
    pub(crate) by: Option<&'static str>,
    pub(crate) lines: Vec<String>,
    pub(crate) reason: Option<String>,
}

impl Resolved {
    /// Returns the number of bytes of all wheels whose size is known.
    pub(crate) fn bytes(&self) -> u64 {
        self.packages
            .iter()
            .filter_map(|package| package.size)
            .sum()
    }

    /// Returns the part of the step list, if pip has anything to do.
    pub(crate) fn step(&self, installer: &str) -> Option<String> {
        match (self.packages.len(), self.lines.len()) {
            (0, 0) => None,
            (0, lines) => {
                let lines = count_of(lines, "line");
                Some(format!("{installer} resolves and installs {lines}"))
            }
            (packages, _) => {
                let packages = count_of(packages, "package");
                Some(format!("{installer} installs {packages}"))
            }
        }
    }
}

impl Preview {
    pub(crate) fn new(parts: Parts, report: &Report) -> Self {
        let Parts {
            output,
            mount_point,
            base,
            plan,
            target,
            mut packages,
            mut pip,
            estimate,
            steps,
            compression,
        } = parts;
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        pip.packages.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            output,
            mount_point,
            base,
            target,
            packages,
            changes: Vec::new(),
            pip: pip.packages,
            pip_resolved_by: pip.by,
            pip_lines: pip.lines,
            pip_unresolved: pip.reason,
            download_bytes: estimate.download_bytes,
            image_bytes: compression.map(|_| estimate.image_bytes),
            seconds: estimate.seconds,
            findings: report.findings(),
            steps,
            plan,
            compression: compression.map(|compression| compression.to_string()),
        }
    }
}
