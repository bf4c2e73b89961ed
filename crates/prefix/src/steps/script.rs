//! Responsible for parsing the output of a script in the build container: steps, failures,
//! messages, and the last lines of everything else.

use std::{collections::VecDeque, ffi::OsString};

use super::{
    diagnosis::{Diagnosis, diagnose},
    runner::StepRunner,
};
use crate::{
    error::Error,
    progress::{Phase, Progress, Warning},
    secrets::without_secrets,
};

/// Script that runs all steps in the build container.
pub(crate) const RUN_SH: &str = include_str!("run.sh");

/// Number of output lines of a failed step that its error shows.
const SHOWN_LINES: usize = 20;

/// State of the script's output parsed so far.
#[derive(Default)]
pub(super) struct Script {
    step: String,
    output: VecDeque<String>,
    diagnosis: Option<Diagnosis>,
    failed: Option<i32>,
    done: bool,
}

impl Script {
    pub(super) fn line(&mut self, line: &str, progress: &dyn Progress) {
        if let Some(name) = line.strip_prefix("::condense-step ") {
            if !self.step.is_empty() {
                progress.advance(Phase::Run, 1);
            }
            name.clone_into(&mut self.step);
            self.output.clear();
            self.diagnosis = None;
            progress.detail(Phase::Run, name);
        } else if let Some(status) = line.strip_prefix("::condense-failed ") {
            self.failed = status.trim().parse().ok();
        } else if let Some(message) = line.strip_prefix("::condense-message ") {
            let (package, text) = message.split_once(' ').unwrap_or((message, ""));
            progress.warn(Warning::Message {
                package: package.to_owned(),
                text: text.to_owned(),
            });
        } else if let Some(problem) = line.strip_prefix("::condense-problem ") {
            if problem != "No broken requirements found." {
                progress.warn(Warning::PipCheck {
                    problem: problem.to_owned(),
                });
            }
        } else if let Some(reason) = line.strip_prefix("::condense-not-compiled ") {
            progress.warn(Warning::NotCompiled {
                reason: reason.to_owned(),
            });
        } else if line == "::condense-done" {
            self.done = true;
            progress.advance(Phase::Run, 1);
        } else if !line.trim().is_empty() {
            // pip hides most passwords itself. It does not hide tokens in the place of user names,
            // nor the output of the programs that it runs.
            let line = without_secrets(line);
            if self.output.len() == SHOWN_LINES {
                self.output.pop_front();
            }
            if let Some(found) = diagnose(&line) {
                // Later errors are consequences of the first one.
                self.diagnosis.get_or_insert(found);
            }
            progress.output(&line);
            self.output.push_back(line.into_owned());
        }
    }

    /// Returns an error unless all steps were done; `status` is the container's exit status.
    pub(super) fn end(self, status: i32) -> Result<(), Error> {
        if status == 0 && self.done {
            return Ok(());
        }
        let step = if self.step.is_empty() {
            "the build container".to_owned()
        } else {
            self.step
        };
        let mut output = Vec::from(self.output).join("\n");
        if let Some(diagnosis) = &self.diagnosis {
            output.push_str(&format!("\n{}", diagnosis.problem));
        }
        Err(Error::Step {
            step,
            status: self.failed.unwrap_or(status),
            output,
            hint: self.diagnosis.map(|diagnosis| diagnosis.advice),
        })
    }
}

/// Runs one of condense's own scripts, which reports its steps in the form that [`Script`] parses.
pub(crate) fn run_script(
    argv: &[OsString],
    container: &dyn StepRunner,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut script = Script::default();
    let status = container
        .run(argv, &mut |line| script.line(line, progress))
        .map_err(Error::Container)?;
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    script.end(status)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{os::unix::fs::PermissionsExt, process::Command};

    /// Runs `run.sh` with compiling as its only step, and with the script `interpreter` as its
    /// Python. Returns the exit status and the output lines that are meant for condense.
    fn compile_with(interpreter: &str) -> (i32, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["env/bin", "build"] {
            fs_err::create_dir_all(path(name)).unwrap();
        }
        fs_err::write(path("build/compile.list"), "").unwrap();
        fs_err::write(path("run.sh"), super::RUN_SH).unwrap();
        let python = path("env/bin/python");
        fs_err::write(&python, interpreter).unwrap();
        fs_err::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new("/bin/sh")
            .args([path("run.sh"), path("env"), path("build")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let ours = text.lines().filter(|line| line.starts_with("::condense"));
        let ours: Vec<&str> = ours.collect();
        (output.status.code().unwrap(), ours.join("\n"))
    }

    #[test]
    fn an_interpreter_that_does_not_start_here_leaves_sources_uncompiled() {
        let step = "::condense-step compiling Python files";
        let loader = "#!/bin/sh\necho one; echo 'libpython: no such file' >&2; exit 127\n";
        let said =
            format!("{step}\n::condense-not-compiled libpython: no such file\n::condense-done");
        assert_eq!(compile_with(loader), (0, said));
        let said = format!("{step}\n::condense-done");
        assert_eq!(compile_with("#!/bin/sh\n"), (0, said));
        let said = format!("{step}\n::condense-failed 3");
        assert_eq!(compile_with("#!/bin/sh\nexit 3\n"), (1, said));
    }
}
