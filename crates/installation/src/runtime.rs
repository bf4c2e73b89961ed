//! Responsible for the container runtime: finding it, building its command lines, and interpreting
//! its error messages.

mod version;

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::io::Errno;

use crate::bind::Bind;
use crate::error::{Error, Result};
use crate::quote::{escape_evaluated, quote, quote_line};
use crate::user_settings::remove_user_settings;
use version::version_output;

/// Names of the runtimes, in the order in which they are searched.
const NAMES: [&str; 2] = ["apptainer", "singularity"];

/// A container runtime that was found and has reported its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    program: PathBuf,
    kind: RuntimeKind,
    version: String,
    flags: Vec<String>,
}

/// Family of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Apptainer, under any program name.
    Apptainer,
    /// SingularityCE, SingularityPRO or Singularity before the split.
    Singularity,
}

/// A command to run in a container.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Path of a .sif file or a sandbox directory.
    pub base: PathBuf,
    /// Bind mounts, outermost first.
    pub binds: Vec<Bind>,
    /// Environment variables of the program. They replace values of the base and the host.
    pub env_vars: Vec<(String, OsString)>,
    /// Directory in the container in which the program starts. It must exist there. The default is
    /// `/`.
    pub working_dir: Option<PathBuf>,
    /// Isolation of the container from the host and the user's settings.
    pub isolation: Isolation,
    /// Program and arguments, passed unchanged.
    pub argv: Vec<OsString>,
}

/// Isolation of a container from the host and the user's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Hides HOME, /tmp and the host's devices. /tmp is then a small tmpfs: bind a scratch
    /// directory into the container and set TMPDIR.
    pub contain: bool,
    /// Does not mount HOME.
    pub no_home: bool,
    /// Passes only [`Exec::env_vars`] and the base's own variables.
    pub clean_env: bool,
    /// Makes everything that is not bound writable. The changes are held in memory and are lost at
    /// the end.
    pub writable_tmpfs: bool,
}

/// Result of mounting an image with a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounting {
    /// The runtime has mounted the image.
    Works,
    /// The runtime starts containers, but cannot mount this image. The text is the runtime's
    /// reason.
    Refused(String),
}

impl Runtime {
    /// Finds the runtime: the named one, or else apptainer, or else singularity. Names without a
    /// slash are looked up in `search_path`, which has the format of PATH.
    ///
    /// # Errors
    /// Returns [`Error::RuntimeMissing`] or [`Error::RuntimeInvalid`] for a named runtime,
    /// [`Error::NoRuntime`] if no runtime was named or found, [`Error::RuntimeNotStarted`] if this
    /// process lacks the memory, processes or descriptors to start one, and
    /// [`Error::RuntimeSilent`] if one does not tell its version within a minute.
    pub fn find(named: Option<&Path>, search_path: &OsStr) -> Result<Self> {
        Self::find_unless(&|| false, named, search_path)
    }

    /// Finds the runtime as [`Self::find`] does, until `stopped` returns true.
    ///
    /// # Errors
    /// Returns the errors of [`Self::find`], and [`Error::Io`] after a stop. The program that was
    /// asked for its version is ended then.
    pub fn find_unless(
        stopped: &dyn Fn() -> bool,
        named: Option<&Path>,
        search_path: &OsStr,
    ) -> Result<Self> {
        if let Some(named) = named {
            let bare =
                named.components().count() == 1 && named.file_name() == Some(named.as_os_str());
            let program = if bare {
                find_on_path(named, search_path)
            } else {
                Some(named.to_owned())
            }
            .filter(|program| program.exists())
            .ok_or_else(|| Error::RuntimeMissing {
                path: named.to_owned(),
            })?;
            return Self::query(&program, stopped)?.ok_or_else(|| Error::RuntimeInvalid {
                path: named.to_owned(),
            });
        }
        let mut failed = None;
        for name in NAMES {
            let Some(program) = find_on_path(Path::new(name), search_path) else {
                continue;
            };
            match Self::query(&program, stopped) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // Singularity is often a link to the apptainer that does not answer.
                Err(error @ Error::RuntimeSilent { .. }) => return Err(error),
                Err(error) if stopped() => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or(Error::NoRuntime))
    }

    /// Finds a runtime for work that can do without one.
    ///
    /// # Errors
    /// Returns [`Error::RuntimeNotStarted`] if this process lacks the memory, processes or
    /// descriptors to start one, and [`Error::RuntimeSilent`] if one does not tell its version.
    pub fn find_optional(named: Option<&Path>, search_path: &OsStr) -> Result<Option<Self>> {
        Self::optional(Self::find(named, search_path))
    }

    /// Returns whether PATH has a program with the name of a runtime.
    pub fn is_on_path(search_path: &OsStr) -> bool {
        let mut names = NAMES.iter();
        names.any(|name| find_on_path(Path::new(name), search_path).is_some())
    }

    /// Returns the result of a search for work that can do without a runtime.
    ///
    /// # Errors
    /// Returns [`Error::RuntimeNotStarted`], [`Error::RuntimeSilent`] and [`Error::Io`].
    pub fn optional(found: Result<Self>) -> Result<Option<Self>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(
                error @ (Error::RuntimeNotStarted { .. }
                | Error::RuntimeSilent { .. }
                | Error::Io(_)),
            ) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Returns the name and the version that a program on PATH with the name of a runtime prints.
    /// Known runtimes are preferred over unknown programs.
    pub fn provider(search_path: &OsStr) -> Option<(String, String)> {
        let outputs: Vec<String> = NAMES
            .iter()
            .filter_map(|name| find_on_path(Path::new(name), search_path))
            .filter_map(|program| version_output(&program, &|| false).ok()?)
            .collect();
        let name_and_version = |text: &String| {
            let mut words = text.lines().next()?.split_whitespace();
            Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
        };
        let known = outputs.iter().find(|text| parse_version(text).is_some());
        known.or(outputs.first()).and_then(name_and_version)
    }

    /// Adds flags without which no container of the site starts.
    #[must_use]
    pub fn with_flags(mut self, flags: Vec<String>) -> Self {
        self.flags = flags;
        self
    }

    /// Returns the absolute path of the runtime.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the family of the runtime.
    pub fn kind(&self) -> RuntimeKind {
        self.kind
    }

    /// Returns the version that the runtime prints, for example `1.4.5`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Checks whether the runtime has its setuid starter, with which it mounts images by itself. A
    /// site may still have disabled the starter in the runtime's configuration.
    pub fn is_setuid(&self) -> bool {
        let program = fs_err::canonicalize(&self.program).unwrap_or_else(|_| self.program.clone());
        let prefix = program.ancestors().nth(2).unwrap_or(Path::new("/usr"));
        let dirs = ["libexec/apptainer", "libexec/singularity"].map(|dir| prefix.join(dir));
        // Debian has such directories below that of the machine's kind.
        let entries = std::fs::read_dir(prefix.join("lib")).into_iter().flatten();
        let of_machines = entries.flatten().map(|it| it.path().join("apptainer"));
        let mut dirs = dirs.into_iter().chain(of_machines);
        let is_set = |it: std::fs::Metadata| it.permissions().mode() & 0o4000 != 0;
        dirs.any(|dir| dir.join("bin/starter-suid").metadata().is_ok_and(is_set))
    }

    /// Checks whether the runtime accepts an image that is compressed with zstd. `SingularityCE`
    /// (seen up to 4.5) and apptainer before 1.4 know only the other codecs, whatever the kernel
    /// supports.
    pub fn reads_zstd(&self) -> bool {
        let mut numbers = self.version.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|number| number.parse().ok());
        let version: (u32, u32) = (next().unwrap_or(0), next().unwrap_or(0));
        self.kind == RuntimeKind::Apptainer && version >= (1, 4)
    }

    /// Builds the command that runs `exec`. The caller chooses its streams. Variables by which the
    /// user sets what containers show are not passed on.
    ///
    /// The runtime starts in `/`, because it mounts its working directory last, which could hide
    /// one of the bind mounts.
    pub fn exec(&self, exec: &Exec) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-s", "exec"]).args(&self.flags);
        for (wanted, flag) in [
            (exec.isolation.contain, "--contain"),
            (exec.isolation.no_home, "--no-home"),
            (exec.isolation.clean_env, "--cleanenv"),
            (exec.isolation.writable_tmpfs, "--writable-tmpfs"),
        ] {
            if wanted {
                command.arg(flag);
            }
        }
        let uses_mount_option = self.kind == RuntimeKind::Singularity
            && exec.binds.iter().any(Bind::has_special_characters);
        for bind in &exec.binds {
            // All bind mounts use the same option, because the runtime mounts those of `--mount`
            // and those of `-B` one group after the other.
            if uses_mount_option {
                command.arg("--mount").arg(bind.mount_argument());
            } else {
                command.arg("-B").arg(bind.argument());
            }
        }
        let working_dir = exec.working_dir.as_deref().unwrap_or(Path::new("/"));
        command
            .arg("--pwd")
            .arg(working_dir)
            .arg(&exec.base)
            .args(&exec.argv)
            .current_dir("/");
        self.set_env_vars(&mut command, exec);
        command
    }

    /// Builds the command that runs a program in a directory whose files it may change, with no
    /// variable, bind mount, directory or process of the user or of the site. With `is_fake_root`,
    /// the program counts as root.
    pub fn exec_writable(
        &self,
        root: &Path,
        binds: &[Bind],
        is_fake_root: bool,
        argv: &[OsString],
    ) -> Command {
        let exec = Exec {
            base: root.to_owned(),
            binds: binds.to_vec(),
            argv: argv.to_vec(),
            ..Exec::default()
        };
        let mut flags = self.flags.clone();
        let contained =
            "--writable --contain --no-mount hostfs,tmp,cwd --no-home --cleanenv --pid --ipc";
        flags.extend(contained.split(' ').map(str::to_owned));
        flags.extend(is_fake_root.then(|| "--fakeroot".to_owned()));
        self.clone().with_flags(flags).exec(&exec)
    }

    /// Runs `exec` to its end with an empty stdin.
    ///
    /// # Errors
    /// Returns [`Error::RuntimeFailed`] if the program ends with another status than 0, and
    /// [`Error::Io`] if the runtime cannot be started.
    ///
    /// # Streams
    /// Nothing is written to the caller's streams.
    pub fn run(&self, exec: &Exec) -> Result<Output> {
        let mut command = self.exec(exec);
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::at("start", &self.program, source))?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(failure(&command, &output))
        }
    }

    /// Tries exactly these bind mounts on this base, before anything is downloaded or built.
    ///
    /// # Errors
    /// Returns [`Error::RuntimeFailed`] with the runtime's own reason if the container does not
    /// start, or if a mount point is missing in it.
    ///
    /// # Streams
    /// Nothing is written to the caller's streams.
    pub fn probe(&self, base: &Path, binds: &[Bind]) -> Result<()> {
        // `test` proves that each mount point exists in the container. The runtime silently drops a
        // bind mount whose destination passes through a link.
        let mut script = OsString::from(":");
        for bind in binds {
            script.push(" && test -e ");
            script.push(quote(bind.destination()));
        }
        let exec = Exec {
            base: base.to_owned(),
            binds: binds.to_vec(),
            isolation: Isolation {
                clean_env: true,
                ..Isolation::default()
            },
            argv: vec!["/bin/sh".into(), "-c".into(), script],
            ..Exec::default()
        };
        self.run(&exec).map(drop)
    }

    /// Checks whether this runtime can mount an image, by mounting it. The image is refused only if
    /// the runtime says that it does not know its format or codec.
    ///
    /// # Errors
    /// Returns [`Error::RuntimeFailed`] if the runtime fails for another reason, or cannot start
    /// this base even without the image, and [`Error::Io`] if the runtime cannot be started.
    ///
    /// # Streams
    /// Nothing is written to the caller's streams.
    pub fn can_mount(&self, base: &Path, image: &Path, mount_point: &Path) -> Result<Mounting> {
        match self.probe(base, &[Bind::image(image, mount_point)?]) {
            Ok(()) => Ok(Mounting::Works),
            Err(Error::RuntimeFailed { cause, .. })
                if names_unknown_format(&cause, &[base, image, mount_point]) =>
            {
                self.probe(base, &[])?;
                Ok(Mounting::Refused(cause))
            }
            Err(other) => Err(other),
        }
    }

    /// Runs a program to get its version. Returns `None` if the program is no runtime.
    ///
    /// # Errors
    /// Returns [`Error::RuntimeNotStarted`] if a limit of this process keeps it from starting.
    fn query(program: &Path, stopped: &dyn Fn() -> bool) -> Result<Option<Self>> {
        let output = version_output(program, stopped)?;
        let Some((kind, version)) = output.as_deref().and_then(parse_version) else {
            return Ok(None);
        };
        let program =
            std::path::absolute(program).map_err(|error| Error::at("find", program, error))?;
        Ok(Some(Self {
            program,
            kind,
            version,
            flags: Vec::new(),
        }))
    }

    fn set_env_vars(&self, command: &mut Command, exec: &Exec) {
        remove_user_settings(command);
        for (name, value) in &exec.env_vars {
            // Both runtimes read `SINGULARITYENV_*`. Apptainer prefers `APPTAINERENV_*`, so that
            // variable is removed.
            command.env_remove(format!("APPTAINERENV_{name}"));
            command.env(format!("SINGULARITYENV_{name}"), escape_evaluated(value));
        }
        // With a relative entry in PATH, the runtime refuses to look for its helper programs. The
        // squashfs tools of an environment must not become its helpers.
        let mut path = OsString::from(self.program.parent().unwrap_or(Path::new("/usr/bin")));
        path.push(":/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
        command.env("PATH", path);
    }
}

/// Looks up a name in PATH as `execvp` does, but skips relative entries and the wrappers of
/// installations.
fn find_on_path(name: &Path, search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute() && !dir.join("../common.sh").exists())
        .map(|dir| dir.join(name))
        .find(|program| {
            program.metadata().is_ok_and(|metadata| {
                metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
            })
        })
}

/// Returns whether a program has not started for lack of memory, processes or descriptors.
fn is_limit(error: &std::io::Error) -> bool {
    let limits = [Errno::NOMEM, Errno::AGAIN, Errno::MFILE, Errno::NFILE];
    let found = error.raw_os_error();
    limits
        .iter()
        .any(|limit| found == Some(limit.raw_os_error()))
}

/// Returns whether a program says in this line that it lacks memory, processes or descriptors. The
/// words are those of Go, of the C library, of shells and of the loader.
fn names_limit(line: &str) -> bool {
    const WORDS: [&str; 7] = [
        "failed to reserve",
        "out of memory",
        "cannot allocate memory",
        "resource temporarily unavailable",
        "too many open files",
        "pthread_create failed",
        "failed to create new os thread",
    ];
    let line = line.to_lowercase();
    WORDS.iter().any(|word| line.contains(word))
}

/// Returns whether a runtime's reason says that it does not know the format or the codec of an
/// image. The words are those of apptainer, singularity, squashfuse and mount. Names of the files
/// `paths` do not count.
fn names_unknown_format(cause: &str, paths: &[&Path]) -> bool {
    const WORDS: [&str; 7] = [
        "compression",
        "bad superblock",
        "superblock for squashfs",
        "image format",
        "wrong fs type",
        "unknown filesystem type",
        "failed to mount squashfs filesystem: invalid argument",
    ];
    let mut cause = cause.to_owned();
    for path in paths {
        cause = cause.replace(&*path.to_string_lossy(), "");
    }
    let cause = cause.to_lowercase();
    WORDS.iter().any(|word| cause.contains(word)) && !names_limit(&cause)
}

/// Parses the output for `--version`, such as `apptainer version 1.4.5`, `singularity-ce version
/// 4.1.5-jammy` or `singularity version 3.8.7`.
fn parse_version(text: &str) -> Option<(RuntimeKind, String)> {
    let mut words = text.lines().next()?.split_whitespace();
    let kind = match words.next()? {
        "apptainer" => RuntimeKind::Apptainer,
        name if name.starts_with("singularity") => RuntimeKind::Singularity,
        _ => return None,
    };
    (words.next()? == "version").then_some(())?;
    Some((kind, words.next()?.to_owned()))
}

fn failure(command: &Command, output: &Output) -> Error {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    Error::RuntimeFailed {
        command: quote_line(words).to_string_lossy().into_owned(),
        status: output.status.to_string(),
        cause: find_cause(&String::from_utf8_lossy(&output.stderr)),
    }
}

/// Returns the runtime's FATAL line without its decoration, or else the last 20 lines.
fn find_cause(stderr: &str) -> String {
    let plain: Vec<String> = stderr.lines().map(strip_colours).collect();
    // The runtime answers an invalid command line with its whole help text.
    if let Some(line) = plain
        .iter()
        .find(|line| line.starts_with("Error for command"))
    {
        return line.clone();
    }
    if let Some(fatal) = plain.iter().find_map(|line| line.split_once("FATAL:")) {
        return fatal.1.trim().to_owned();
    }
    // Container runtimes are written in Go, which reports limits on processes in its own way. Many
    // pages of output follow that line.
    if let Some(line) = plain.iter().find(|line| {
        line.contains("pthread_create failed") || line.starts_with("runtime: failed to create")
    }) {
        return format!("{line} (`ulimit -u`, `ulimit -v`)");
    }
    let tail = plain[plain.len().saturating_sub(20)..]
        .join("\n")
        .trim()
        .to_owned();
    if tail.is_empty() {
        "it wrote nothing to stderr".to_owned()
    } else {
        tail
    }
}

/// Removes terminal colours: ESC `[` up to a letter.
fn strip_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests;
