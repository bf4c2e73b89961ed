//! Responsible for virtual environments: environments of pip packages whose interpreter is not part
//! of them.

use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    error::Error,
    prefix::Prefix,
    progress::{Phase, Progress},
    python::Python,
    pyvenv::CreatedVenv,
    spec::EnvironmentSpec,
    steps::{BuildSteps, PipStep, StepRunner, Uv, run_script, write_surroundings},
    target::Place,
};
use condense_within::Within;

/// Python code that prints the real path of the interpreter and its version, also if the
/// interpreter belongs to a virtual environment or is started by a script.
const ASK: &str = "import sys; print(getattr(sys, '_base_executable', sys.executable)); print('%d.%d.%d' % sys.version_info[:3])";

/// Script that creates the environment in the build container.
const VENV_SH: &str = include_str!("steps/venv.sh");
/// Python module that makes virtual environments on top of this one start through the wrapper.
const ON_TOP: &str = include_str!("steps/condense_venv.py");
/// Line of a `.pth` file, which Python executes at every start.
const ON_TOP_PTH: &str = "import sys; \"venv\" in getattr(sys, \"orig_argv\", [\"venv\"]) and __import__(\"_condense_venv\")\n";

/// Interpreter and options of a virtual environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Venv {
    /// Interpreter whose packages the environment extends.
    pub interpreter: Interpreter,
    /// Whether packages that are installed with the interpreter are visible.
    pub system_site_packages: bool,
}

/// Interpreter of a virtual environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// Program on this machine.
    Host(HostPython),
    /// Name that is searched on PATH in the container: `python3`.
    OfBase(String),
    /// Interpreter that uv downloads and that becomes a part of the image.
    Managed {
        /// Version in uv's notation, `3.12`; `None` for the newest.
        version: Option<String>,
        /// Source of uv if the container does not have it.
        uv: Uv,
    },
}

/// Interpreter on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPython {
    /// Absolute path of the interpreter itself, never of its link in a virtual environment.
    pub program: PathBuf,
    /// Full version of the interpreter: `3.11.7`.
    pub version: String,
}

impl HostPython {
    /// Finds the named interpreter, or the first `python3` on `search_path` (the text of PATH).
    ///
    /// # Errors
    /// Returns [`Error::Interpreter`] if there is none, if it does not start, or if it is a wrapper
    /// of another installation.
    pub fn find(named: Option<&Path>, search_path: &OsStr) -> Result<Self, Error> {
        let program = match named {
            Some(named) => named.to_owned(),
            None => find_on_path(search_path).ok_or_else(|| Error::Interpreter {
                program: "python3".into(),
                problem: "it is not on PATH".to_owned(),
            })?,
        };
        let refused = |problem: String| Error::Interpreter {
            program: program.clone(),
            problem,
        };
        let dir = program.parent().unwrap_or(Path::new("/"));
        if dir.join("../common.sh").exists() {
            return Err(refused(format!(
                "it is a wrapper of an installation, and what it runs exists in its container only; Remove {} from PATH",
                dir.display()
            )));
        }
        let output = Command::new(&program)
            .args(["-I", "-S", "-c", ASK])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| refused(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        match (lines.next(), lines.next()) {
            (Some(path), Some(version)) if output.status.success() && path.starts_with('/') => {
                Ok(Self {
                    program: path.into(),
                    version: version.to_owned(),
                })
            }
            _ => Err(refused(
                String::from_utf8_lossy(&output.stderr)
                    .lines()
                    .last()
                    .unwrap_or("it does not say where it is")
                    .to_owned(),
            )),
        }
    }

    /// Returns the tree that the interpreter belongs to: `/opt/cray/pe/python/3.11.7`.
    pub fn tree(&self) -> &Path {
        let bin = self.program.parent().unwrap_or(Path::new("/"));
        bin.parent().unwrap_or(bin)
    }
}

fn find_on_path(search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("python3"))
        .find(|program| {
            program
                .metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

impl Venv {
    /// Returns a text that distinguishes virtual environments of the same packages.
    pub fn identity(&self) -> String {
        let interpreter = match &self.interpreter {
            Interpreter::Host(python) => {
                format!("{} {}", python.program.display(), python.version)
            }
            Interpreter::OfBase(name) => format!("{name} of the base"),
            Interpreter::Managed { version, .. } => {
                format!("uv's {}", version.as_deref().unwrap_or("3"))
            }
        };
        let site = self.system_site_packages;
        format!("venv on {interpreter}, system-site-packages={site}")
    }

    /// Creates the environment in the build container, ready for its packages.
    ///
    /// # Errors
    /// Returns [`Error::Step`] with the output of the interpreter if it fails, [`Error::Container`]
    /// if the container cannot run, [`Error::Io`], or [`Error::Interrupted`].
    ///
    /// # Streams
    /// The output of the steps goes to `progress`, line by line.
    pub fn create(
        &self,
        spec: &EnvironmentSpec,
        place: &Place,
        container: &dyn StepRunner,
        progress: &dyn Progress,
    ) -> Result<BuildSteps, Error> {
        let started = Instant::now();
        let (program, managed, uv) = match &self.interpreter {
            Interpreter::Host(python) => (python.program.clone(), OsString::new(), None),
            Interpreter::OfBase(name) => (name.into(), OsString::new(), None),
            Interpreter::Managed { version, uv } => {
                let version = version.as_deref().unwrap_or("3");
                ("python3".into(), version.into(), Some(uv))
            }
        };
        let site = if self.system_site_packages {
            "--system-site-packages"
        } else {
            ""
        };
        write_inputs(place, uv)?;
        progress.begin(Phase::Run, Some(1));
        let inside = place.mounted_build_dir();
        let argv: Vec<OsString> = vec![
            "/bin/sh".into(),
            inside.join("venv.sh").into(),
            place.mounted_env().into(),
            inside.into(),
            program.into(),
            managed,
            site.into(),
        ];
        run_script(&argv, container, place, None, progress)?;
        progress.end(Phase::Run, started.elapsed());
        let env_dir = place.open_env()?;
        let created = CreatedVenv::read(&env_dir)?;
        let python = created.python(&env_dir);
        let is_outside = matches!(self.interpreter, Interpreter::Host(_));
        write_on_top(&env_dir, &python, !is_outside)?;
        let prefix = Prefix {
            place: place.clone(),
            python: Some(python),
            venv: Some(created),
        };
        Ok(BuildSteps::new(prefix, PipStep::new(spec, None)))
    }
}

/// Writes all files that venv.sh reads. They also show the later steps that this is not a conda
/// environment.
fn write_inputs(place: &Place, uv: Option<&Uv>) -> Result<(), Error> {
    let build_dir = place.open_build_dir()?;
    for (name, text) in [("venv.sh", VENV_SH), ("venv", "")] {
        build_dir.write(name, text)?;
    }
    write_surroundings(place, &build_dir)?;
    uv.map_or(Ok(()), |uv| uv.copy_to(&build_dir))
}

/// Makes the environment's Python detect that it is creating another environment on top, at no cost
/// at other starts.
fn write_on_top(env_dir: &Within, python: &Python, always: bool) -> Result<(), Error> {
    let site_packages = python.site_packages();
    let module = ON_TOP.replace("\"@ALWAYS@\"", if always { "True" } else { "False" });
    for (name, text) in [
        ("_condense_venv.py", module.as_str()),
        ("_condense_venv.pth", ON_TOP_PTH),
    ] {
        env_dir.write(site_packages.join(name), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("bin/python3");
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_first_python3_on_path_says_where_it_really_is() {
        let dir = tempfile::tempdir().unwrap();
        let shim = script(
            dir.path(),
            "#!/bin/sh\necho /opt/x/3.11.7/bin/python3\necho 3.11.7\n",
        );
        let search_path =
            std::env::join_paths([Path::new("relative"), shim.parent().unwrap()]).unwrap();
        let found = HostPython::find(None, &search_path).unwrap();
        assert_eq!(found.program, Path::new("/opt/x/3.11.7/bin/python3"));
        assert_eq!(found.version, "3.11.7");
        assert_eq!(found.tree(), Path::new("/opt/x/3.11.7"));
        assert_eq!(
            HostPython::find(Some(&shim), OsStr::new("")).unwrap(),
            found
        );
    }

    #[test]
    fn what_is_no_interpreter_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |named: Option<&Path>| {
            HostPython::find(named, OsStr::new(""))
                .unwrap_err()
                .to_string()
        };
        assert!(refused(None).contains("`python3` cannot carry an environment: it is not on PATH"));
        let broken = script(dir.path(), "#!/bin/sh\necho broken >&2\nexit 3\n");
        assert!(refused(Some(&broken)).contains("broken"));
        fs_err::write(dir.path().join("common.sh"), "").unwrap();
        assert!(refused(Some(&broken)).contains("wrapper of an installation"));
        assert!(refused(Some(Path::new("/no/such/python3"))).contains("No such file"));
    }
}
