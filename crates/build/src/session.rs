//! Responsible for the values that every step of a run needs, and for finding the runtime.

use std::{ffi::OsStr, sync::Arc};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::Runtime;

use crate::{
    interrupt::Interrupt, plan::RunSettings, report::Report, runtime_search::RuntimeSearch,
    scratch::Scratch,
};

/// Settings of one run, and its connections to the user.
#[derive(Clone, Copy)]
pub(crate) struct Session<'a> {
    pub(crate) settings: &'a RunSettings,
    /// Value of the user's PATH.
    pub(crate) search_path: &'a OsStr,
    pub(crate) report: &'a Arc<Report>,
    pub(crate) interrupt: &'a Interrupt,
    /// Whether the run only finds out what a build would do.
    is_dry_run: bool,
    /// Search for the runtime, if one was started.
    search: Option<&'a RuntimeSearch>,
}

impl<'a> Session<'a> {
    /// Returns the session of a run; `search_path` is the user's PATH.
    pub(crate) fn new(
        settings: &'a RunSettings,
        search_path: &'a OsStr,
        report: &'a Arc<Report>,
        interrupt: &'a Interrupt,
    ) -> Self {
        report.use_blocks(settings.blocks.as_ref());
        Self {
            settings,
            search_path,
            report,
            interrupt,
            is_dry_run: false,
            search: None,
        }
    }

    /// Returns the session of a run that takes the runtime from this search.
    pub(crate) fn with_search(self, search: &'a RuntimeSearch) -> Self {
        Self {
            search: Some(search),
            ..self
        }
    }

    /// Returns the session of a dry run, whose scratch directory holds only notes.
    pub(crate) fn dry(self) -> Self {
        Self {
            is_dry_run: true,
            ..self
        }
    }

    /// Returns whether the run only finds out what a build would do.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    /// Makes the scratch directory of the run.
    ///
    /// # Errors
    /// Returns any error of [`Scratch::create`], or of [`Scratch::for_notes`] in a dry run.
    pub(crate) fn scratch(&self) -> anyhow::Result<Scratch> {
        if self.is_dry_run {
            return Scratch::for_notes(&self.settings.scratch_parent, self.interrupt);
        }
        Scratch::create(
            &self.settings.scratch_parent,
            self.settings.keep_scratch,
            self.report,
            self.interrupt,
        )
    }

    /// Searches the runtime until the user interrupts the run.
    ///
    /// # Errors
    /// Returns the errors of [`Runtime::find_unless`].
    pub(crate) fn search_runtime(&self) -> condense_installation::Result<Runtime> {
        let named = self.settings.runtime.as_deref();
        Runtime::find_unless(&|| self.report.cancelled(), named, self.search_path)
    }

    /// Searches the runtime for work that can do without one.
    ///
    /// # Errors
    /// Returns an error if the user interrupts the run, or those of [`Runtime::optional`].
    pub(crate) fn find_optional_runtime(&self) -> anyhow::Result<Option<Runtime>> {
        self.optional_runtime(self.search_runtime())
    }

    /// Judges the result of a search for work that can do without a runtime.
    ///
    /// # Errors
    /// Returns an error if the user interrupts the run, or those of [`Runtime::optional`].
    pub(crate) fn optional_runtime(
        &self,
        found: condense_installation::Result<Runtime>,
    ) -> anyhow::Result<Option<Runtime>> {
        let found = Runtime::optional(found);
        if found.is_err() {
            self.refuse_soon_interrupted()?;
        }
        Ok(found?)
    }

    /// Finds the runtime. Without one, the run goes on with a warning if `needs` is empty.
    ///
    /// # Errors
    /// Returns an error if there is no runtime although `needs` names steps that run in a
    /// container, or if the runtime cannot be used.
    pub(crate) fn find_runtime(&self, needs: &[String]) -> anyhow::Result<Option<Runtime>> {
        let found = self.search.and_then(RuntimeSearch::take);
        let found = found.unwrap_or_else(|| self.search_runtime());
        if found.is_err()
            && (self.settings.runtime.is_some() || Runtime::is_on_path(self.search_path))
        {
            // A terminal interrupts the runtime as well, which then tells no version.
            self.refuse_soon_interrupted()?;
        }
        match found {
            Ok(runtime) => {
                let flags = self.settings.rules.flags_of_every_start();
                Ok(Some(runtime.with_flags(flags)))
            }
            Err(condense_installation::Error::NoRuntime) if needs.is_empty() => {
                self.report.warning(
                    "neither apptainer nor singularity is on PATH: the result cannot be started here",
                );
                Ok(None)
            }
            Err(condense_installation::Error::NoRuntime) => bail!(UserError::new(
                format!(
                    "{} must run in a container, and neither apptainer nor singularity is on PATH",
                    needs.join(", ")
                ),
                "load the module of your container runtime; packages that have wheels can do without",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails if the user has interrupted the run.
    ///
    /// # Errors
    /// Returns [`condense_prefix::Error::Interrupted`].
    pub(crate) fn refuse_interrupted(&self) -> anyhow::Result<()> {
        if self.report.cancelled() {
            return Err(condense_prefix::Error::Interrupted.into());
        }
        Ok(())
    }

    /// Fails if the user has interrupted the run, also if the signal is still on its way: a
    /// terminal interrupts the container runtime as well, which may end before the signal is seen
    /// here.
    ///
    /// # Errors
    /// Returns [`condense_prefix::Error::Interrupted`].
    pub(crate) fn refuse_soon_interrupted(&self) -> anyhow::Result<()> {
        std::thread::sleep(std::time::Duration::from_millis(100));
        self.refuse_interrupted()
    }
}
