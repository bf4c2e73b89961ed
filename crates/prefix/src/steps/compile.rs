//! Responsible for the step that compiles sources: in the prefix, or on an image of what is held
//! back.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Instant,
};

use condense_within::Within;

use super::{BuildSteps, feed, run_sh, runner::HeldImage, script::try_script};
use crate::{
    error::Error,
    progress::{Phase, Progress},
};

pub(crate) const COMPILE_PY: &str = include_str!("compile.py");

impl BuildSteps {
    /// Compiles sources with the interpreter of an image of what is held back. Returns false if the
    /// container with the image cannot run.
    pub(super) fn compile_on(
        &mut self,
        image: &dyn HeldImage,
        env_dir: &Within,
        to_compile: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<bool, Error> {
        let (Some(held), Some(python)) = (&mut self.held, &self.prefix.python) else {
            return Ok(false);
        };
        if to_compile.is_empty() {
            return Ok(false);
        }
        let started = Instant::now();
        progress.begin(Phase::Run, Some(1));
        image.make(held).map_err(Error::Container)?;
        let place = image.place_of_steps();
        let build_dir = place.open_build_dir()?;
        feed::write_sources(held, env_dir, &build_dir, to_compile)?;
        write_compile(&build_dir, to_compile)?;
        let argv = run_sh(place, &build_dir, place.build_dir())?;
        let ran = try_script(&argv, image, place, progress)?;
        progress.end(Phase::Run, started.elapsed());
        if ran.is_ok() {
            feed::collect(held, env_dir, &build_dir, python, to_compile)?;
        }
        for done in ["compile.list", "sources", "sources.index"] {
            build_dir.remove(done)?;
        }
        if let Err(reason) = &ran {
            image.refuse(reason);
        }
        Ok(ran.is_ok())
    }

    /// Prepares compiling sources that are held back.
    pub(super) fn feed(&mut self, env_dir: &Within, to_compile: &[PathBuf]) -> Result<(), Error> {
        match &mut self.held {
            Some(held) if !to_compile.is_empty() => {
                let build_dir = self.prefix.place.open_build_dir()?;
                feed::prepare(held, env_dir, &build_dir, &self.interpreter, to_compile)
            }
            _ => Ok(()),
        }
    }

    /// Takes the byte code of sources that are held back.
    pub(super) fn collect(
        &mut self,
        env_dir: &Within,
        to_compile: &[PathBuf],
    ) -> Result<(), Error> {
        match (&mut self.held, &self.prefix.python) {
            (Some(held), Some(python)) if !to_compile.is_empty() => {
                let build_dir = self.prefix.place.open_build_dir()?;
                feed::collect(held, env_dir, &build_dir, python, to_compile)
            }
            _ => Ok(()),
        }
    }
}

/// Writes the files of the step that compiles sources.
pub(super) fn write_compile(build_dir: &Within, to_compile: &[PathBuf]) -> Result<(), Error> {
    build_dir.write("compile.list", list(to_compile))?;
    Ok(build_dir.write("compile.py", COMPILE_PY)?)
}

pub(crate) fn list(paths: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for path in paths.iter().filter(|path| is_listed(path)) {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    text
}

/// Returns whether a list with one path a line can hold the path. The interpreter compiles other
/// files at every import.
pub(super) fn is_listed(path: &Path) -> bool {
    !path.as_os_str().as_bytes().contains(&b'\n')
}
