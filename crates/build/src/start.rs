//! Responsible for the containers in which a start is recorded. Nothing of a start can write into
//! the environment there, whatever programs it runs.

use std::{ffi::OsString, path::PathBuf};

use condense_prefix::{Place, Start, StartFiles, StepRunner};

use crate::{
    build::Build,
    container::{Container, Mounted},
    report::Phase,
};

/// Directory in scratch of the inputs and results of a start on files.
const DIR: &str = "start";

type StepError = Box<dyn std::error::Error + Send + Sync>;

/// Container with something that is read-only at the mount point, and nothing of scratch but a
/// directory of steps.
pub(crate) struct StartContainer<'a> {
    pub(crate) build: &'a Build<'a>,
    /// Place of the environment.
    pub(crate) place: &'a Place,
    /// Place whose root has nothing but the directory of steps.
    pub(crate) beside: &'a Place,
    pub(crate) mounted: Mounted<'a>,
}

impl StepRunner for StartContainer<'_> {
    fn run(&self, argv: &[OsString], line: &mut dyn FnMut(&str)) -> Result<i32, StepError> {
        let (prepared, dir) = (&self.build.prepared, self.beside.build_dir());
        let container = prepared.container(self.mounted, &self.place.mount_point, dir.clone());
        let container = container.ok_or("there is no container runtime")?;
        let shown: Vec<PathBuf> = [vec![dir], self.build.interpreter_tree()].concat();
        Container { shown, ..container }.run(argv, line)
    }
}

impl Build<'_> {
    /// Makes a start in a container that shows the files of the environment. Its failure is a part
    /// of the result.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be written.
    pub(crate) fn record_on_files(
        &self,
        start: &Start,
        place: &Place,
    ) -> anyhow::Result<StartFiles> {
        let report = self.report();
        let beside = Place {
            root: self.scratch().join(DIR),
            ..place.clone()
        };
        fs_err::create_dir(&beside.root)?;
        if self.venv.is_some() {
            beside.open_build_dir()?.write("venv", "")?;
        }
        let container = StartContainer {
            build: self,
            place,
            beside: &beside,
            mounted: Mounted::ReadOnlyDirectory(&place.root),
        };
        let phase = Phase::Prefix(condense_prefix::Phase::Start);
        report.begin(phase, None);
        let recorded = start.record(&beside, &container, &**report)?;
        report.end(phase);
        Ok(recorded.unwrap_or_else(StartFiles::failed))
    }
}
