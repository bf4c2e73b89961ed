//! Responsible for parsing the output of a script in the build container: steps, failures,
//! messages, and the last lines of everything else.

use std::{collections::VecDeque, ffi::OsString, path::PathBuf};

use condense_diagnostics::{Shortage, note_usage};

use super::{
    beside::WHOLE,
    diagnosis::{Diagnosis, diagnose},
    failure::{
        PipContext, begins_failure, explain_pip_failure, goes_on, hint_for_status, is_retry,
        missing_requirement, reason_of_retry, shortened,
    },
    pip_progress::PipProgress,
    runner::{Refusal, StepRunner},
    why,
};
use crate::{
    error::Error,
    progress::{Phase, Progress, Warning},
    python::Python,
    secrets::without_secrets,
    target::Place,
};

/// Script that runs all steps in the build container.
pub(crate) const RUN_SH: &str = include_str!("run.sh");

/// Name of the step that runs pip or uv.
pub(super) const PIP_STEP: &str = "pip install";
/// Number of output lines of a failed step that its error shows.
const SHOWN_LINES: usize = 20;
/// Words of the system for a file that cannot be written in a read-only file system.
const READ_ONLY: [&str; 2] = ["Read-only file system", "[Errno 30]"];
/// Maximum size of the output that is kept for the log of a failed step, in bytes.
const KEPT_BYTES: usize = 8 << 20;

/// State of the script's output parsed so far.
#[derive(Default)]
pub(super) struct Script {
    step: String,
    /// Last lines of the step, [`KEPT_BYTES`] at most.
    output: VecDeque<String>,
    output_bytes: usize,
    /// Lines with which pip ends after an error. They are shown if the step goes on, and dropped
    /// if its error explains them.
    withheld: Vec<String>,
    pip: PipProgress,
    diagnosis: Option<Diagnosis>,
    failed: Option<i32>,
    done: bool,
    /// Directory of the steps' files.
    dir: Option<PathBuf>,
}

impl Script {
    /// Returns the state before the first line of a script whose files are in `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir: Some(dir),
            ..Self::default()
        }
    }

    pub(super) fn line(&mut self, line: &str, progress: &dyn Progress) {
        if line.starts_with("::condense-") && !line.starts_with("::condense-failed ") {
            self.show_withheld(progress);
        }
        if let Some(name) = line.strip_prefix("::condense-step ") {
            if !self.step.is_empty() {
                progress.advance(Phase::Run, 1);
            }
            name.clone_into(&mut self.step);
            self.output.clear();
            self.output_bytes = 0;
            self.pip = PipProgress::default();
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
            self.output_line(&without_secrets(line), progress);
        }
    }

    /// Takes a line that is output of a program.
    fn output_line(&mut self, line: &str, progress: &dyn Progress) {
        let activity = self.pip.activity(line);
        if self.step == PIP_STEP && PipProgress::is_only_progress(line) {
            // Several such lines come each second.
            if let Some(text) = activity {
                progress.activity(&text);
            }
            return;
        }
        if let Some(found) = diagnose(line) {
            // Later errors are consequences of the first one.
            self.diagnosis.get_or_insert(found);
        }
        if let (Some(_), Some(dir)) = (Shortage::in_text(line), &self.dir) {
            // pip removes its temporary files before it ends.
            note_usage(dir);
        }
        if goes_on(line) {
            self.show_withheld(progress);
        }
        let begins = self.step == PIP_STEP && begins_failure(line);
        if begins || !self.withheld.is_empty() {
            self.withheld.push(line.to_owned());
        } else if let Some(reason) = is_retry(line).then(|| reason_of_retry(line)) {
            progress.output(&format!("pip tries a server again: {reason}"));
        } else {
            progress.output(&shortened(line));
        }
        if let Some(text) = activity {
            progress.activity(&text);
        }
        self.output_bytes += line.len();
        self.output.push_back(line.to_owned());
        while self.output_bytes > KEPT_BYTES {
            let dropped = self.output.pop_front();
            self.output_bytes -= dropped.map_or(0, |line| line.len());
        }
    }

    fn show_withheld(&mut self, progress: &dyn Progress) {
        for line in self.withheld.drain(..) {
            progress.output(&shortened(&line));
        }
    }

    /// Returns the requirement for which pip has found nothing at all, if that is why it failed.
    pub(super) fn missing_requirement(&self) -> Option<String> {
        let lines: Vec<&str> = self.output.iter().map(String::as_str).collect();
        let is_pip = self.step == PIP_STEP && !self.done;
        is_pip.then(|| missing_requirement(&lines)).flatten()
    }

    /// Returns an error like [`Self::end`]. If pip has found nothing for a requirement, it is asked
    /// why in the container, with the command line of the script.
    fn end_of_pip(
        self,
        status: i32,
        (argv, container, place): (&[OsString], &dyn StepRunner, &Place),
        python: Option<&Python>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut context = PipContext {
            python: python.map(|python| format!("{}.{}", python.major, python.minor)),
            ..PipContext::default()
        };
        if let Some(requirement) = self.missing_requirement() {
            context.log = why::ask(&requirement, argv, container, place)?;
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
        }
        self.end(status, context, progress)
    }

    /// Returns an error unless all steps were done; `status` is the container's exit status, and
    /// `context` what is known about the environment.
    pub(super) fn end(
        mut self,
        status: i32,
        mut context: PipContext,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        if status == 0 && self.done {
            return Ok(());
        }
        let status = self.failed.unwrap_or(status);
        context.dir.clone_from(&self.dir);
        let is_pip = self.step == PIP_STEP;
        let step = if self.step.is_empty() {
            "the build container".to_owned()
        } else {
            std::mem::take(&mut self.step)
        };
        let lines: Vec<&str> = self.output.iter().map(String::as_str).collect();
        if let Some(failure) = is_pip
            .then(|| explain_pip_failure(&lines, &context))
            .flatten()
        {
            let log = failure.needs_log.then(|| progress.keep_log(&step, &lines));
            if log == Some(None) {
                self.withheld.iter().for_each(|line| progress.output(line));
            }
            return Err(Error::Step {
                step,
                status,
                reason: Some(failure.problem.into()),
                output: failure.details.join("\n"),
                log: log.flatten().map(Into::into),
                hint: failure.advice,
            });
        }
        self.withheld
            .iter()
            .for_each(|line| progress.output(&shortened(line)));
        let from = lines.len().saturating_sub(SHOWN_LINES);
        let last = &lines[from..];
        // A script that calls pip fails for the reason in its last lines, if there is one.
        let of_pip = explain_pip_failure(last, &context).and_then(|failure| failure.advice);
        let log = (from > 0)
            .then(|| progress.keep_log(&step, &lines))
            .flatten();
        let last: Vec<String> = last.iter().map(|line| shortened(line)).collect();
        let mut output = last.join("\n");
        if let Some(diagnosis) = &self.diagnosis {
            output.push_str(&format!("\n{}", diagnosis.problem));
        }
        let hint = hint_for_status(status, self.dir.as_deref());
        let hint = hint.or_else(|| self.diagnosis.take().map(|diagnosis| diagnosis.advice));
        Err(Error::Step {
            step,
            status,
            reason: None,
            output,
            log: log.map(Into::into),
            hint: hint.or(of_pip),
        })
    }
}

/// Runs a script like [`run_script`] in a container that may not be able to run. Returns the reason
/// if the script has not begun its first step.
pub(super) fn try_script(
    argv: &[OsString],
    container: &dyn StepRunner,
    place: &Place,
    progress: &dyn Progress,
) -> Result<Result<(), String>, Error> {
    match begin(argv, container, place, progress)? {
        Ok((script, status)) => script.end(status, PipContext::default(), progress).map(Ok),
        Err(reason) => Ok(Err(reason)),
    }
}

/// Runs a script like [`run_script`] in a container that may not be able to run, and in which the
/// environment cannot be written. Returns the reason if the script needs another container; the
/// lines of an error that has ended pip are not shown then.
pub(crate) fn try_pip(
    argv: &[OsString],
    container: &dyn StepRunner,
    place: &Place,
    python: Option<&Python>,
    progress: &dyn Progress,
) -> Result<Result<(), Refusal>, Error> {
    let (script, status) = match begin(argv, container, place, progress)? {
        Ok(begun) => begun,
        Err(reason) => return Ok(Err(Refusal::Mount(reason))),
    };
    if let Some(reason) = place.open_build_dir()?.read_text(WHOLE)? {
        return Ok(Err(Refusal::Pip(reason.trim().to_owned())));
    }
    let is_read_only = |line: &String| READ_ONLY.iter().any(|words| line.contains(words));
    if !script.done && script.output.iter().any(is_read_only) {
        let reason = "it wants to write into the environment".to_owned();
        return Ok(Err(Refusal::Pip(reason)));
    }
    let of = (argv, container, place);
    script.end_of_pip(status, of, python, progress).map(Ok)
}

/// Runs a script to its end. Returns it with the exit status, or the reason if it has not begun its
/// first step.
fn begin(
    argv: &[OsString],
    container: &dyn StepRunner,
    place: &Place,
    progress: &dyn Progress,
) -> Result<Result<(Script, i32), String>, Error> {
    let mut script = Script::new(place.build_dir());
    let ended = container.run(argv, &mut |line| script.line(line, progress));
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    if script.step.is_empty() && !script.done {
        let last = script.output.pop_back();
        return Ok(Err(match ended {
            Err(error) => error.to_string(),
            Ok(status) => last.unwrap_or_else(|| format!("exit status {status}")),
        }));
    }
    Ok(Ok((script, ended.map_err(Error::Container)?)))
}

/// Runs one of condense's own scripts for the environment at `place`. The script reports its steps
/// in the form that [`Script`] parses.
pub(crate) fn run_script(
    argv: &[OsString],
    container: &dyn StepRunner,
    place: &Place,
    python: Option<&Python>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut script = Script::new(place.build_dir());
    let status = container
        .run(argv, &mut |line| script.line(line, progress))
        .map_err(Error::Container)?;
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    script.end_of_pip(status, (argv, container, place), python, progress)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{os::unix::fs::PermissionsExt, process::Command, sync::Mutex, time::Duration};

    use condense_diagnostics::Hint as _;

    use super::*;

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

    /// Listener that keeps the lines and the log.
    #[derive(Default)]
    struct Heard {
        lines: Mutex<Vec<String>>,
        log: Mutex<Vec<String>>,
    }

    impl Progress for Heard {
        fn begin(&self, _: Phase, _: Option<u64>) {}
        fn advance(&self, _: Phase, _: u64) {}
        fn detail(&self, _: Phase, _: &str) {}
        fn output(&self, line: &str) {
            self.lines.lock().unwrap().push(line.to_owned());
        }
        fn end(&self, _: Phase, _: Duration) {}
        fn cancelled(&self) -> bool {
            false
        }
        fn warn(&self, _: Warning) {}
        fn keep_log(&self, _: &str, lines: &[&str]) -> Option<PathBuf> {
            let lines = lines.iter().map(|line| (*line).to_owned());
            *self.log.lock().unwrap() = lines.collect();
            Some("/logs/step.log".into())
        }
    }

    /// Runs a step with these lines and this status. Returns the lines that are shown on the way,
    /// and the error.
    fn fails(step: &str, text: &str, status: i32) -> (Vec<String>, Error) {
        let heard = Heard::default();
        let mut script = Script::new("/proc".into());
        script.line(&format!("::condense-step {step}"), &heard);
        for line in text.lines() {
            script.line(line, &heard);
        }
        script.line(&format!("::condense-failed {status}"), &heard);
        let error = script.end(1, PipContext::default(), &heard).unwrap_err();
        (heard.lines.into_inner().unwrap(), error)
    }

    /// Row B16: the lines with which pip ends are said in the error alone, and in short.
    #[test]
    fn a_failure_of_pip_is_said_once() {
        let versions: Vec<String> = (0..170).map(|n| format!("1.{n}")).collect();
        let text = format!(
            "Collecting pebble>=9\nERROR: Could not find a version that satisfies the requirement \
             pebble>=9 (from versions: {})\nERROR: No matching distribution found for pebble>=9",
            versions.join(", ")
        );
        let (shown, error) = fails(PIP_STEP, &text, 1);
        assert_eq!(shown, ["Collecting pebble>=9"]);
        let told = error.to_string();
        assert!(
            told.starts_with("pip install failed: no version of `pebble`"),
            "{told}"
        );
        assert!(told.len() < 200 && !told.contains('\n'), "{told}");
        // A script may go on after an error of pip, so its lines are shown as they come.
        let (shown, error) = fails("the post-install script x.sh", &text, 3);
        assert_eq!(shown.len(), 3);
        assert!(shown.iter().all(|line| line.len() < 200), "{shown:?}");
        let told = error.to_string();
        assert!(told.contains("x.sh failed with exit status 3"), "{told}");
        assert!(told.len() < 500, "{told}");
    }

    /// Row B16: an error of pip that does not end it is shown when pip goes on.
    #[test]
    fn lines_are_shown_if_pip_goes_on_after_an_error() {
        let text = "ERROR: pip's dependency resolver does not take into account x\n  x 1 needs y\n\
                    Successfully installed z-1\nmore";
        let (shown, error) = fails("pip install", text, 1);
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert!(error.to_string().contains("pip"), "{error}");
    }

    /// Row B28: a program that the limit on files has ended is told with the limit.
    #[test]
    fn a_step_that_the_limit_on_files_has_ended_names_the_limit() {
        for (text, status) in [
            ("compiling", 153),
            ("OSError: [Errno 27] File too large: 'x'", 1),
            ("x.sh: line 3: 17 File size limit exceeded", 1),
        ] {
            let (_, error) = fails("the post-install script x.sh", text, status);
            let hint = error.hint().unwrap_or_default();
            let is_named = hint.contains("`ulimit -f unlimited`") || hint.contains("of this size");
            assert!(is_named, "{text}: {hint}");
        }
    }

    /// Row B16: long output is in a file, and the error names it.
    #[test]
    fn the_output_of_a_failed_build_is_kept() {
        let lines: Vec<String> = (0..300).map(|n| format!("      line {n}")).collect();
        let text = format!(
            "Processing ./cext\n  error: subprocess-exited-with-error\n  \n  \
             × Building wheel for cext (pyproject.toml) did not run successfully.\n  │ exit code: 1\n  \
             ╰─> [300 lines of output]\n{}\n      [end of output]\nERROR: Failed building wheel for cext\n",
            lines.join("\n")
        );
        let (shown, error) = fails("pip install", &text, 1);
        assert_eq!(shown, ["Processing ./cext"]);
        let told = error.to_string();
        assert!(told.contains("`cext` cannot be built"), "{told}");
        assert!(
            told.contains("line 299") && !told.contains("line 200"),
            "{told}"
        );
        assert!(
            told.ends_with("all of its output is in `/logs/step.log`"),
            "{told}"
        );
    }
}
