//! Responsible for the build steps that run code: post-link scripts, pip, byte-compiling and the
//! capture of the activation. All of them run in one build container in which the prefix is at its
//! mount point.
//!
//! This crate never starts a container itself: the caller does, through [`BuildContainer`].

mod diagnosis;
mod distributions;
mod here;
mod pip;
pub(crate) mod report;
mod script;
mod user;

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    bytecode,
    error::Error,
    install::Prefix,
    progress::{Progress, Stage, Warning},
    python::Python,
    secrets::without_secrets,
    target::Place,
};
use condense_activation::{Activation, Capture};
use condense_within::Within;
use distributions::{Changes, Distributions};
pub(crate) use pip::Pip;
use pip::Purpose;
pub use pip::{ASK_SH, pip_to_build};
pub(crate) use pip::{SOURCE_OPTIONS, write_surroundings};
use script::Script;
pub use user::{Scripts, UserScript};

/// Runs programs in a container in which the prefix is at its mount point.
pub trait BuildContainer {
    /// Runs `argv` in the container without standard input. Standard output and standard error are
    /// combined and passed to `line` line by line. Returns the exit status, which is 128 + n for
    /// signal n.
    ///
    /// # Errors
    /// Returns an error if the container itself cannot run.
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>>;
}

/// Container or machine in which the steps run.
#[derive(Clone, Copy)]
pub enum Runner<'a> {
    /// The steps run in a container in which the prefix is at its mount point.
    Container(&'a dyn BuildContainer),
    /// The steps run directly on this machine, which is possible only for wheels of pip. Programs
    /// are started through the same trait.
    Here(&'a dyn BuildContainer),
}

impl std::fmt::Debug for Runner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Container(_) => "Container",
            Self::Here(_) => "Here",
        })
    }
}

/// Returns names and versions of the packages that pip has installed into the environment at
/// `place` so far.
///
/// # Errors
/// Returns [`Error::Io`] if the environment cannot be read.
pub fn pip_packages(place: &Place) -> Result<Vec<(String, String)>, Error> {
    distributions::beside_conda(&place.open_env()?)
}

/// Source of uv if the environment does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uv {
    /// Program at this path on this machine.
    Program(PathBuf),
    /// Package on pip's index.
    OfIndex,
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
    pub pip_packages: Vec<(String, String)>,
    /// Names of conda packages whose Python package pip has replaced.
    pub replaced_by_pip: Vec<String>,
    /// Number of steps that ran in the build container.
    pub steps_in_container: u32,
    /// Paths, relative to the environment, that its interpreter searches beside its own `bin`.
    /// Empty for an interpreter with a compiled-in prefix, such as conda-forge's.
    pub landmarks: Vec<PathBuf>,
}

const POST_LINK_SH: &str = include_str!("steps/post-link.sh");
pub(crate) const RUN_SH: &str = include_str!("steps/run.sh");
const VENV_SH: &str = include_str!("steps/venv.sh");
pub(crate) const COMPILE_PY: &str = include_str!("steps/compile.py");

impl Prefix {
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
                .not_wheels()
                .into_iter()
                .map(|line| format!("the pip requirement `{}`", without_secrets(&line))),
        );
        if !self.scripts.is_empty() {
            needs.push("the scripts".to_owned());
        }
        if self.uv.is_some() && !self.pip.is_empty() {
            needs.push("uv".to_owned());
        }
        // An environment that cannot be opened is refused when the steps begin.
        let env_dir = self.place.open_env();
        if env_dir.is_ok_and(|env_dir| has_activation_scripts(&env_dir)) {
            needs.push("activation scripts".to_owned());
        }
        needs
    }

    /// Keeps editable requirements as links to their directories, which must then exist whenever
    /// the environment is used.
    pub fn keep_editable(&mut self) {
        self.keep_editable = true;
    }

    /// Adds user scripts that run in the build container.
    pub fn add_scripts(&mut self, scripts: Scripts) {
        self.scripts = scripts;
    }

    /// Prevents pip and uv from using a cache, even if the user has one.
    pub fn without_pip_cache(&mut self) {
        self.no_cache = true;
    }

    /// Makes uv install the requirements instead of pip; pip still installs a lock's packages.
    pub fn use_uv(&mut self, uv: Uv) {
        self.uv = Some(uv);
    }

    /// Returns the path in the container and the version of a virtual environment's interpreter;
    /// `None` for a conda environment.
    pub fn interpreter(&self) -> Option<(&Path, &str)> {
        let made = self.venv.as_ref()?;
        Some((&made.program, &made.version))
    }

    /// Returns the user's directories that the environment links to if editable requirements are
    /// kept.
    pub fn editable_dirs(&self) -> Vec<PathBuf> {
        self.pip.editable_dirs()
    }

    /// Returns the files and directories on this machine that the lines for pip name.
    pub fn local_paths(&self) -> Vec<PathBuf> {
        [self.named_paths.clone(), self.pip.locked_paths()].concat()
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
        self,
        container: &dyn BuildContainer,
        progress: &dyn Progress,
    ) -> Result<Option<String>, Error> {
        let started = Instant::now();
        let build_dir = self.place.open_build_dir()?;
        self.pip.write_inputs(&self.place, Purpose::Resolve, true)?;
        progress.begin(Stage::Run, Some(1));
        self.run_steps(container, progress)?;
        progress.end(Stage::Run, started.elapsed());
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
    pub fn finish(self, runner: Runner<'_>, progress: &dyn Progress) -> Result<Finished, Error> {
        let started = Instant::now();
        let (container, here) = match runner {
            Runner::Container(container) => (Some(container), None),
            Runner::Here(here) => (None, Some(here)),
        };
        let (env_dir, build_dir) = (self.place.open_env()?, self.place.open_build_dir()?);
        let to_compile = bytecode::convert(&self, &env_dir)?;
        let write = |name: &str, text: &[u8]| build_dir.write(name, text);

        let mut steps = self.post_link.len() as u64;
        if !self.post_link.is_empty() {
            let lines: Vec<String> = self
                .post_link
                .iter()
                .map(crate::install::PostLink::line)
                .collect();
            write("post-link", lines.concat().as_bytes())?;
        }
        if !self.post_link.is_empty() || !self.scripts.is_empty() {
            let variables = pip::activate_variables(&self.place)?;
            write("activate-variables", variables.as_bytes())?;
            write("post-link.sh", POST_LINK_SH.as_bytes())?;
        }
        if !self.pip.is_empty() && container.is_some() {
            self.pip
                .write_inputs(&self.place, Purpose::Install, self.keep_editable)?;
            steps += 1;
        }
        if !self.pip.is_empty() || self.scripts.post_install.is_some() {
            self.write_uv()?;
        }
        if container.is_some() {
            self.scripts.write_inputs(&self.place)?;
            steps += self.scripts.len();
        }
        if self.no_cache {
            write("no-cache", b"")?;
        }
        if self.python.is_some()
            && (!to_compile.is_empty()
                || !self.pip.is_empty()
                || !self.post_link.is_empty()
                || !self.scripts.is_empty())
        {
            write("compile.list", &list(&to_compile))?;
            write("compile.py", COMPILE_PY.as_bytes())?;
            steps += 1;
        }
        let before = activation_inputs(&env_dir);
        let mut capture = self.plan_capture("activation")?;
        if let Some(capture) = &capture {
            write("activation.sh", (capture.command() + "\n").as_bytes())?;
            steps += 1;
        }
        if steps == 0 && self.pip.is_empty() {
            return self.finished(None, Changes::default(), 0, progress);
        }
        progress.begin(Stage::Run, Some(steps));
        let distributions = Distributions::look(&env_dir, self.python.as_ref())?;
        let records = distributions::conda_records(&env_dir)?;
        let Some(container) = container else {
            let mut changes = Changes::default();
            if let Some(here) = here.filter(|_| !self.pip.is_empty()) {
                self.pip_here(here, progress)?;
                changes = self.changes_since(&distributions, &records, progress)?;
            }
            self.compile_here(&to_compile, progress);
            progress.end(Stage::Run, started.elapsed());
            return self.finished(None, changes, 0, progress);
        };
        self.run_steps(container, progress)?;
        let changes = if self.pip.is_empty() && self.scripts.is_empty() {
            Changes::default()
        } else {
            self.changes_since(&distributions, &records, progress)?
        };
        if activation_inputs(&env_dir) != before {
            // A step has added activation scripts that were not known before. The container runs
            // once more to capture only the activation.
            for done in [
                "post-link",
                "pip.sh",
                "pre-install.sh",
                "post-install.sh",
                "compile.list",
            ] {
                build_dir.remove(done)?;
            }
            capture = self.plan_capture("activation-again")?;
            if let Some(capture) = &capture {
                write("activation.sh", (capture.command() + "\n").as_bytes())?;
                self.run_steps(container, progress)?;
            }
        }
        progress.end(Stage::Run, started.elapsed());
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.finished(capture, changes, steps, progress)
    }

    /// Writes the files that make pip.sh install with uv.
    fn write_uv(&self) -> Result<(), Error> {
        let Some(uv) = &self.uv else { return Ok(()) };
        let build_dir = self.place.open_build_dir()?;
        build_dir.write("uv-wanted", "")?;
        bring_uv(uv, &build_dir)
    }

    fn changes_since(
        &self,
        before: &Distributions,
        records: &HashSet<PathBuf>,
        progress: &dyn Progress,
    ) -> Result<Changes, Error> {
        let env_dir = self.place.open_env()?;
        let mut changes = Distributions::look(&env_dir, self.python.as_ref())?.since(
            before,
            &env_dir,
            &|warning| progress.warn(warning),
        )?;
        // A user script may have installed packages with conda.
        changes.forget(&distributions::of_new_records(&env_dir, records)?);
        Ok(changes)
    }

    fn landmarks(&self) -> Result<Vec<PathBuf>, Error> {
        let Some(python) = &self.python else {
            return Ok(Vec::new());
        };
        let (env_dir, version) = (self.place.open_env()?, python.library_name());
        if self.venv.is_some() {
            // If pyvenv.cfg exists, an interpreter uses `bin/..` as its environment.
            let libraries = ["lib", "lib64"].map(|dir| Path::new(dir).join(&version));
            let found = libraries.into_iter().filter(|path| env_dir.is_dir(path));
            return Ok(std::iter::once("pyvenv.cfg".into()).chain(found).collect());
        }
        crate::landmarks(&version, &self.place.mounted_env(), &Below(&env_dir))
    }

    fn plan_capture(&self, name: &str) -> Result<Option<Capture>, Error> {
        let (scratch, inside) = (
            self.place.build_dir().join(name),
            self.place.mounted_build_dir().join(name),
        );
        Ok(Capture::plan(
            &self.place.scratch_env(),
            &self.place.mounted_env(),
            &scratch,
            &inside,
        )?)
    }

    fn run_steps(
        &self,
        container: &dyn BuildContainer,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let inside = self.place.mounted_build_dir();
        self.place.open_build_dir()?.write("run.sh", RUN_SH)?;
        let argv: Vec<OsString> = vec![
            "/bin/sh".into(),
            inside.join("run.sh").into(),
            self.place.mounted_env().into(),
            inside.into(),
        ];
        run_script(&argv, container, progress)
    }

    fn compile_here(&self, to_compile: &[PathBuf], progress: &dyn Progress) {
        let Some(python) = &self.python else {
            return;
        };
        if to_compile.is_empty() && self.pip.is_empty() {
            return;
        }
        progress.detail(Stage::Run, "compiling Python files");
        let build_dir = self.place.build_dir();
        let result = Command::new(interpreter(&self.place, python))
            .args(["-S", "-s"])
            .arg(build_dir.join("compile.py"))
            .arg(self.place.scratch_env())
            .arg(build_dir.join("compile.list"))
            .arg("--as")
            .arg(self.place.mounted_env())
            .args((!self.pip.is_empty()).then_some("--walk"))
            // The interpreter comes from a package and does not need the user's variables.
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_plain(name)))
            .env("PYTHONHASHSEED", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output();
        match result {
            Ok(output) if output.status.success() => {}
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
        progress.advance(Stage::Run, 1);
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
            None => Activation::of_variables(&self.place.scratch_env()),
        }?;
        let pip_report = report::read(&self.place.open_build_dir()?, progress)?;
        Ok(Finished {
            activation,
            pip_report,
            pip_packages: changes.installed,
            replaced_by_pip: changes.replaced,
            steps_in_container,
            landmarks: self.landmarks()?,
        })
    }
}

/// Copies uv of this machine to the directory in which the container finds it.
fn bring_uv(uv: &Uv, build_dir: &Within) -> Result<(), Error> {
    if let Uv::Program(program) = uv {
        let bytes = fs_err::read(program).map_err(Error::io("read", program))?;
        build_dir.write_program("uv", bytes)?;
    }
    Ok(())
}

/// Writes all files that venv.sh reads. They also show the later steps that this is not a conda
/// environment.
pub(crate) fn write_venv_inputs(place: &Place, uv: Option<&Uv>) -> Result<(), Error> {
    let build_dir = place.open_build_dir()?;
    for (name, text) in [("venv.sh", VENV_SH), ("venv", "")] {
        build_dir.write(name, text)?;
    }
    pip::write_surroundings(place)?;
    uv.map_or(Ok(()), |uv| bring_uv(uv, &build_dir))
}

/// Runs one of condense's own scripts, which reports its steps in the form that [`Script`] parses.
pub(crate) fn run_script(
    argv: &[OsString],
    container: &dyn BuildContainer,
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

/// Quotes a text as one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
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

fn has_activation_scripts(env_dir: &Within) -> bool {
    activation_inputs(env_dir)
        .iter()
        .any(|(path, _)| path.extension().is_some_and(|extension| extension == "sh"))
}

/// Lists the files from which the activation is composed, with their lengths, sorted.
fn activation_inputs(env_dir: &Within) -> Vec<(PathBuf, i64)> {
    let mut found = Vec::new();
    for dir in ["etc/conda/activate.d", "etc/conda/env_vars.d"] {
        // A directory that leads out of the environment is refused when it is read.
        for name in env_dir.names(dir).unwrap_or_default() {
            let path = Path::new(dir).join(name);
            let length = env_dir.stat_of_link(&path).map_or(0, |found| found.st_size);
            found.push((path, length));
        }
    }
    found
}

fn list(paths: &[PathBuf]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut text = Vec::new();
    // A name with a line break cannot be listed; the interpreter compiles that file at every
    // import.
    for path in paths
        .iter()
        .filter(|path| !path.as_os_str().as_bytes().contains(&b'\n'))
    {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    text
}

/// Files of an environment, as landmarks are searched in it.
struct Below<'a>(&'a Within);

impl crate::Files for Below<'_> {
    type Error = Error;

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.read(path)?)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        Ok(self.0.is_file(path) || self.0.is_dir(path))
    }
}
