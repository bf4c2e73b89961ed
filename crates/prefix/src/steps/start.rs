//! Responsible for the step that starts the environment's interpreter, to find out which files a
//! start reads. Nothing fails with it: without its result an image only has no hot zone.

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Component, Path},
};

use super::runner::StepRunner;
use crate::{
    error::Error,
    lock::parse_requirement,
    prefix::Prefix,
    progress::{Phase, Progress},
    spec::EnvironmentSpec,
};
use condense_within::Within;

const RECORD_START_PY: &str = include_str!("record_start.py");
const START_PY: &str = include_str!("start.py");
/// File of this step that run.sh looks for.
pub(super) const PROGRAM: &str = "record_start.py";
const LIST: &str = "start.list";
const FOUND: &str = "start.found";
/// Maximum number of files that a start is said to read. Larger starts read the rest later.
const FILES_MAX: usize = 50_000;

/// Start that is made to find out which files it reads: what it imports and runs, and how long it
/// may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    requests: Vec<String>,
    seconds: u32,
}

impl Start {
    /// Maximum time of a start in seconds. A slow import must not hold up a build.
    const SECONDS: u32 = 20;

    /// Creates the start that imports the packages which a spec asks for, and then runs `code`.
    pub fn new(spec: &EnvironmentSpec, code: &[String]) -> Self {
        let packages = spec.conda_packages().into_iter();
        let mut requests: Vec<String> = packages
            .map(|package| format!("conda {}", package.name))
            .collect();
        let lines = spec.pip().iter();
        let names = lines.filter_map(|line| Some(parse_requirement(line)?.name.to_string()));
        requests.extend(names.map(|name| format!("pip {name}")));
        requests.extend(code.iter().map(|code| format!("code {code}")));
        Self {
            requests,
            seconds: Self::SECONDS,
        }
    }

    /// Writes the files that the step reads.
    pub(super) fn write_inputs(&self, build_dir: &Within) -> Result<(), Error> {
        build_dir.write(LIST, self.requests.join("\0"))?;
        build_dir.write("start.seconds", self.seconds.to_string())?;
        build_dir.write("start.py", START_PY)?;
        Ok(build_dir.write(PROGRAM, RECORD_START_PY)?)
    }

    /// Makes the start directly on this machine.
    pub(super) fn run_on_host(
        &self,
        prefix: &Prefix,
        runner: &dyn StepRunner,
        progress: &dyn Progress,
    ) {
        let Some(python) = &prefix.python else {
            return;
        };
        progress.detail(Phase::Run, "recording the files of a start");
        let (env_dir, build_dir) = (prefix.place.scratch_env(), prefix.place.build_dir());
        let program = env_dir.join(format!("bin/python{}.{}", python.major, python.minor));
        let mut argv: Vec<OsString> = vec![program.into(), "-S".into(), "-s".into()];
        argv.extend([build_dir.join(PROGRAM), env_dir, build_dir.clone()].map(Into::into));
        argv.push(self.seconds.to_string().into());
        argv.push(build_dir.join("start.py").into());
        // An interpreter that does not start on this machine reads nothing.
        let _ = runner.run(&argv, &mut |line| progress.output(line));
        progress.advance(Phase::Run, 1);
    }
}

/// Files that a start reads, relative to the environment, in the order of their first use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartFiles {
    /// Paths of the files.
    pub files: Vec<String>,
    /// Parts of the start that failed, each with the reason.
    pub failed: Vec<String>,
}

impl StartFiles {
    /// Reads the result of the step. Code of packages may have written anything into it.
    pub(super) fn read(build_dir: &Within) -> Result<Self, Error> {
        let text = build_dir.read(FOUND)?.unwrap_or_default();
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut seen = HashSet::new();
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("file ") {
                let is_new = is_below(path) && seen.len() < FILES_MAX && seen.insert(path);
                found.files.extend(is_new.then(|| path.to_owned()));
            } else if let Some(reason) = line.strip_prefix("failed ") {
                found.failed.push(reason.to_owned());
            }
        }
        found
    }
}

/// Returns whether a path names a file below a directory. Names that are not text, which the
/// result has in another form, are left out.
fn is_below(path: &str) -> bool {
    let is_name = |part| matches!(part, Component::Normal(_));
    !path.is_empty()
        && Path::new(path).components().all(is_name)
        && !path.contains(char::is_control)
        && !path.contains(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_paths_below_the_environment_are_files_of_a_start() {
        let text = "file bin/python3.12\nfile lib/a b.pyc\nfile bin/python3.12\nfile ../etc/x\n\
                    file /etc/passwd\nfile \nfile a/./b\nfile a\u{fffd}\nnoise\n\
                    failed import torch: ImportError: none\nfile lib/b\u{1b}[0m\nfile c";
        let found = StartFiles::parse(text);
        assert_eq!(found.files, ["bin/python3.12", "lib/a b.pyc", "a/./b", "c"]);
        assert_eq!(found.failed, ["import torch: ImportError: none"]);
    }

    #[test]
    fn what_is_asked_for_is_imported() {
        let text = "dependencies:\n- numpy=2\n- conda-forge::pandas>=2\n- pip:\n  - Rich[all]>=1\n  \
                    - ./local.whl\n";
        let spec = EnvironmentSpec::parse(text, Path::new("e.yml"), Path::new("/")).unwrap();
        let start = Start::new(&spec, &["import torch\ntorch.zeros(1)\n".to_owned()]);
        let expected = ["conda numpy", "conda pandas"];
        assert_eq!(start.requests[..2], expected);
        assert_eq!(
            start.requests[start.requests.len() - 2..],
            ["pip rich", "code import torch\ntorch.zeros(1)\n"]
        );
    }
}
