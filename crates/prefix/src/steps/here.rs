//! Responsible for pip without a container: wheels only, by the environment's own interpreter on this machine.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    interpreter,
    pip::{PIP_SH, Purpose},
    script::Script,
};
use crate::{error::Error, install::Prefix, progress::Progress};

const PIP_HERE_PY: &str = include_str!("pip_here.py");

impl Prefix {
    /// Installs pip's part with nothing but this machine.
    ///
    /// # Errors
    /// [`Error::NeedsContainer`] where something has to be built, or where the interpreter does not start here;
    /// [`Error::Step`], [`Error::Io`], [`Error::Interrupted`].
    pub(super) fn pip_here(&self, progress: &dyn Progress) -> Result<(), Error> {
        let refused = |what: String| Error::NeedsContainer { what };
        let to_build = self.pip.not_wheels();
        if !to_build.is_empty() {
            return Err(refused(format!("`{}`", to_build.join("`, `"))));
        }
        let python = self
            .python
            .map(|python| interpreter(&self.place, python))
            .ok_or_else(|| refused("pip requirements without Python".to_owned()))?;
        let starts = Command::new(&python)
            .args(["-I", "-S", "-c", "0"])
            .stdin(Stdio::null())
            .output();
        if !starts.is_ok_and(|output| output.status.success()) {
            return Err(refused(
                "pip, whose Python does not start on this machine,".to_owned(),
            ));
        }
        self.pip
            .write_inputs(&self.place, Purpose::InstallHere, false)?;
        let build_dir = self.place.build_dir();
        let write = |name: &str, text: &str| {
            let path = build_dir.join(name);
            fs_err::write(&path, text).map_err(Error::io("write", &path))?;
            Ok::<_, Error>(path)
        };
        let script = write("pip.sh", PIP_SH)?;
        let here = write("pip_here.py", PIP_HERE_PY)?;
        let tmp = build_dir.join("tmp");
        fs_err::create_dir_all(&tmp).map_err(Error::io("create", &tmp))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec 2>&1; exec /bin/sh \"$@\"", "sh"])
            .arg(&script)
            .arg(self.place.scratch_env())
            .arg(&build_dir)
            .arg(&here)
            .arg(
                self.place
                    .mounted_env()
                    .join("bin")
                    .join(python.file_name().unwrap_or_default()),
            )
            .arg(self.glibc.as_deref().unwrap_or_default())
            .env("TMPDIR", &tmp)
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut said = Script::default();
        said.line("::condense-step pip install", progress);
        let status = run(&mut command, &script, &mut |line| {
            said.line(line, progress);
            !progress.cancelled()
        })?;
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        if status == 0 {
            said.line("::condense-done", progress);
        }
        said.end(status)
    }
}

/// Gives each line to `line`, which says whether to go on.
fn run(
    command: &mut Command,
    script: &Path,
    line: &mut dyn FnMut(&str) -> bool,
) -> Result<i32, Error> {
    let mut child = command.spawn().map_err(Error::io("run", script))?;
    let output = child.stdout.take().expect("its output is a pipe");
    for text in BufReader::new(output).split(b'\n') {
        let text = text.map_err(Error::io("read the output of", script))?;
        if !line(String::from_utf8_lossy(&text).trim_end_matches('\r')) {
            // It may have ended by itself, which is what is wanted.
            let _ = child.kill();
        }
    }
    let status = child.wait().map_err(Error::io("wait for", script))?;
    Ok(status.code().unwrap_or(1))
}
