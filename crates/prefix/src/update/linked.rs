//! Responsible for the byte code of conda packages that were linked beside an environment, whose
//! image is mounted and read-only.

use std::{path::PathBuf, time::Instant};

use crate::{
    bytecode,
    error::Error,
    extend::Extended,
    progress::{Phase, Progress},
    python::Python,
    solution::Solution,
    steps::{self, StepRunner, batches},
    target::Place,
};

/// Returns the paths, relative to an environment, at which byte code that came with its interpreter
/// may be. The byte code shows the interpreter's magic number.
///
/// # Errors
/// Returns [`Error::Install`] if the record of Python cannot be understood.
pub fn byte_code_of_interpreter(solution: &Solution) -> Result<Vec<PathBuf>, Error> {
    let python = solution.python_info()?.as_ref().map(Python::from_info);
    Ok(python.map_or_else(Vec::new, |python| {
        bytecode::paths_of(&python.library().join("os.py"), &python)
    }))
}

/// Makes the byte code of the linked packages at `place`, with the interpreter of the environment,
/// which is mounted in `container` at its mount point. Returns false if there are sources to
/// compile and no container.
///
/// # Errors
/// Returns [`Error::Step`] if the interpreter fails, [`Error::Container`] if the container cannot
/// run, [`Error::Io`], or [`Error::Interrupted`].
pub fn compile_beside(
    place: &Place,
    linked: &Extended,
    container: Option<&dyn StepRunner>,
    progress: &dyn Progress,
) -> Result<bool, Error> {
    let python = linked.solution.python_info()?;
    let Some(python) = python.as_ref().map(Python::from_info) else {
        return Ok(true);
    };
    let env = place.open_env()?;
    let missing = bytecode::convert(&env, None, &python, &linked.patched)?;
    if missing.is_empty() {
        return Ok(true);
    }
    let Some(container) = container else {
        return Ok(false);
    };
    let started = Instant::now();
    let build_dir = place.open_build_dir()?;
    let into = env.path("");
    for (name, text) in [
        ("compile.py", steps::COMPILE_PY.as_bytes().to_vec()),
        ("compile.list", batches::list(&batches::batches(&missing))),
        (
            "compile.into",
            into.to_string_lossy().into_owned().into_bytes(),
        ),
    ] {
        build_dir.write(name, text)?;
    }
    progress.begin(Phase::Run, Some(1));
    // The image is at the mount point, so scratch keeps its own path in the container.
    let argv = steps::run_sh(place, &build_dir, place.build_dir())?;
    steps::run_script(&argv, container, place, Some(&python), progress)?;
    progress.end(Phase::Run, started.elapsed());
    Ok(true)
}
