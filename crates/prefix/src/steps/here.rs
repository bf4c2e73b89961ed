//! Responsible for running pip without a container: only for wheels, and with the environment's own
//! interpreter on this machine.

use std::{
    ffi::OsString,
    process::{Command, Stdio},
};

use super::{
    BuildContainer, interpreter,
    pip::{PIP_SH, Purpose},
    script::Script,
};
use crate::{error::Error, install::Prefix, progress::Progress};

/// Command that starts pip isolated from the user's own Python.
const HERE_SH: &str = "export TMPDIR=\"$1\" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1; unset PYTHONPATH PYTHONHOME; \
                       shift; exec 2>&1; exec /bin/sh \"$@\"";
const PIP_HERE_PY: &str = include_str!("pip_here.py");

impl Prefix {
    /// Installs the pip requirements directly on this machine, on which `runner` starts programs.
    ///
    /// # Errors
    /// Returns [`Error::NeedsContainer`] if a package has to be built, or if the interpreter does
    /// not start on this machine; [`Error::Step`] if pip fails; [`Error::Container`],
    /// [`Error::Io`], or [`Error::Interrupted`].
    pub(super) fn pip_here(
        &self,
        runner: &dyn BuildContainer,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let refused = |what: String| Error::NeedsContainer { what };
        let to_build = self.pip.not_wheels();
        if !to_build.is_empty() {
            return Err(refused(format!("`{}`", to_build.join("`, `"))));
        }
        let python = self
            .python
            .as_ref()
            .map(|python| interpreter(&self.place, python))
            .ok_or_else(|| refused("pip requirements without Python".to_owned()))?;
        let starts = Command::new(&python)
            .args(["-E", "-s", "-S", "-c", "0"])
            .stdin(Stdio::null())
            .output();
        if !starts.is_ok_and(|output| output.status.success()) {
            return Err(refused(
                "pip, whose Python does not start on this machine,".to_owned(),
            ));
        }
        self.pip
            .write_inputs(&self.place, Purpose::InstallHere, false)?;
        let within = self.place.open_build_dir()?;
        let write = |name: &str, text: &str| {
            within.write(name, text)?;
            Ok::<_, Error>(within.path(name))
        };
        let script = write("pip.sh", PIP_SH)?;
        let here = write("pip_here.py", PIP_HERE_PY)?;
        let tmp = within.make_own_dir("tmp")?.path("");
        let mut argv: Vec<OsString> = ["/bin/sh", "-c", HERE_SH, "sh"].map(Into::into).into();
        argv.extend([tmp, script, self.place.scratch_env(), within.path(""), here].map(Into::into));
        let name = python.file_name().unwrap_or_default();
        argv.push(self.place.mounted_env().join("bin").join(name).into());
        argv.push(self.glibc.clone().unwrap_or_default().into());
        let mut said = Script::default();
        said.line("::condense-step pip install", progress);
        let status = runner
            .run(&argv, &mut |line| said.line(line, progress))
            .map_err(Error::Container)?;
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        if status == 0 {
            said.line("::condense-done", progress);
        }
        said.end(status)
    }
}
