//! Responsible for the base of a dry run: it is opened if it is on this machine, otherwise its
//! manifest is read.

use std::{path::Path, sync::Arc};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::HostView;
use condense_oci::Reference;
use condense_prefix::{Target, without_secrets};

use super::PreviewedBase;
use crate::{
    open_base::{OpenBase, view_of},
    os_packages,
    plan::{BaseChoice, Overrides, PackageSettings},
    pull::{Located, Pull},
    report::Report,
    session::Session,
    target::{self, BASELINE_GLIBC, BaseSystem},
};

/// A base of a dry run.
pub(crate) enum FoundBase {
    /// A base on this machine.
    Open(Box<OpenBase>),
    /// A base that a build would fetch.
    Remote(RemoteBase),
}

/// A base that a build would fetch. Its files are not known.
pub(crate) struct RemoteBase {
    pub(crate) view: HostView,
    digest: String,
    /// Size in bytes of its layers or its SIF.
    pub(crate) size_bytes: u64,
    pub(crate) download_bytes: u64,
}

impl FoundBase {
    /// Opens the base, or reads its manifest. `notes` is a directory for temporary files.
    ///
    /// # Errors
    /// Returns an error if the base cannot be found or read, or is for another architecture.
    pub(crate) fn find(
        session: Session,
        choice: &BaseChoice,
        epoch: Option<u32>,
        notes: &Path,
    ) -> anyhow::Result<Self> {
        let reference = choice.reference();
        let Reference::Image(source) = Reference::parse(reference)? else {
            let base = OpenBase::open(session, choice, epoch)?;
            return Ok(Self::Open(Box::new(base)));
        };
        let settings = session.settings;
        let pull = Pull::for_a_base(&settings.registries, &settings.scratch_parent, epoch);
        let found = pull.resolve(&source, notes, session.report)?;
        if let Some(path) = found.cached {
            let located = Located {
                path: path.display().to_string(),
                is_cached: true,
                digest: Some(found.digest),
            };
            let base = OpenBase::open_located(session, located, choice)?;
            return Ok(Self::Open(Box::new(base)));
        }
        let host = std::env::consts::ARCH;
        if let Some(found) = found.architecture.filter(|found| found != host) {
            bail!(UserError::new(
                format!(
                    "the base `{}` is for {found}, but this machine is {host}",
                    without_secrets(reference)
                ),
                format!("name a base for {host}, or run this on a {found} machine"),
            ));
        }
        Ok(Self::Remote(RemoteBase {
            view: view_of(choice),
            digest: found.digest,
            size_bytes: found.size_bytes,
            download_bytes: found.download_bytes,
        }))
    }

    /// Returns the base if its files can be read.
    pub(crate) fn open(&self) -> Option<&OpenBase> {
        match self {
            Self::Open(base) => Some(base),
            Self::Remote(_) => None,
        }
    }

    /// Finds the target of environments on this base. The C library of a base that is not here is
    /// taken to be the oldest that conda-forge supports.
    ///
    /// # Errors
    /// Returns an error if there are no packages for its architecture.
    pub(crate) fn target(
        &self,
        overrides: &Overrides,
        report: &Arc<Report>,
    ) -> anyhow::Result<Target> {
        let system = match self {
            Self::Open(base) => BaseSystem::of(&base.facts, base.view),
            Self::Remote(base) => {
                if overrides.glibc.is_none() {
                    report.info(format!(
                        "the base image is not here, so its C library is not known: solved for glibc {BASELINE_GLIBC}"
                    ));
                }
                BaseSystem {
                    architecture: None,
                    glibc: Some(BASELINE_GLIBC),
                    view: base.view,
                }
            }
        };
        target::target(system, overrides, report)
    }

    /// Returns the number of bytes that a build would download for the base.
    pub(crate) fn download_bytes(&self) -> u64 {
        match self {
            Self::Open(_) => 0,
            Self::Remote(base) => base.download_bytes,
        }
    }

    /// Returns the number of bytes of layers that become a SIF.
    pub(crate) fn size_to_convert(&self) -> u64 {
        match self {
            Self::Open(_) => 0,
            Self::Remote(base) => base.size_bytes,
        }
    }

    /// Returns the version of the base's Python, if it is known.
    pub(crate) fn python_version(&self) -> Option<String> {
        self.open()?.facts.python.as_ref()?.version.clone()
    }

    /// Returns the steps that put the base on this machine.
    pub(crate) fn steps(&self) -> Vec<String> {
        match self {
            Self::Open(_) => Vec::new(),
            Self::Remote(_) => vec!["fetch the base image and write its SIF".to_owned()],
        }
    }

    /// Returns the step that installs packages of the base's distribution, if there are any.
    ///
    /// # Errors
    /// Returns an error if it is known that they cannot be installed.
    pub(crate) fn os_packages_step(
        &self,
        wanted: &[String],
        packages: &PackageSettings,
    ) -> anyhow::Result<Option<String>> {
        os_packages::check_network(wanted, packages)?;
        match self {
            Self::Open(base) => base.os_packages_step(wanted, packages),
            Self::Remote(_) if wanted.is_empty() => Ok(None),
            Self::Remote(_) => Ok(Some(os_packages::step(wanted, "its package manager"))),
        }
    }

    /// Returns the base as the preview shows it.
    pub(crate) fn shown(&self, reference: &str, target: Option<&Target>) -> PreviewedBase {
        let (path, manifest_digest) = match self {
            Self::Open(base) => (Some(base.path().to_owned()), base.manifest_digest.clone()),
            Self::Remote(base) => (None, Some(base.digest.clone())),
        };
        PreviewedBase {
            reference: without_secrets(reference).into_owned(),
            path,
            manifest_digest,
            download_bytes: self.download_bytes(),
            glibc: target.and_then(|target| target.glibc.clone()),
        }
    }
}
