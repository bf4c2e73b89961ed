//! Responsible for the processes between a build and a script that runs as root in a file system of
//! its own. All are this program, started again:
//!
//! 1. `launch` leaves the user's terminal, asks the kernel to end it together with the build, and
//!    turns into `unshare`, which makes the namespaces.
//! 2. `inside` is the first process of the namespaces. It mounts what programs expect, makes the
//!    directory its root, gives up what a script must not have, and runs the script. When it ends,
//!    the kernel ends every other process of the namespaces.
//!
//! `session` leaves the terminal for a container runtime or proot, and turns into that program.

mod filter;
mod mounts;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use rustix::process::{Signal, WaitOptions};
use serde::{Deserialize, Serialize};

/// First argument of a process that is started for a script.
pub(super) const ARGUMENT: &str = "__root-script";
/// Name of the step that makes a session for another program.
const SESSION: &str = "session";
/// Status of a process that could not start the script.
pub(super) const NOT_STARTED: u8 = 125;

/// Returns the command that runs a program in a session of its own, with the same arguments,
/// variables and working directory. With `is_clean`, it has only the variables of `inner`.
pub(super) fn in_session(inner: &Command, is_clean: bool) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args([ARGUMENT, SESSION]);
    command.arg(inner.get_program()).args(inner.get_args());
    if let Some(dir) = inner.get_current_dir() {
        command.current_dir(dir);
    }
    if is_clean {
        command.env_clear();
    }
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(command)
}

/// Everything that the processes need to know, written to a file of the build.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Program that makes namespaces.
    pub(super) unshare: PathBuf,
    /// Whether to make a user namespace, in which the user counts as root.
    pub(super) user_namespace: bool,
    /// Directory that becomes the root.
    pub(super) root: PathBuf,
    /// File outside the root for the reason why the script was not started.
    pub(super) failure: PathBuf,
    /// Paths of this machine with the paths at which they are mounted in the root, which exist.
    pub(super) binds: Vec<(PathBuf, PathBuf)>,
    /// Program and arguments. Without them, only the file system is tried.
    pub(super) argv: Vec<String>,
    /// All variables of the script.
    pub(super) variables: BTreeMap<String, String>,
    /// Text of the file that `APT_CONFIG` names.
    pub(super) apt_config: Option<String>,
}

/// Path of the configuration of apt in the root. Nothing of `/dev` gets into the image.
pub(super) const APT_CONFIG: &str = "/dev/condense-apt.conf";

/// Runs a process for a script, if the arguments of this program ask for one. Such a process must
/// not have started a thread yet.
pub fn run_root_script_child(arguments: &[OsString]) -> Option<ExitCode> {
    if let [_, name, step, program, arguments @ ..] = arguments
        && name == ARGUMENT
        && step == SESSION
    {
        return Some(session(program, arguments));
    }
    let [_, name, step, file] = arguments else {
        return None;
    };
    if name != ARGUMENT {
        return None;
    }
    let Ok(request) = read(Path::new(file)) else {
        return Some(ExitCode::from(NOT_STARTED));
    };
    let ran = match step.to_str() {
        Some("launch") => launch(&request, file),
        Some("inside") => inside(&request),
        _ => return None,
    };
    Some(match ran {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // The file tells the build more than a status does. If it cannot be written, the build
            // still sees the status.
            let _ = std::fs::write(&request.failure, format!("{error:#}"));
            ExitCode::from(NOT_STARTED)
        }
    })
}

fn read(file: &Path) -> anyhow::Result<Request> {
    let text = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Leaves the session of the user's terminal, into which a script could type, and from which it
/// could wait for a line. The kernel ends the process together with the build.
fn leave_terminal() -> anyhow::Result<()> {
    rustix::process::setsid().context("cannot make a session")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Turns into a program in a session of its own.
fn session(program: &OsString, arguments: &[OsString]) -> ExitCode {
    let error = match leave_terminal() {
        Ok(()) => Command::new(program).args(arguments).exec().into(),
        Err(error) => error,
    };
    // The build passes the output of the program on, which this line takes the place of.
    let _ = writeln!(
        std::io::stderr(),
        "FATAL: cannot start `{}`: {error:#}",
        Path::new(program).display()
    );
    ExitCode::from(NOT_STARTED)
}

/// Turns into the program that makes the namespaces.
fn launch(request: &Request, file: &OsString) -> anyhow::Result<u8> {
    leave_terminal()?;
    let mut command = Command::new(&request.unshare);
    if request.user_namespace {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--mount", "--ipc", "--pid", "--fork", "--kill-child", "--"])
        .arg(std::env::current_exe().context("cannot find this program")?)
        .args([ARGUMENT, "inside"])
        .arg(file);
    let error = command.exec();
    bail!("cannot start `{}`: {error}", request.unshare.display())
}

/// Runs the script as the first process of the namespaces.
fn inside(request: &Request) -> anyhow::Result<u8> {
    let mut failure = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&request.failure)
        .context("cannot open the file for failures")?;
    mounts::enter(request)?;
    filter::restrict()?;
    let Some((program, arguments)) = request.argv.split_first() else {
        return tried().map(|()| 0);
    };
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&request.variables)
        .spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) => {
            // The path of the file means nothing any more in the new root.
            let _ = write!(failure, "{}", not_started(program, &error));
            return Ok(NOT_STARTED);
        }
    };
    let script = child.id().cast_signed();
    loop {
        // The first process adopts the orphans of all others, and has to take notice of their end.
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if ended.as_raw_nonzero().get() == script => {
                let status = std::process::ExitStatus::from_raw(status.as_raw());
                let number = status.code().or(status.signal().map(|signal| 128 + signal));
                return Ok(number
                    .and_then(|number| number.try_into().ok())
                    .unwrap_or(1));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("cannot wait for the script: {error}"),
        }
    }
}

fn not_started(program: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("the image has no `{program}`, or not the loader that it needs")
        }
        std::io::ErrorKind::PermissionDenied => format!(
            "`{program}` may not be executed where the image is unpacked (is it mounted `noexec`?)"
        ),
        _ => format!("cannot start `{program}`: {error}"),
    }
}

/// Makes a file and gives it to another user, as packages do.
fn tried() -> anyhow::Result<()> {
    let path = Path::new("/tried");
    std::fs::write(path, "").context("cannot make a file in the new root")?;
    std::os::unix::fs::chown(path, Some(7), Some(7)).context("cannot change an owner")?;
    std::fs::symlink_metadata(path).context("cannot see a file that was made")?;
    std::fs::remove_file(path).context("cannot remove a file that was made")
}
