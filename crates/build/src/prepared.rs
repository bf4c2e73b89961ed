//! Responsible for a run that is ready to work: its base is open, its runtime is found, and its
//! scratch directory is made.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context;
use condense_installation::Runtime;
use condense_prefix::BUILD_DIR;

use crate::{
    check::CheckContext,
    container::{Container, Mounted},
    open_base::OpenBase,
    scratch::Scratch,
    session::Session,
};

/// A run that is ready to work.
pub(crate) struct Prepared<'a> {
    pub(crate) session: Session<'a>,
    pub(crate) base: OpenBase,
    /// The container runtime, if there is one.
    pub(crate) runtime: Option<Runtime>,
    pub(crate) scratch: Scratch,
}

impl<'a> Prepared<'a> {
    /// Finds the runtime, makes scratch and checks the base, in this order. `needs` names the
    /// steps that must run in a container.
    ///
    /// # Errors
    /// Returns an error if a runtime is needed and missing, if scratch cannot be made, or if the
    /// base has a finding that is not allowed.
    pub(crate) fn open(
        session: Session<'a>,
        base: OpenBase,
        needs: &[String],
    ) -> anyhow::Result<Self> {
        let runtime = session.find_runtime(needs)?;
        let scratch = session.scratch()?;
        base.check_context(session).check_base()?;
        Ok(Self {
            session,
            base,
            runtime,
            scratch,
        })
    }

    /// Returns the base and the site for the checks of this run.
    pub(crate) fn check_context(&self) -> CheckContext<'_> {
        self.base.check_context(self.session)
    }

    /// Returns a container whose steps pip asks no questions and that shows no further paths, or
    /// `None` if there is no runtime.
    pub(crate) fn container<'b>(
        &'b self,
        mounted: Mounted<'b>,
        mount_point: &'b Path,
        build_dir: PathBuf,
    ) -> Option<Container<'b>> {
        Some(Container {
            shown: Vec::new(),
            runtime: self.runtime.as_ref()?,
            base: self.base.path(),
            view: self.base.view,
            mounted,
            mount_point,
            build_dir,
            steps_at: None,
            build_env: &self.session.settings.build_env,
            checks: None,
            report: self.session.report,
        })
    }

    /// Starts the runtime with `root` at the mount point, exactly as the steps will need it, and
    /// returns the variables that the base sets. They are empty if there is no runtime.
    ///
    /// # Errors
    /// Returns an error if the runtime cannot start.
    pub(crate) fn probe(
        &self,
        root: &Path,
        mount_point: &Path,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let build_dir = root.join(BUILD_DIR);
        let Some(container) = self.container(Mounted::Directory(root), mount_point, build_dir)
        else {
            return Ok(BTreeMap::new());
        };
        let probed = container.probe();
        if probed.is_err() {
            self.session.refuse_soon_interrupted()?;
        }
        let variables = probed.with_context(|| {
            format!(
                "cannot use `{}` with `{}`",
                self.base.path().display(),
                container.runtime.program().display()
            )
        })?;
        Ok(variables.into_iter().collect())
    }
}
