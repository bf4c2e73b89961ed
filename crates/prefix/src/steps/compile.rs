//! Responsible for the step that compiles sources in the prefix, and for the steps that run on an
//! image of what is held back: compiling and the capture of the activation.

use std::time::Instant;

use condense_activation::Capture;
use condense_within::Within;

use super::{
    BuildSteps,
    batches::{Batch, StandIn, list},
    feed,
    known::{Digests, Telling, keep},
    run_sh,
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
        to_compile: &[Batch],
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
        held.gather(progress)?;
        image.make(held).map_err(Error::Container)?;
        let build_dir = place.open_build_dir()?;
        if compiles {
            let stand_in = StandIn::of(&self.prefix.place.mounted_env(), &self.patched);
            feed::write_sources(held, env_dir, &build_dir, to_compile, &stand_in)?;
            write_compile(&build_dir, to_compile)?;
        }
        let argv = run_sh(place, &build_dir, place.build_dir())?;
        let digests = Digests::default();
        let telling = Telling {
            runner: image,
            digests: &digests,
        };
        let ran = try_script(&argv, &telling, place, progress)?;
        progress.end(Phase::Run, started.elapsed());
        if ran.is_ok() && compiles {
            // pip has run code of packages, which could have changed the interpreter: what it tells
            // then is not believed.
            let told = if has_begun {
                Digests::default()
            } else {
                digests
            };
            self.collect_from(env_dir, &build_dir, to_compile, &told)?;
        }
        for done in ["compile.list", "activation.sh"] {
            build_dir.remove(done)?;
        }
        feed::remove_sources(&build_dir)?;
        if let Err(reason) = ran {
            image.refuse(&Refusal::Mount(reason));
            if let (Some(held), true) = (&mut self.held, capture.is_some()) {
                held.copy_out(env_dir, &|_| true)?;
            }
            return Ok(None);
        }
        Ok(Some(OnImage { capture, steps }))
    }

    /// Prepares compiling sources that are held back.
    pub(super) fn feed(&mut self, env_dir: &Within, to_compile: &[Batch]) -> Result<(), Error> {
        match &mut self.held {
            Some(held) if !to_compile.is_empty() => {
                let build_dir = self.prefix.place.open_build_dir()?;
                let stand_in = StandIn::of(&self.prefix.place.mounted_env(), &self.patched);
                held.copy_out(env_dir, &|path| self.interpreter.contains(path))?;
                feed::write_sources(held, env_dir, &build_dir, to_compile, &stand_in)
            }
            _ => Ok(()),
        }
    }

    /// Takes the byte code of sources that are held back.
    pub(super) fn collect(
        &mut self,
        env_dir: &Within,
        to_compile: &[Batch],
        digests: &Digests,
    ) -> Result<(), Error> {
        if self.held.is_none() || to_compile.is_empty() {
            return Ok(());
        }
        let build_dir = self.prefix.place.open_build_dir()?;
        self.collect_from(env_dir, &build_dir, to_compile, digests)
    }

    /// Takes the byte code that the interpreter has written into a directory of build steps. Keeps
    /// that of whole batches for later builds if it has the digests that the interpreter has told.
    fn collect_from(
        &mut self,
        env_dir: &Within,
        build_dir: &Within,
        to_compile: &[Batch],
        digests: &Digests,
    ) -> Result<(), Error> {
        let (Some(held), Some(python)) = (&mut self.held, &self.prefix.python) else {
            return Ok(());
        };
        let stand_in = StandIn::of(&self.prefix.place.mounted_env(), &self.patched);
        let whole = feed::collect(held, env_dir, build_dir, python, to_compile, &stand_in)?;
        self.code
            .as_ref()
            .map_or(Ok(()), |code| keep(&**code, &whole, digests))
    }
}

/// Writes the files of the step that compiles sources.
pub(super) fn write_compile(build_dir: &Within, to_compile: &[Batch]) -> Result<(), Error> {
    build_dir.write("compile.list", list(to_compile))?;
    Ok(build_dir.write("compile.py", COMPILE_PY)?)
}
