//! Responsible for the build steps that run code: post-link scripts, pip, byte-compiling and the
//! capture of the activation. All of them run in one build container in which the prefix is at its
//! mount point.
//!
//! This crate never starts a container itself: the caller does, through [`StepRunner`].

pub(crate) mod batches;
mod before;
pub(crate) mod beside;
mod compile;
mod diagnosis;
mod distributions;
mod failure;
mod feed;
mod host;
mod known;
mod pip;
mod pip_progress;
mod post_link;
pub(crate) mod report;
mod runner;
mod script;
mod start;
mod start_guard;
mod surroundings;
mod user;
mod uv;
mod wheels;
mod why;

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use crate::{
    bytecode,
    error::Error,
    extend::Extended,
    held::Held,
    pip_package::PipPackage,
    prefix::Prefix,
    progress::{Phase, Progress},
    secrets::without_secrets,
    target::Place,
};
use batches::Batch;
pub use batches::CodeKey;
use before::{StateBefore, activation_inputs};
pub(crate) use compile::COMPILE_PY;
use compile::{OnImage, write_compile};
use condense_activation::{Activation, Capture};
use condense_within::Within;
use distributions::Changes;
pub use failure::{PipContext, PipFailure, explain_pip_failure};
use known::{Digests, Telling};
pub use pip::{ASK_SH, pip_links, pip_to_build};
pub(crate) use pip::{PipStep, Purpose};
pub(crate) use post_link::{PostLink, post_link_scripts};
pub use runner::{CompiledCode, HeldImage, Refusal, Runner, StepRunner};
use script::RUN_SH;
pub(crate) use script::{run_script, try_pip};
pub use start::{Start, StartFiles};
pub(crate) use surroundings::write_surroundings;
pub use user::{Scripts, UserScript};
pub use uv::Uv;

/// Returns names and versions of the packages that pip has installed into the environment at
/// `place` so far.
///
/// # Errors
/// Returns [`Error::Io`] if the environment cannot be read.
pub fn pip_packages(place: &Place) -> Result<Vec<PipPackage>, Error> {
    distributions::beside_conda(&place.open_env()?)
}

/// Results of the build steps.
#[derive(Debug)]
pub struct Finished {
    /// Activation that the wrappers replay.
    pub activation: Activation,
    /// pip's own report of the installed packages, in JSON. `None` without pip requirements, or if
    /// a lock cannot be made of the report.
    pub pip_report: Option<String>,
    /// Names and versions of the packages that pip has installed.
    pub pip_packages: Vec<PipPackage>,
    /// Names of conda packages whose Python package pip has replaced.
    pub replaced_by_pip: Vec<String>,
    /// Number of steps that ran in the build container.
    pub steps_in_container: u32,
    /// Files that a start reads. `None` if no start was made.
    pub start_files: Option<StartFiles>,
    /// Paths, relative to the environment, that its interpreter searches beside its own `bin`.
    /// Empty for an interpreter with a compiled-in prefix, such as conda-forge's.
    pub landmarks: Vec<PathBuf>,
    /// Files of the environment that are not in the prefix, see [`crate::install_held`].
    pub held: Option<Held>,
}

const POST_LINK_SH: &str = include_str!("steps/post-link.sh");

/// Build steps that an installed prefix still needs.
#[derive(Debug)]
pub struct BuildSteps {
    pub(crate) prefix: Prefix,
    /// Sources that linking has changed: the byte code that came with them is stale.
    pub(crate) patched: HashSet<PathBuf>,
    pub(crate) post_link: Vec<PostLink>,
    pub(crate) pip: PipStep,
    pub(crate) scripts: Scripts,
    /// Files of packages that are not in the prefix. Then nothing runs but byte-compiling, the
    /// capture of the activation, and pip, which installs wheels beside them.
    pub(crate) held: Option<Held>,
    /// Paths of the files that the interpreter needs to compile sources.
    pub(crate) interpreter: HashSet<PathBuf>,
    /// Digest of the packages whose files the interpreter may read as it compiles. `None` if
    /// nothing is held back.
    pub(crate) interpreter_digest: Option<[u8; 32]>,
    /// Byte code of earlier builds.
    pub(crate) code: Option<Arc<dyn CompiledCode>>,
    pub(crate) start: Option<Start>,
}

impl BuildSteps {
    /// Returns the steps of a prefix in which no package has post-link scripts or patched sources.
    pub(crate) fn new(prefix: Prefix, pip: PipStep) -> Self {
        Self {
            prefix,
            patched: HashSet::new(),
            post_link: Vec::new(),
            pip,
            scripts: Scripts::default(),
            held: None,
            interpreter: HashSet::new(),
            interpreter_digest: None,
            code: None,
            start: None,
        }
    }

    /// Returns the prefix that the steps belong to.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Lists the parts of the build that need a container: post-link scripts, pip requirements that
    /// are not wheels, user scripts, uv and activation scripts.
    pub fn needs_container(&self) -> Vec<String> {
        let mut needs: Vec<String> = self
            .post_link
            .iter()
            .map(|post_link| format!("the post-link script of `{}`", post_link.package))
            .collect();
        needs.extend(
            self.pip
                .requirements
                .not_wheels()
                .into_iter()
                .map(|line| format!("the pip requirement `{}`", without_secrets(&line))),
        );
        if !self.scripts.is_empty() {
            needs.push("the scripts".to_owned());
        }
        if !self.pip.removed.is_empty() {
            needs.push("`pip uninstall`".to_owned());
        }
        if self.pip.uv.is_some() && !self.pip.requirements.is_empty() {
            needs.push("uv".to_owned());
        }
        // An environment that cannot be opened is refused when the steps begin.
        let env_dir = self.prefix.place.open_env();
        if env_dir.is_ok_and(|env_dir| has_activation_scripts(&env_dir)) {
            needs.push("activation scripts".to_owned());
        }
        needs
    }

    /// Keeps editable requirements as links to their directories, which must then exist whenever
    /// the environment is used.
    pub fn keep_editable(&mut self) {
        self.pip.keep_editable = true;
    }

    /// Adds user scripts that run in the build container.
    pub fn add_scripts(&mut self, scripts: Scripts) {
        self.scripts = scripts;
    }

    /// Adds the steps of packages that were installed into the prefix after it was opened.
    pub fn take_over(&mut self, extended: Extended) {
        self.post_link.extend(extended.post_link);
        self.patched.extend(extended.patched);
    }

    /// Removes packages of pip before anything is installed.
    pub fn remove_pip_packages(&mut self, names: &[String]) {
        self.pip.removed = names.to_vec();
    }

    /// Prevents pip and uv from using a cache, even if the user has one.
    pub fn without_pip_cache(&mut self) {
        self.pip.no_cache = true;
    }

    /// Makes uv install the requirements instead of pip; pip still installs a lock's packages.
    pub fn use_uv(&mut self, uv: Uv) {
        self.pip.uv = Some(uv);
    }

    /// Takes byte code of earlier builds for sources that are held back, and keeps the new one.
    pub fn use_code(&mut self, code: Arc<dyn CompiledCode>) {
        self.code = Some(code);
    }

    /// Returns whether files of packages are held back. They are not in the prefix then, so a start
    /// cannot read them there.
    pub fn holds_back(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the number of packages that an earlier build has unpacked and kept.
    pub fn kept_packages(&self) -> usize {
        self.held.as_ref().map_or(0, Held::kept_packages)
    }

    /// Returns whether the environment has an interpreter.
    pub fn has_python(&self) -> bool {
        self.prefix.python.is_some()
    }

    /// Gives the file with everything that is held back this path. It has a name only as long as
    /// the directory of unpacked packages is there.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be renamed.
    pub fn name_held(&self, path: &Path) -> Result<(), Error> {
        let held = self.held.as_ref();
        held.map_or(Ok(()), |held| held.contents().rename(path))
    }

    /// Makes the interpreter start once after all other steps, to find out which files it reads.
    /// Environments without Python make no start.
    pub fn record_start(&mut self, start: Start) {
        self.start = self.prefix.python.is_some().then_some(start);
    }

    /// Returns the user's directories that the environment links to if editable requirements are
    /// kept.
    pub fn editable_dirs(&self) -> Vec<PathBuf> {
        self.pip.requirements.editable_dirs()
    }

    /// Returns the files and directories on this machine that the lines for pip name.
    pub fn local_paths(&self) -> Vec<PathBuf> {
        self.pip.local_paths()
    }

    /// Runs pip in the build container to report which packages it would install, and does nothing
    /// else. Returns pip's own report in JSON, or `None` and a warning if pip cannot report.
    ///
    /// # Errors
    /// Returns [`Error::Step`] if pip fails, [`Error::Container`] if the container cannot run,
    /// [`Error::Io`], or [`Error::Interrupted`].
    ///
    /// # Streams
    /// The output of pip goes to `progress`, line by line.
    pub fn resolve_pip(
        mut self,
        container: &dyn StepRunner,
        progress: &dyn Progress,
    ) -> Result<Option<String>, Error> {
        let started = Instant::now();
        let build_dir = self.prefix.place.open_build_dir()?;
        self.pip.keep_editable = true;
        self.pip
            .write_inputs(&self.prefix.place, &build_dir, Purpose::Resolve)?;
        progress.begin(Phase::Run, Some(1));
        self.run_steps(container, progress)?;
        progress.end(Phase::Run, started.elapsed());
        report::read(&build_dir, progress)
    }

    /// Runs every step and leaves the prefix ready to be packed, except for its
    /// [`crate::BUILD_DIR`].
    ///
    /// Without a container, the prefix's own interpreter runs on this machine to install wheels
    /// with pip and to compile Python sources. If the interpreter does not start on this machine,
    /// there is no byte code and the user gets a warning.
    ///
    /// # Errors
    /// Returns [`Error::Step`] with the output of a step that failed, [`Error::Container`] if the
    /// container cannot run, [`Error::Io`], or [`Error::Interrupted`].
    ///
    /// # Streams
    /// The output of the steps goes to `progress`, line by line.
    pub fn finish(
        mut self,
        runner: Runner<'_>,
        progress: &dyn Progress,
    ) -> Result<Finished, Error> {
        let started = Instant::now();
        let env_dir = self.prefix.place.open_env()?;
        let to_compile = match &self.prefix.python {
            Some(python) => bytecode::convert(&env_dir, self.held.as_mut(), python, &self.patched)?,
            None => Vec::new(),
        };
        let wheels = self.pip_on_image(runner, &env_dir, progress)?;
        let (has_wheels, mut wheels) = (wheels.is_some(), wheels.unwrap_or_default());
        // pip's sources are in batches of their own, as where they are found after the others.
        let listed: HashSet<&PathBuf> = to_compile.iter().collect();
        wheels.sources.retain(|source| !listed.contains(source));
        let to_compile = self.take_known(&env_dir, [&to_compile, &wheels.sources], progress)?;
        let on_image = match runner {
            Runner::Held { image, .. } => {
                self.run_on_image(image, has_wheels, &env_dir, &to_compile, progress)?
            }
            _ => None,
        };
        if let Some(OnImage { capture, steps }) = on_image {
            let steps = u32::try_from(steps + u64::from(has_wheels)).unwrap_or(u32::MAX);
            return self.finished(capture, wheels.changes, steps, progress);
        }
        if has_wheels {
            progress.end(Phase::Run, started.elapsed());
        }
        self.feed(&env_dir, &to_compile)?;
        let mut steps = self.write_inputs(&to_compile, !matches!(runner, Runner::Host(_)))?;
        let place = &self.prefix.place;
        let capture = self.write_capture(place, &place.mounted_build_dir(), "activation")?;
        steps += u64::from(capture.is_some());
        if steps == 0 && self.pip.is_idle() {
            return self.finished(None, wheels.changes, u32::from(has_wheels), progress);
        }
        progress.begin(Phase::Run, Some(steps));
        let before = StateBefore::read(&self.prefix, &env_dir)?;
        let digests = Digests::default();
        let (capture, changes, steps) = match runner {
            Runner::Container(runner)
            | Runner::Held {
                container: runner, ..
            } => {
                let digests = &digests;
                let container = Telling { runner, digests };
                let (capture, changes) =
                    self.run_in_container(&container, &before, capture, progress)?;
                (capture, changes, u32::try_from(steps).unwrap_or(u32::MAX))
            }
            Runner::Host(runner) => {
                let changes = self.run_on_host(runner, &before, &to_compile, &digests, progress)?;
                (None, changes, 0)
            }
        };
        // pip has run code of packages, which could have changed the interpreter.
        let told = if has_wheels {
            Digests::default()
        } else {
            digests
        };
        self.collect(&env_dir, &to_compile, &told)?;
        progress.end(Phase::Run, started.elapsed());
        let changes = if has_wheels { wheels.changes } else { changes };
        self.finished(capture, changes, steps + u32::from(has_wheels), progress)
    }

    /// Writes the files that run.sh reads, except those that capture the activation. Returns the
    /// number of steps.
    fn write_inputs(&self, to_compile: &[Batch], in_container: bool) -> Result<u64, Error> {
        let build_dir = self.prefix.place.open_build_dir()?;
        let write = |name: &str, text: &[u8]| build_dir.write(name, text);
        let has_pip = !self.pip.is_idle();
        let mut steps = self.post_link.len() as u64;
        if !self.post_link.is_empty() {
            let lines: Vec<String> = self.post_link.iter().map(PostLink::line).collect();
            write("post-link", lines.concat().as_bytes())?;
        }
        if !self.post_link.is_empty() || !self.scripts.is_empty() {
            let variables = surroundings::activate_variables(&self.prefix.place)?;
            write("activate-variables", variables.as_bytes())?;
            write("post-link.sh", POST_LINK_SH.as_bytes())?;
        }
        if has_pip && in_container {
            self.pip
                .write_inputs(&self.prefix.place, &build_dir, Purpose::Install)?;
            steps += 1;
        }
        if has_pip || self.scripts.post_install.is_some() {
            self.pip.write_uv(&build_dir)?;
        }
        if in_container {
            self.scripts.write_inputs(&self.prefix.place)?;
            steps += self.scripts.len();
        }
        if self.pip.no_cache {
            write("no-cache", b"")?;
        }
        let may_add_sources = has_pip || !self.post_link.is_empty() || !self.scripts.is_empty();
        if self.prefix.python.is_some() && (!to_compile.is_empty() || may_add_sources) {
            write_compile(&build_dir, to_compile)?;
            steps += 1;
        }
        if let Some(start) = &self.start {
            start.write_inputs(&build_dir)?;
            steps += 1;
        }
        Ok(steps)
    }

    /// Writes the script that captures the activation into the build directory of `steps`, which is
    /// `inside` in the container, if there is anything to capture. `name` is the directory of its
    /// results.
    fn write_capture(
        &self,
        steps: &Place,
        inside: &Path,
        name: &str,
    ) -> Result<Option<Capture>, Error> {
        let place = &self.prefix.place;
        let build_dir = steps.open_build_dir()?;
        let capture = Capture::plan(
            &place.scratch_env(),
            &place.mounted_env(),
            &steps.build_dir().join(name),
            &inside.join(name),
        )?;
        let Some(mut capture) = capture else {
            return Ok(None);
        };
        if let Some(held) = &self.held {
            let programs = held.below(Path::new("bin"));
            let programs = programs.filter(|path| held.leads_somewhere(path));
            capture.add_programs(programs.filter_map(|path| path.strip_prefix("bin").ok()));
        }
        build_dir.write("activation.sh", capture.command() + "\n")?;
        Ok(Some(capture))
    }

    /// Runs all steps in the container. Returns the capture of the activation, and the changes that
    /// pip has made.
    fn run_in_container(
        &self,
        container: &dyn StepRunner,
        before: &StateBefore,
        capture: Option<Capture>,
        progress: &dyn Progress,
    ) -> Result<(Option<Capture>, Changes), Error> {
        self.run_steps(container, progress)?;
        let changes = if self.pip.requirements.is_empty() && self.scripts.is_empty() {
            Changes::default()
        } else {
            before.changes_by_pip(&self.prefix, progress)?
        };
        if activation_inputs(&self.prefix.place.open_env()?) == before.activation_inputs {
            return Ok((capture, changes));
        }
        // A step has added activation scripts that were not known before. The container runs once
        // more to capture only the activation.
        let build_dir = self.prefix.place.open_build_dir()?;
        for done in [
            "post-link",
            "pip.sh",
            "pre-install.sh",
            "post-install.sh",
            "compile.list",
            start::PROGRAM,
        ] {
            build_dir.remove(done)?;
        }
        let place = &self.prefix.place;
        let capture = self.write_capture(place, &place.mounted_build_dir(), "activation-again")?;
        if capture.is_some() {
            self.run_steps(container, progress)?;
        }
        Ok((capture, changes))
    }

    /// Runs the steps that need no container. Returns the changes that pip has made.
    fn run_on_host(
        &self,
        runner: &dyn StepRunner,
        before: &StateBefore,
        to_compile: &[Batch],
        digests: &Digests,
        progress: &dyn Progress,
    ) -> Result<Changes, Error> {
        let has_pip = !self.pip.requirements.is_empty();
        let mut changes = Changes::default();
        if has_pip {
            host::install_pip(&self.prefix, &self.pip, runner, progress)?;
            changes = before.changes_by_pip(&self.prefix, progress)?;
        }
        host::compile(
            &self.prefix,
            !to_compile.is_empty(),
            has_pip,
            self.held.is_some().then_some(digests),
            progress,
        );
        if let Some(start) = &self.start {
            start.run_on_host(&self.prefix, runner, progress)?;
        }
        Ok(changes)
    }

    fn run_steps(&self, container: &dyn StepRunner, progress: &dyn Progress) -> Result<(), Error> {
        let place = &self.prefix.place;
        let argv = run_sh(place, &place.open_build_dir()?, place.mounted_build_dir())?;
        run_script(
            &argv,
            container,
            place,
            self.prefix.python.as_ref(),
            progress,
        )
    }

    fn finished(
        self,
        capture: Option<Capture>,
        changes: Changes,
        steps_in_container: u32,
        progress: &dyn Progress,
    ) -> Result<Finished, Error> {
        let activation = match capture {
            Some(capture) => capture.read(),
            None => Activation::from_variables(&self.prefix.place.scratch_env()),
        }?;
        let build_dir = self.prefix.place.open_build_dir()?;
        let pip_report = report::read(&build_dir, progress)?;
        let start = self.start.as_ref();
        let start_files = start.map(|_| StartFiles::read(&build_dir)).transpose()?;
        Ok(Finished {
            activation,
            pip_report,
            pip_packages: changes.installed,
            replaced_by_pip: changes.replaced,
            steps_in_container,
            start_files,
            landmarks: self.prefix.landmarks(self.held.as_ref())?,
            held: self.held,
        })
    }
}

fn has_activation_scripts(env_dir: &Within) -> bool {
    activation_inputs(env_dir)
        .iter()
        .any(|(path, _)| path.extension().is_some_and(|extension| extension == "sh"))
}

/// Writes the script that runs the steps whose files are in the build directory of `place`, and
/// returns the command. `inside` is the path of the directory in the container.
pub(crate) fn run_sh(
    place: &Place,
    build_dir: &Within,
    inside: PathBuf,
) -> Result<Vec<OsString>, Error> {
    build_dir.write("run.sh", RUN_SH)?;
    Ok(vec![
        "/bin/sh".into(),
        inside.join("run.sh").into(),
        place.mounted_env().into(),
        inside.into(),
    ])
}
