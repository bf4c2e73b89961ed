//! Responsible for the step that compiles sources in the prefix, and for the steps that run on an
//! image of what is held back: compiling and the capture of the activation.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Instant,
};

use condense_activation::Capture;
use condense_within::Within;

use super::{
    BuildSteps, feed, run_sh,
    runner::{HeldImage, Refusal},
    script::try_script,
};
use crate::{
    error::Error,
    progress::{Phase, Progress},
};

pub(crate) const COMPILE_PY: &str = include_str!("compile.py");

/// Steps that have run on an image of what is held back.
pub(super) struct OnImage {
    /// Capture of the activation. `None` if there are no activation scripts.
    pub(super) capture: Option<Capture>,
    /// Number of the steps.
    pub(super) steps: u64,
}

impl BuildSteps {
    /// Compiles sources with the interpreter of an image of what is held back, and captures the
    /// activation there. Returns the capture if there are activation scripts, or `None` if nothing
    /// was to be done or the container with the image cannot run. In the latter case, activation
    /// scripts get files. `has_begun` tells whether the phase has.
    pub(super) fn run_on_image(
        &mut self,
        image: &dyn HeldImage,
        has_begun: bool,
        env_dir: &Within,
        to_compile: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Option<OnImage>, Error> {
        let place = image.place_of_steps();
        if self.held.is_none() {
            return Ok(None);
        }
        let capture = self.write_capture(place, &place.build_dir(), "activation")?;
        let compiles = self.prefix.python.is_some() && !to_compile.is_empty();
        let (Some(held), true) = (&mut self.held, compiles || capture.is_some()) else {
            return Ok(None);
        };
        let started = Instant::now();
        let steps = u64::from(compiles) + u64::from(capture.is_some());
        if !has_begun {
            progress.begin(Phase::Run, Some(steps));
        }
        image.make(held).map_err(Error::Container)?;
        let build_dir = place.open_build_dir()?;
        if compiles {
            feed::write_sources(held, env_dir, &build_dir, to_compile)?;
            write_compile(&build_dir, to_compile)?;
        }
        let argv = run_sh(place, &build_dir, place.build_dir())?;
        let ran = try_script(&argv, image, place, progress)?;
        progress.end(Phase::Run, started.elapsed());
        if let (Ok(()), true, Some(python)) = (&ran, compiles, &self.prefix.python) {
            feed::collect(held, env_dir, &build_dir, python, to_compile)?;
        }
        for done in ["compile.list", "sources", "sources.index", "activation.sh"] {
            build_dir.remove(done)?;
        }
        if let Err(reason) = ran {
            image.refuse(&Refusal::Mount(reason));
            if capture.is_some() {
                held.copy_out(env_dir, &|_| true)?;
            }
            return Ok(None);
        }
        Ok(Some(OnImage { capture, steps }))
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
