//! Responsible for what must run code: post-link scripts, pip, byte-compiling and the capture of the activation, all in
//! one build container where the prefix lies at its mount point.
//!
//! This crate never starts a container by itself: it asks through [`BuildContainer`].

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    activation::{Activation, Capture},
    bytecode,
    error::Error,
    install::{Prefix, Python},
    progress::{Progress, Stage, Warning},
    target::Place,
};

/// Runs the steps where the prefix lies at its mount point.
pub trait BuildContainer {
    /// Runs `argv` in the container, standard output and error in one, with no standard input, and gives each line to
    /// `line`. Returns the exit status, 128 + n for signal n.
    ///
    /// # Errors
    /// When the container itself could not run.
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>>;
}

/// What the steps left behind.
#[derive(Debug)]
pub struct Finished {
    /// What the wrappers replay.
    pub activation: Activation,
    /// What pip installed, as pip reports it (JSON); none without pip requirements.
    pub pip_report: Option<String>,
    /// Steps that ran in the build container.
    pub steps_in_container: u32,
    /// Directories of the environment, relative to it, that its interpreter looks for beside its own `bin`: none where it has
    /// its prefix compiled in, as conda-forge's does.
    pub landmarks: Vec<PathBuf>,
}

/// Lines of a failing step's output that its error shows.
const SHOWN_LINES: usize = 20;

const RUN_SH: &str = include_str!("steps/run.sh");
const COMPILE_PY: &str = include_str!("steps/compile.py");
const CERTIFICATE_VARIABLES: [&str; 4] = [
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

impl Prefix {
    /// Names what cannot be done without a container: post-link scripts, pip, activation scripts.
    pub fn needs_container(&self) -> Vec<String> {
        let mut needs: Vec<String> = self
            .post_link
            .iter()
            .map(|post_link| format!("the post-link script of `{}`", post_link.package))
            .collect();
        if !self.pip.is_empty() {
            needs.push("pip requirements".to_owned());
        }
        if has_activation_scripts(&self.place.scratch_env()) {
            needs.push("activation scripts".to_owned());
        }
        needs
    }

    /// Runs every step and leaves the prefix ready to be packed, but for its [`crate::BUILD_DIR`].
    ///
    /// Without a container only byte-compiling is done, with the prefix's own interpreter on this machine; where it
    /// does not start here, byte code stays away and the user is told.
    ///
    /// # Errors
    /// [`Error::Step`] with the output of a step that failed, [`Error::Container`], [`Error::Io`],
    /// [`Error::Interrupted`].
    ///
    /// # Streams
    /// What the steps print goes to `progress`, line by line.
    pub fn finish(
        self,
        container: Option<&dyn BuildContainer>,
        progress: &dyn Progress,
    ) -> Result<Finished, Error> {
        let started = Instant::now();
        let env_dir = self.place.scratch_env();
        let build_dir = self.place.build_dir();
        fs_err::create_dir_all(&build_dir).map_err(Error::io("create", &build_dir))?;
        let to_compile = bytecode::convert(&self)?;
        let write = |name: &str, text: &[u8]| {
            let path = build_dir.join(name);
            fs_err::write(&path, text).map_err(Error::io("write", &path))
        };

        let mut steps = self.post_link.len() as u64;
        if !self.post_link.is_empty() {
            let lines: Vec<String> = self
                .post_link
                .iter()
                .map(|step| {
                    format!(
                        "{}\t{}\t{}\t{}\n",
                        step.script, step.package, step.version, step.build_number
                    )
                })
                .collect();
            write("post-link", lines.concat().as_bytes())?;
        }
        if !self.pip.is_empty() {
            write("requirements.txt", (self.pip.join("\n") + "\n").as_bytes())?;
            bring_certificates(&build_dir)?;
            steps += 1;
        }
        if self.python.is_some()
            && (!to_compile.is_empty() || !self.pip.is_empty() || !self.post_link.is_empty())
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
        if steps == 0 {
            return self.finished(None, 0);
        }
        progress.begin(Stage::Run, Some(steps));
        let Some(container) = container else {
            self.compile_here(&to_compile, progress);
            progress.end(Stage::Run, started.elapsed());
            return self.finished(None, 0);
        };
        write("run.sh", RUN_SH.as_bytes())?;
        self.run_steps(container, progress)?;
        if activation_inputs(&env_dir) != before {
            // A step has brought scripts that nobody could plan for: one more session, for these alone.
            for done in ["post-link", "requirements.txt", "compile.list"] {
                let path = build_dir.join(done);
                if path.exists() {
                    fs_err::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            }
            capture = self.plan_capture("activation-again")?;
            if let Some(capture) = &capture {
                write("activation.sh", (capture.command() + "\n").as_bytes())?;
                self.run_steps(container, progress)?;
            }
        }
        progress.end(Stage::Run, started.elapsed());
        self.finished(capture, u32::try_from(steps).unwrap_or(u32::MAX))
    }

    fn landmarks(&self) -> Result<Vec<PathBuf>, Error> {
        let Some(Python { major, minor }) = self.python else {
            return Ok(Vec::new());
        };
        let env_dir = self.place.scratch_env();
        let mounted = self.place.mounted_env();
        let prefix = mounted.as_os_str().as_encoded_bytes();
        let version = format!("python{major}.{minor}");
        for name in [
            format!("lib/lib{version}.so.1.0"),
            format!("lib/lib{version}.so"),
            format!("bin/{version}"),
        ] {
            let path = env_dir.join(name);
            match fs_err::read(&path) {
                Ok(bytes) if bytes.windows(prefix.len()).any(|window| window == prefix) => {
                    return Ok(Vec::new());
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", &path)(error)),
            }
        }
        let found = ["lib", "include"]
            .iter()
            .map(|dir| Path::new(dir).join(&version));
        Ok(found.filter(|path| env_dir.join(path).is_dir()).collect())
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
        let argv: Vec<OsString> = vec![
            "/bin/sh".into(),
            inside.join("run.sh").into(),
            self.place.mounted_env().into(),
            inside.into(),
        ];
        let mut script = Script::default();
        let status = container
            .run(&argv, &mut |line| script.line(line, progress))
            .map_err(Error::Container)?;
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        if status == 0 && script.done {
            return Ok(());
        }
        let step = if script.step.is_empty() {
            "the build container".to_owned()
        } else {
            script.step
        };
        Err(Error::Step {
            step,
            status: script.failed.unwrap_or(status),
            output: Vec::from(script.output).join("\n"),
        })
    }

    fn compile_here(&self, to_compile: &[PathBuf], progress: &dyn Progress) {
        let Some(python) = self.python else {
            return;
        };
        if to_compile.is_empty() {
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
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
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
        steps_in_container: u32,
    ) -> Result<Finished, Error> {
        let activation = match capture {
            Some(capture) => capture.read(),
            None => Activation::of_variables(&self.place.scratch_env()),
        }?;
        let report = self.place.build_dir().join("pip-report.json");
        let pip_report = match fs_err::read_to_string(&report) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &report)(error)),
        };
        Ok(Finished {
            activation,
            pip_report,
            steps_in_container,
            landmarks: self.landmarks()?,
        })
    }
}

/// What the script in the container has said so far.
#[derive(Default)]
struct Script {
    step: String,
    output: VecDeque<String>,
    failed: Option<i32>,
    done: bool,
}

impl Script {
    fn line(&mut self, line: &str, progress: &dyn Progress) {
        if let Some(name) = line.strip_prefix("::condense-step ") {
            if !self.step.is_empty() {
                progress.advance(Stage::Run, 1);
            }
            name.clone_into(&mut self.step);
            self.output.clear();
            progress.detail(Stage::Run, name);
        } else if let Some(status) = line.strip_prefix("::condense-failed ") {
            self.failed = status.trim().parse().ok();
        } else if let Some(message) = line.strip_prefix("::condense-message ") {
            let (package, text) = message.split_once(' ').unwrap_or((message, ""));
            progress.warn(Warning::Message {
                package: package.to_owned(),
                text: text.to_owned(),
            });
        } else if line == "::condense-done" {
            self.done = true;
            progress.advance(Stage::Run, 1);
        } else if !line.trim().is_empty() {
            if self.output.len() == SHOWN_LINES {
                self.output.pop_front();
            }
            self.output.push_back(line.to_owned());
            progress.output(line);
        }
    }
}

fn interpreter(place: &Place, python: Python) -> PathBuf {
    place
        .scratch_env()
        .join(format!("bin/python{}.{}", python.major, python.minor))
}

fn has_activation_scripts(env_dir: &Path) -> bool {
    activation_inputs(env_dir)
        .iter()
        .any(|(path, _)| path.extension().is_some_and(|extension| extension == "sh"))
}

/// What the activation is made of: files and their lengths, sorted.
fn activation_inputs(env_dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for dir in ["etc/conda/activate.d", "etc/conda/env_vars.d"] {
        // A directory that is not there holds nothing.
        let Ok(entries) = std::fs::read_dir(env_dir.join(dir)) else {
            continue;
        };
        found.extend(
            entries
                .flatten()
                .map(|entry| (entry.path(), entry.metadata().map_or(0, |data| data.len()))),
        );
    }
    found.sort();
    found
}

fn list(paths: &[PathBuf]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut text = Vec::new();
    // A name with a line break cannot be listed; the interpreter compiles it when it is imported.
    for path in paths
        .iter()
        .filter(|path| !path.as_os_str().as_bytes().contains(&b'\n'))
    {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    text
}

/// The host's certificates lie in its own /etc, which the container may not show.
fn bring_certificates(build_dir: &Path) -> Result<(), Error> {
    let dir = build_dir.join("certificates");
    fs_err::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    for name in CERTIFICATE_VARIABLES {
        if let Some(file) = std::env::var_os(name).map(PathBuf::from)
            && file.is_file()
        {
            fs_err::copy(&file, dir.join(name)).map_err(Error::io("copy", &file))?;
        }
    }
    Ok(())
}
