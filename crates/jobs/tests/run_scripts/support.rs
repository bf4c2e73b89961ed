//! Responsible for a directory with all run scripts, and for running them in each shell.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// Stand-in for Python: prints its arguments and its variables.
const PYTHON: &str = "#!/bin/sh\necho \"python $*\"\nexec /usr/bin/env\n";

/// Shells in which the scripts must work, where a machine has them. Each machine has `sh`.
const SHELLS: [&[&str]; 4] = [&["sh"], &["dash"], &["bash"], &["busybox", "sh"]];

pub(crate) struct Place {
    dir: TempDir,
}

/// Status and output of a script.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// Returns the value of a variable that the stand-in has.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.stdout.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// Checks these variables of the stand-in; `-` is for a variable that is not set.
    #[track_caller]
    pub(crate) fn has(&self, variables: &str) -> &Self {
        assert_eq!(self.status, 0, "{self:?}");
        for word in variables.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap();
            let value = Some(value).filter(|value| *value != "-");
            assert_eq!(self.value(name), value, "{name} in {self:?}");
        }
        self
    }

    /// Checks that the script has ended with one line of error and nothing else.
    #[track_caller]
    pub(crate) fn refused(&self, words: &str) {
        assert_eq!(self.status, 1, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.contains(words), "no `{words}` in {self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
    }
}

/// Returns the shells of this machine, as words of a command.
pub(crate) fn shells() -> impl Iterator<Item = &'static [&'static str]> {
    let all = SHELLS.into_iter();
    all.filter(|words| program(words[0]).is_some())
}

fn program(name: &str) -> Option<PathBuf> {
    let mut paths = ["/bin", "/usr/bin"]
        .map(|dir| Path::new(dir).join(name))
        .into_iter();
    paths.find(|path| path.exists())
}

impl Place {
    /// Makes a directory with the scripts. `tmp` and `dev` in it are `/tmp` and `/dev` for them.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        for dir in ["run scripts", "bin", "tmp", "dev/dri"] {
            fs_err::create_dir_all(place.path(dir)).unwrap();
        }
        let root = place.path("").display().to_string();
        for script in condense_jobs::run_scripts() {
            let mut text = script.text.replace("/tmp/", &format!("{root}tmp/"));
            for name in ["/dev/kfd", "/dev/dri/", "/dev/nvidia"] {
                text = text.replace(name, &format!("{root}{}", &name[1..]));
            }
            place.write_program(&format!("run scripts/{}", script.name), &text);
        }
        place.write_program("bin/python", PYTHON);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Writes a program. Another process does: a program that this one has open for writing cannot
    /// be started, and other tests start processes, which hold the file open until they run.
    pub(crate) fn write_program(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat >\"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = writer.stdin.take().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        drop(input);
        assert!(writer.wait().unwrap().success());
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(self.path(name), mode).unwrap();
    }

    /// Returns a command without variables but these, and with the stand-in as the only program
    /// on PATH.
    pub(crate) fn command(&self, shell: &[&str], script: &str, variables: &str) -> Command {
        // A name would be searched on the script's PATH.
        let mut command = Command::new(program(shell[0]).unwrap());
        command
            .args(&shell[1..])
            .arg(self.path("run scripts").join(script))
            .current_dir(self.path("tmp"))
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("USER", "me");
        for word in variables.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap();
            command.env(name, value);
        }
        command
    }

    /// Runs a script in `sh`.
    pub(crate) fn run(&self, script: &str, variables: &str) -> Said {
        let mut command = self.command(&["sh"], script, variables);
        command.output().unwrap().into()
    }

    /// Runs `conda-python-distributed` in each shell, which must all say the same.
    #[track_caller]
    pub(crate) fn distributed(&self, variables: &str) -> Said {
        let mut all = shells().map(|shell| {
            let mut command = self.command(shell, "conda-python-distributed", variables);
            Said::from(command.arg("train.py").output().unwrap())
        });
        let first = all.next().unwrap();
        for other in all {
            assert_eq!(first.status, other.status, "{first:?} and {other:?}");
            for name in ["RANK", "LOCAL_RANK", "MASTER_ADDR", "ROCR_VISIBLE_DEVICES"] {
                assert_eq!(first.value(name), other.value(name), "{first:?}, {other:?}");
            }
        }
        first
    }
}
