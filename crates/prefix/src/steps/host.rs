//! Responsible for the steps that run without a container, with the environment's own interpreter
//! on this machine: pip, only for wheels, and compiling.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{
    failure::PipContext,
    known::{Digests, STEP},
    pip::{PIP_SH, PipStep, Purpose},
    runner::StepRunner,
    script::{PIP_STEP, Script},
};
use crate::{
    error::Error,
    prefix::Prefix,
    progress::{Phase, Progress, Warning},
    python::Python,
    target::Place,
};

/// Command that starts pip isolated from the user's own Python.
const HERE_SH: &str = "export TMPDIR=\"$1\" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1; unset PYTHONPATH PYTHONHOME; \
                       shift; exec 2>&1; exec /bin/sh \"$@\"";
const PIP_HERE_PY: &str = include_str!("pip_here.py");

/// Installs the pip requirements directly on this machine, on which `runner` starts programs.
///
/// # Errors
/// Returns [`Error::NeedsContainer`] if a package has to be built, or if the interpreter does
/// not start on this machine; [`Error::Step`] if pip fails; [`Error::Container`],
/// [`Error::Io`], or [`Error::Interrupted`].
pub(super) fn install_pip(
    prefix: &Prefix,
    pip: &PipStep,
    runner: &dyn StepRunner,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let refused = |what: String| Error::NeedsContainer { what };
    let to_build = pip.requirements.not_wheels();
    if !to_build.is_empty() {
        return Err(refused(format!("`{}`", to_build.join("`, `"))));
    }
    let python = prefix
        .python
        .as_ref()
        .map(|python| interpreter(&prefix.place, python))
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
    let within = prefix.place.open_build_dir()?;
    pip.write_inputs(&prefix.place, &within, Purpose::InstallHere)?;
    let write = |name: &str, text: &str| {
        within.write(name, text)?;
        Ok::<_, Error>(within.path(name))
    };
    let script = write("pip.sh", PIP_SH)?;
    let here = write("pip_here.py", PIP_HERE_PY)?;
    let tmp = within.make_own_dir("tmp")?.path("");
    let mut argv: Vec<OsString> = ["/bin/sh", "-c", HERE_SH, "sh"].map(Into::into).into();
    argv.extend(
        [
            tmp,
            script,
            prefix.place.scratch_env(),
            within.path(""),
            here,
        ]
        .map(Into::into),
    );
    let name = python.file_name().unwrap_or_default();
    argv.push(prefix.place.mounted_env().join("bin").join(name).into());
    argv.push(pip.glibc.clone().unwrap_or_default().into());
    let mut said = Script::new(prefix.place.build_dir());
    said.line(&format!("::condense-step {PIP_STEP}"), progress);
    let status = runner
        .run(&argv, &mut |line| said.line(line, progress))
        .map_err(Error::Container)?;
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    if status == 0 {
        said.line("::condense-done", progress);
    }
    let context = PipContext {
        python: prefix
            .python
            .as_ref()
            .map(|python| format!("{}.{}", python.major, python.minor)),
        only_wheels: true,
        ..PipContext::default()
    };
    said.end(status, context, progress)
}

/// Compiles the listed sources, if there are any, with the prefix's own interpreter, and also those
/// that pip has installed if `has_pip`. If they are `fed`, their texts are in one file, and the
/// digests of their byte code are told. If the interpreter does not
/// start on this machine, there is no byte code and the user gets a warning.
pub(super) fn compile(
    prefix: &Prefix,
    has_sources: bool,
    has_pip: bool,
    fed: Option<&Digests>,
    progress: &dyn Progress,
) {
    let Some(python) = &prefix.python else {
        return;
    };
    if !has_sources && !has_pip {
        return;
    }
    progress.detail(Phase::Run, STEP);
    let build_dir = prefix.place.build_dir();
    let result = Command::new(interpreter(&prefix.place, python))
        .args(["-S", "-s"])
        .arg(build_dir.join("compile.py"))
        .arg(prefix.place.scratch_env())
        .arg(build_dir.join("compile.list"))
        .arg("--as")
        .arg(prefix.place.mounted_env())
        .args(has_pip.then_some("--walk"))
        .args(fed.map(|_| "--fed"))
        // The interpreter comes from a package and does not need the user's variables.
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_plain(name)))
        .env("PYTHONHASHSEED", "0")
        .env("PYTHONUTF8", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output();
    match result {
        Ok(output) if output.status.success() => {
            if let Some(digests) = fed {
                digests.hear(&format!("::condense-step {STEP}"));
                let said = String::from_utf8_lossy(&output.stdout);
                for line in said.lines() {
                    digests.hear(line);
                }
            }
        }
        Ok(output) => progress.warn(Warning::NotCompiled {
            reason: String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .unwrap_or("the interpreter failed")
                .to_owned(),
        }),
        Err(error) => progress.warn(Warning::NotCompiled {
            reason: error.to_string(),
        }),
    }
    progress.advance(Phase::Run, 1);
}

/// Returns whether a program may need this variable to start.
fn is_plain(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("LC_")
        || ["PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH"].contains(&name.as_ref())
}

fn interpreter(place: &Place, python: &Python) -> PathBuf {
    place
        .scratch_env()
        .join(format!("bin/python{}.{}", python.major, python.minor))
}
