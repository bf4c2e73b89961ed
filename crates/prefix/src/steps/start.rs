//! Responsible for the step that starts the environment's interpreter, to find out which files a
//! start reads. Nothing fails with it: without its result an image only has no hot zone.

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Component, Path},
};

use sha2::{Digest as _, Sha256};

use super::{run_sh, runner::StepRunner, script::try_script, start_guard::StartGuard};
use crate::{
    error::Error,
    lock::parse_requirement,
    prefix::Prefix,
    progress::{Phase, Progress},
    spec::EnvironmentSpec,
    target::Place,
};
use condense_within::Within;

const RECORD_START_PY: &str = include_str!("record_start.py");
const START_PY: &str = include_str!("start.py");
/// File of this step that run.sh looks for.
pub(super) const PROGRAM: &str = "record_start.py";
const LIST: &str = "start.list";
pub(super) const FOUND: &str = "start.found";
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
    /// Maximum time of each of the two starts in seconds. A slow import must not hold up a build.
    const SECONDS: u32 = 60;

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

    /// Returns whether the start runs code of the user.
    pub fn runs_code(&self) -> bool {
        self.requests
            .iter()
            .any(|request| request.starts_with("code "))
    }

    /// Returns a digest of the programs of the start and of what they import and run.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let seconds = self.seconds.to_string();
        let texts = [RECORD_START_PY, START_PY, &seconds];
        for text in texts
            .into_iter()
            .chain(self.requests.iter().map(String::as_str))
        {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        digest.finalize().into()
    }

    /// Writes the files that the step reads.
    pub(super) fn write_inputs(&self, build_dir: &Within) -> Result<(), Error> {
        build_dir.write(LIST, self.requests.join("\0"))?;
        build_dir.write("start.seconds", self.seconds.to_string())?;
        build_dir.write("start.py", START_PY)?;
        Ok(build_dir.write(PROGRAM, RECORD_START_PY)?)
    }

    /// Makes the start in a container with a finished environment, or with an image of it. The
    /// container shows the build directory of `place` at the path that it has on this machine.
    /// Returns the reason if the container cannot run.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the build directory cannot be used, and [`Error::Interrupted`].
    pub fn record(
        &self,
        place: &Place,
        container: &dyn StepRunner,
        progress: &dyn Progress,
    ) -> Result<Result<StartFiles, String>, Error> {
        let build_dir = place.open_build_dir()?;
        self.write_inputs(&build_dir)?;
        let argv = run_sh(place, &build_dir, place.build_dir())?;
        match try_script(&argv, container, place, progress) {
            Ok(Err(reason)) => Ok(Err(reason)),
            // A start that has ended has written down what it has read.
            Ok(Ok(())) | Err(Error::Step { .. } | Error::Container(_)) => {
                Ok(Ok(StartFiles::read(&build_dir)?))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the start directly on this machine. What it adds to the environment is removed.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the environment cannot be read, or additions cannot be removed.
    pub(super) fn run_on_host(
        &self,
        prefix: &Prefix,
        runner: &dyn StepRunner,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let Some(python) = &prefix.python else {
            return Ok(());
        };
        let guard = StartGuard::new(&prefix.place)?;
        progress.detail(Phase::Run, "recording the files of a start");
        let (env_dir, build_dir) = (prefix.place.scratch_env(), prefix.place.build_dir());
        let program = env_dir.join(format!("bin/python{}.{}", python.major, python.minor));
        let mut argv: Vec<OsString> = vec![program.into(), "-S".into(), "-s".into()];
        argv.extend([build_dir.join(PROGRAM), env_dir, build_dir.clone()].map(Into::into));
        argv.push(self.seconds.to_string().into());
        argv.push(build_dir.join("start.py").into());
        // An interpreter that does not start on this machine reads nothing.
        let _ = runner.run(&argv, &mut |line| progress.output(line));
        guard.settle(&prefix.place)?;
        progress.advance(Phase::Run, 1);
        Ok(())
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
    /// Creates the result of a start that was not made, for this reason.
    pub fn failed(reason: String) -> Self {
        Self {
            files: Vec::new(),
            failed: vec![reason],
        }
    }

    /// Returns the files and failures as lines of text.
    pub fn lines(&self) -> String {
        let files = self.files.iter().map(|path| format!("file {path}\n"));
        let failed = self
            .failed
            .iter()
            .map(|reason| format!("failed {reason}\n"));
        files.chain(failed).collect()
    }

    /// Reads the result of the step. Code of packages may have written anything into it.
    pub(super) fn read(build_dir: &Within) -> Result<Self, Error> {
        let text = build_dir.read(FOUND)?.unwrap_or_default();
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Reads lines that [`Self::lines`] has written.
    pub fn parse(text: &str) -> Self {
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
    use std::{
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

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

    /// Returns the step's program with the Python of this machine, for an environment with one
    /// package.
    fn recorder(requests: &[&str], seconds: &str) -> (Command, tempfile::TempDir) {
        let scratch = tempfile::tempdir().unwrap();
        let (prefix, build) = (scratch.path().join("env"), scratch.path().join("build"));
        let library = prefix.join("lib/python3.12/site-packages");
        fs_err::create_dir_all(library.join("pkg")).unwrap();
        fs_err::create_dir_all(library.join("pkg-1.0.dist-info")).unwrap();
        fs_err::create_dir(&build).unwrap();
        let listed = "pkg/__init__.py,,\npkg/data.txt,,\npkg/later.py,,\n";
        let write = |path: &Path, text: &str| fs_err::write(path, text).unwrap();
        write(&library.join("pkg-1.0.dist-info/RECORD"), listed);
        write(&library.join("pkg/data.txt"), "data");
        write(&library.join("pkg/later.py"), "");
        let code = "import os; from . import later; open(os.path.join(os.path.dirname(__file__), 'data.txt')).read()";
        write(&library.join("pkg/__init__.py"), code);
        write(&build.join("record_start.py"), RECORD_START_PY);
        write(&build.join("start.py"), START_PY);
        let path = format!("code import sys; sys.path.insert(0, {library:?})");
        let requests: Vec<&str> = std::iter::once(&*path)
            .chain(requests.iter().copied())
            .collect();
        write(&build.join(LIST), &requests.join("\0"));
        let mut command = Command::new("python3");
        command
            .args(["-S", "-s"])
            .arg(build.join("record_start.py"))
            .args([&prefix, &build])
            .arg(seconds)
            .arg(build.join("start.py"))
            .env("SECRET_TOKEN", "x");
        (command, scratch)
    }

    /// Runs the step's program, and returns its result.
    fn record(requests: &[&str], seconds: &str) -> (StartFiles, tempfile::TempDir) {
        let (mut command, scratch) = recorder(requests, seconds);
        let output = command.output().unwrap();
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = fs_err::read_to_string(scratch.path().join("build").join(FOUND)).unwrap();
        (StartFiles::parse(&text), scratch)
    }

    const PACKAGE: &str = "lib/python3.12/site-packages/pkg";

    #[test]
    fn a_start_names_what_it_reads_in_order() {
        let (found, _) = record(&["pip Pkg", "code import missing"], "60");
        let expected = ["__init__.py", "later.py", "data.txt"];
        let expected = expected.map(|name| format!("{PACKAGE}/{name}"));
        assert_eq!(found.files, expected);
        let [failed] = &found.failed[..] else {
            panic!("{found:?}");
        };
        assert!(
            failed.starts_with("import missing: ModuleNotFoundError"),
            "{failed}"
        );
    }

    /// The second start runs everything from the part that has made a cache, and the user's code
    /// before it. Its files count. Without a cache there is no second start.
    #[test]
    fn only_what_has_made_a_cache_is_started_again() {
        let runs = tempfile::NamedTempFile::new().unwrap();
        let note = |name: char, code: &str| {
            let path = runs.path().display();
            format!("code {code}\nopen('{path}', 'a').write('{name}')")
        };
        let reads =
            |file: &str| format!("import sys; open(sys.argv[2] + '/{PACKAGE}/{file}').read()");
        let cache = format!(
            "import os; cache = os.environ['HOME'] + '/fonts'\n\
             if not os.path.exists(cache):\n  open(cache, 'w').write('1'); {}\n\
             else:\n  {}",
            reads("data.txt"),
            reads("later.py")
        );
        let (first, second) = (note('a', "pass"), note('b', &cache));
        let last = note('c', "pass");
        let (found, _) = record(&[&first, &second, &last], "60");
        assert_eq!(found.files, [format!("{PACKAGE}/later.py")]);
        assert!(found.failed.is_empty(), "{:?}", found.failed);
        assert_eq!(fs_err::read_to_string(runs.path()).unwrap(), "abcabc");

        // What only the making of the cache has imported before is read by a later part.
        let cache = "code import os; cache = os.environ['HOME'] + '/fonts'\n\
                     if not os.path.exists(cache):\n  open(cache, 'w'); import pkg.later";
        let (found, _) = record(&[cache, "code import pkg.later"], "60");
        assert!(found.files.contains(&format!("{PACKAGE}/later.py")));

        // Neither the home directory of a part nor an error's own code ends the start.
        let homeless = "code import os; os.environ.pop('HOME')";
        let fails = "code class E(Exception):\n  def __str__(self): raise E()\nraise E()";
        let (found, _) = record(&[homeless, fails, "code import pkg"], "60");
        assert!(found.files.contains(&format!("{PACKAGE}/data.txt")));
        assert_eq!(found.failed.len(), 1, "{:?}", found.failed);

        fs_err::write(runs.path(), "").unwrap();
        let (found, _) = record(&[&first, &note('d', &reads("data.txt"))], "60");
        assert_eq!(found.files, [format!("{PACKAGE}/data.txt")]);
        assert_eq!(fs_err::read_to_string(runs.path()).unwrap(), "ad");
    }

    /// A part that fails by itself is started with everything before it.
    #[test]
    fn a_start_is_repeated_as_a_whole_if_its_parts_need_each_other() {
        let cache = "code import os, pkg; open(os.environ['HOME'] + '/cache', 'w')";
        // The search path is set by code before the package, which is not the user's last.
        let (found, _) = record(&[cache, "pip Pkg"], "60");
        assert!(found.failed.is_empty(), "{:?}", found.failed);
        assert!(found.files.contains(&format!("{PACKAGE}/data.txt")));
        let ends = "code import os; open(os.environ['HOME'] + '/x', 'w').write('1'); os._exit(7)";
        let (found, _) = record(&["pip Pkg", ends], "60");
        assert!(found.files.contains(&format!("{PACKAGE}/data.txt")));
        assert_eq!(found.failed.len(), 1, "{:?}", found.failed);
        assert!(
            found.failed[0].ends_with("exit status 7"),
            "{:?}",
            found.failed
        );
    }

    #[test]
    fn a_start_changes_nothing_and_sees_nothing_of_the_user() {
        let (found, scratch) = record(
            &[
                "code import pkg; open(pkg.__file__ + 'x', 'w')",
                "code import os, pkg; os.mkdir(os.path.dirname(pkg.__file__) + '/made')",
                "code import os; assert 'SECRET_TOKEN' not in os.environ",
                "code import os; assert os.environ['HOME'].endswith('start-home')",
                "code raise SystemExit(3)",
            ],
            "60",
        );
        assert_eq!(found.failed.len(), 3, "{:?}", found.failed);
        assert!(
            found.failed[..2]
                .iter()
                .all(|failed| failed.contains("Read-only file system"))
        );
        let made = fs_err::read_dir(scratch.path().join("env").join(PACKAGE)).unwrap();
        let made: Vec<_> = made.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(made.len(), 3, "{made:?}");
    }

    /// The start is ended with everything that it has started, and what it has read until then
    /// does not count: that depends on the load of the machine.
    #[test]
    fn a_start_that_does_not_end_is_ended() {
        let slow = "code import os, subprocess, time; import pkg; \
                    child = subprocess.Popen(['sleep', '300']); \
                    open(os.environ['HOME'] + '/child', 'w').write(str(child.pid))";
        let started = std::time::Instant::now();
        let (found, scratch) = record(&[slow, "code import time; time.sleep(300)"], "3");
        assert!(started.elapsed().as_secs() < 60);
        assert_eq!(found.failed, ["the time limit"]);
        assert!(found.files.is_empty(), "{found:?}");
        let child = fs_err::read_to_string(scratch.path().join("build/start-home/child")).unwrap();
        assert!(!runs(&child));
    }

    /// Returns whether a process runs. One that was killed may still wait for somebody to take its
    /// status.
    fn runs(process: &str) -> bool {
        let state = fs_err::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z")
    }

    /// Code that ends the process is named with the end, like code that fails. Files of the code
    /// before it are known.
    #[test]
    fn code_that_ends_the_process_is_named() {
        let ends = [
            ("import os;  os._exit(5)", "exit status 5"),
            ("import os; os._exit(0)", "exit status 0"),
            ("import os; os.kill(os.getpid(), 11)", "signal 11"),
            (
                "import os; os.execv('/bin/false', ['false'])",
                "exit status 1",
            ),
        ];
        for (code, end) in ends {
            let code = format!("code {code}");
            let (found, _) = record(&["pip pkg", &code, "code import never"], "60");
            let shown = code[5..].replace("  ", " ");
            assert_eq!(found.failed, [format!("{shown}: {end}")]);
            assert_eq!(found.files.len(), 3, "{found:?}");
        }
    }

    /// Starts the step's program with code that goes on for minutes. Returns the program, and the
    /// numbers of the code's process and of its child.
    fn endless(seconds: &str, with_ctypes: bool) -> (Child, [String; 2], tempfile::TempDir) {
        let code = "code import os, subprocess, time; child = subprocess.Popen(['sleep', '300']); \
                    home = os.environ['HOME']; \
                    open(home + '/made', 'w').write('%d %d' % (os.getpid(), child.pid)); \
                    os.rename(home + '/made', home + '/pids'); time.sleep(300)";
        let (mut command, scratch) = recorder(&[code], seconds);
        if !with_ctypes {
            let other = scratch.path().join("build/ctypes.py");
            fs_err::write(other, "raise ImportError\n").unwrap();
        }
        let program = command.stderr(Stdio::piped()).spawn().unwrap();
        let pids = scratch.path().join("build/start-home/pids");
        let text = wait_for(|| fs_err::read_to_string(&pids).ok());
        let (code, child) = text.split_once(' ').unwrap();
        (program, [code.to_owned(), child.to_owned()], scratch)
    }

    fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "it takes too long"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nothing of a start goes on without the program that watches it: it is ended at once, and by
    /// its own alarm at the time limit if the interpreter has no ctypes. Ctrl-C, which ends the
    /// build and thereby the program, makes the program say nothing.
    #[test]
    fn a_start_does_not_outlive_its_limit_when_the_recorder_is_killed() {
        for (seconds, with_ctypes) in [("60", true), ("2", false)] {
            let (mut program, pids, _scratch) = endless(seconds, with_ctypes);
            let mut interrupt = Command::new("kill");
            interrupt.args(["-INT", &program.id().to_string()]);
            assert!(interrupt.status().unwrap().success());
            std::thread::sleep(Duration::from_millis(100));
            program.kill().unwrap();
            let output = program.wait_with_output().unwrap();
            assert!(output.stderr.is_empty(), "{output:?}");
            let started = Instant::now();
            wait_for(|| (!pids.iter().any(|pid| runs(pid))).then_some(()));
            assert!(started.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn what_is_asked_for_is_imported() {
        let text = "dependencies:\n- numpy=2\n- conda-forge::pandas>=2\n- pip:\n  - Rich[all]>=1\n";
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
