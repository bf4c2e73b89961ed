//! Responsible for asking a program for its version. A runtime that hangs, or another program with
//! its name, must not keep a build for ever.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::fs::MemfdFlags;

use super::{is_limit, names_limit, strip_colours};
use crate::error::{Error, Result};

/// Time within which a runtime must have told its version. It takes 20 ms from a warm disk.
const LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks at the program.
const PAUSE: Duration = Duration::from_millis(1);
/// Maximum size of the output in bytes. A version is one line.
const OUTPUT_MOST: u64 = 64 << 10;

/// Returns what a program prints for `--version`, or `None` if it fails.
///
/// # Errors
/// Returns [`Error::RuntimeNotStarted`] if a limit of this process keeps the program from starting,
/// [`Error::RuntimeSilent`] if it has not ended after a minute, and [`Error::Io`] if `stopped`
/// returns true before, or if the output finds no place. The program is ended then.
pub(super) fn version_output(program: &Path, stopped: &dyn Fn() -> bool) -> Result<Option<String>> {
    let not_started = |reason: String| Error::RuntimeNotStarted {
        path: program.to_owned(),
        reason,
    };
    let output = match Output::new() {
        Err(error) if is_limit(&error) => return Err(not_started(error.to_string())),
        output => output.map_err(|error| Error::at("run", program, error))?,
    };
    let child = match output.start(program) {
        Ok(child) => child,
        Err(error) if is_limit(&error) => return Err(not_started(error.to_string())),
        Err(_) => return Ok(None),
    };
    let Some(status) = wait(child, &output, program, stopped)? else {
        return Ok(None);
    };
    if status.success() {
        return Ok(Some(text(&output.stdout)));
    }
    let stderr = text(&output.stderr);
    match stderr.lines().find(|line| names_limit(line)) {
        Some(line) => Err(not_started(strip_colours(line.trim()))),
        None => Ok(None),
    }
}

/// Files in memory with the output of a program. Nobody waits for a child of the program that keeps
/// them open, as with pipes.
struct Output {
    stdout: File,
    stderr: File,
}

impl Output {
    fn new() -> std::io::Result<Self> {
        let file = || rustix::fs::memfd_create("version", MemfdFlags::CLOEXEC);
        Ok(Self {
            stdout: file()?.into(),
            stderr: file()?.into(),
        })
    }

    fn start(&self, program: &Path) -> std::io::Result<Child> {
        Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(self.stdout.try_clone()?)
            .stderr(self.stderr.try_clone()?)
            .spawn()
    }

    fn is_too_long(&self) -> bool {
        let size = |file: &File| file.metadata().map_or(0, |found| found.len());
        size(&self.stdout).max(size(&self.stderr)) > OUTPUT_MOST
    }
}

/// Waits for the end of the program. Returns `None` if it cannot be waited for, or prints too much.
fn wait(
    mut child: Child,
    output: &Output,
    program: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        let refusal = match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Err(_) => Ok(None),
            Ok(None) if stopped() => {
                let interrupted = std::io::ErrorKind::Interrupted;
                Err(Error::at("run", program, interrupted))
            }
            Ok(None) if started.elapsed() > LIMIT => Err(Error::RuntimeSilent {
                path: program.to_owned(),
            }),
            Ok(None) if output.is_too_long() => Ok(None),
            Ok(None) => {
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        // The program may have ended meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        return refusal;
    }
}

fn text(file: &File) -> String {
    let length = file.metadata().map_or(0, |found| found.len());
    let length = usize::try_from(length.min(OUTPUT_MOST)).unwrap_or(0);
    let mut bytes = vec![0; length];
    let read = file.read_exact_at(&mut bytes, 0);
    read.map_or_else(
        |_| String::new(),
        |()| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
