//! Responsible for the ways of running a script as root: which of them work here, by trying, and
//! their commands.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::Context;
use condense_installation::{Bind, Runtime};

use super::{
    APT_WITHOUT_USERS, Error,
    child::{self, Request},
};
use crate::child::SignalScope;

/// Name of the file that a way is tried with.
const TRIED: &str = ".condense-tried";
/// Script that makes a file, gives it to another user, and looks for it in two ways. proot does not
/// keep the owner, which packages do not look at. Broken versions of proot fail at each of the
/// others.
const TRY_AS_ROOT: &str = "cd / && : >.condense-tried && chown 7:7 .condense-tried && \
    ls -ln .condense-tried && cp -p .condense-tried .condense-copied && rm .condense-copied && \
    if [ \"$(id -u)\" != 0 ]; then echo 'programs do not see themselves as root'; exit 1; fi";
/// Script that makes a file and looks whether it is there.
const TRY_AS_USER: &str = "cd / && : >.condense-tried && ls .condense-tried";
/// Script that gives everything to the user who has started the container.
const GIVE_BACK: &str = "for each in /* /.[!.]*; do case $each in /dev|/proc|/sys) ;; \
    *) chown -hR 0:0 \"$each\" 2>/dev/null ;; esac; done; :";
/// Shell with which ways are tried, unless the script has another.
const SHELL: &str = "/bin/sh";
/// Directories in which `unshare` is looked for besides PATH.
const SYSTEM: [&str; 2] = ["/usr/bin", "/bin"];
/// Reason why root does not run proot.
const ROOT_AND_PROOT: &str = "a mistake of it would change this machine if root runs it";
/// Directories of this machine that a program without a container sees.
const OF_PROOT: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A way of running a script as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Namespaces of this program.
    Namespace,
    /// The runtime with a writable directory.
    Runtime,
    /// proot, which emulates root.
    Proot,
    /// The runtime or proot without any root.
    NoRoot,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces of its own",
            Self::Runtime => "the container runtime with a writable directory",
            Self::Proot => "proot",
            Self::NoRoot => "no root at all",
        }
    }
}

/// Program of a way.
#[derive(Debug, Clone)]
pub(super) enum Program {
    Namespaces {
        unshare: PathBuf,
        user: bool,
    },
    Runtime {
        runtime: Runtime,
        is_fake_root: bool,
    },
    Proot {
        proot: PathBuf,
        is_fake_root: bool,
        /// Whether each system call stops the program. It is slow, and works on kernels on which
        /// the filter of proot passes calls by.
        is_thorough: bool,
    },
}

/// A way that works, with the reasons why those before it do not.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) way: Way,
    program: Program,
    closed: Vec<String>,
    shell: String,
}

/// Everything that a command needs to know.
#[derive(Clone, Copy)]
pub(super) struct Start<'s> {
    /// Directory of the build for files of the command.
    pub(super) dir: &'s Path,
    pub(super) root: &'s Path,
    pub(super) binds: &'s [(PathBuf, PathBuf)],
    pub(super) argv: &'s [String],
    pub(super) variables: &'s BTreeMap<String, String>,
    pub(super) failure: &'s Path,
}

/// Ways that are tried.
pub(super) struct Ways<'w> {
    /// Value of the user's PATH.
    search_path: &'w OsStr,
    dir: &'w Path,
    runtime: Option<&'w Runtime>,
    allow_no_root: bool,
    namespaces: Option<Program>,
    closed: Vec<String>,
    /// Path of a shell in the root.
    shell: String,
}

impl<'w> Ways<'w> {
    pub(super) fn new(
        search_path: &'w OsStr,
        dir: &'w Path,
        runtime: Option<&'w Runtime>,
        allow_no_root: bool,
    ) -> Self {
        Self {
            search_path,
            dir,
            runtime,
            allow_no_root,
            namespaces: None,
            closed: Vec::new(),
            shell: SHELL.to_owned(),
        }
    }

    /// Sets the path of the shell with which ways are tried in the root.
    pub(super) fn set_shell(&mut self, shell: &str) {
        shell.clone_into(&mut self.shell);
    }

    fn close(&mut self, way: Way, reason: impl std::fmt::Display) {
        let closed = format!("{}: {reason}", way.name());
        if !self.closed.contains(&closed) {
            self.closed.push(closed);
        }
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let dirs = std::env::split_paths(self.search_path);
        let dirs = dirs.filter(|dir| dir.is_absolute() && !dir.join("../common.sh").exists());
        dirs.chain(SYSTEM.map(PathBuf::from))
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
    }

    /// Tries namespaces with an empty root: a user namespace, and for root also none.
    ///
    /// # Errors
    /// Returns an error if a file of the build cannot be written.
    pub(super) fn try_namespaces(&mut self) -> anyhow::Result<()> {
        let Some(unshare) = self.find("unshare") else {
            self.close(Way::Namespace, "there is no `unshare` of util-linux");
            return Ok(());
        };
        let is_root = rustix::process::geteuid().is_root();
        let users: &[bool] = if is_root { &[true, false] } else { &[true] };
        let mut reasons = Vec::new();
        for &user in users {
            let program = Program::Namespaces {
                unshare: unshare.clone(),
                user,
            };
            match self.try_empty(&program)? {
                None => {
                    self.namespaces = Some(program);
                    return Ok(());
                }
                Some(reason) if !reasons.contains(&reason) => reasons.push(reason),
                Some(_) => {}
            }
        }
        self.close(Way::Namespace, reasons.join(", "));
        Ok(())
    }

    /// Returns the reason why namespaces with an empty root do not work.
    fn try_empty(&self, program: &Program) -> anyhow::Result<Option<String>> {
        let root = self.dir.join("empty");
        for name in ["dev", "proc", "sys"] {
            fs_err::create_dir_all(root.join(name))?;
        }
        let failure = self.dir.join("failure");
        fs_err::write(&failure, "")?;
        let start = Start {
            dir: self.dir,
            root: &root,
            binds: &[],
            argv: &[],
            variables: &BTreeMap::new(),
            failure: &failure,
        };
        let (command, _) = program.command(&start)?;
        let found = reason(command, &failure);
        fs_err::remove_dir_all(&root)?;
        Ok(found)
    }

    /// Returns the error of no way early, before anything is unpacked.
    ///
    /// # Errors
    /// Returns [`Error::NoWay`].
    pub(super) fn refuse_if_hopeless(&mut self) -> anyhow::Result<()> {
        if self.namespaces.is_none() && self.runtime.is_none() && self.find("proot").is_none() {
            return Err(self.none());
        }
        Ok(())
    }

    fn none(&mut self) -> anyhow::Error {
        if self.runtime.is_none() {
            self.close(Way::Runtime, "neither apptainer nor singularity is on PATH");
        }
        if self.find("proot").is_none() {
            self.close(Way::Proot, "there is none on PATH");
        }
        if !self.allow_no_root {
            self.close(Way::NoRoot, "it was not asked for");
        }
        let closed = std::mem::take(&mut self.closed);
        Error::NoWay { closed }.into()
    }

    /// Chooses the first way that works in the root.
    ///
    /// # Errors
    /// Returns [`Error::NoWay`] with the reason of each way, or an error if a file of the build
    /// cannot be written.
    pub(super) fn choose(
        mut self,
        root: &Path,
        binds: &[(PathBuf, PathBuf)],
    ) -> anyhow::Result<Chosen> {
        if let Some(program) = self.namespaces.take() {
            return Ok(self.chosen(Way::Namespace, program));
        }
        match self.choose_other(root, binds, |_| true)? {
            Some((way, program)) => Ok(self.chosen(way, program)),
            None => Err(self.none()),
        }
    }

    /// Tries proot in the root.
    ///
    /// # Errors
    /// Returns an error if a file of the build cannot be written.
    pub(super) fn choose_proot(
        &mut self,
        root: &Path,
        binds: &[(PathBuf, PathBuf)],
    ) -> anyhow::Result<Option<Program>> {
        let is_proot = |program: &Program| matches!(program, Program::Proot { .. });
        let found = self.choose_other(root, binds, is_proot)?;
        Ok(found.map(|(_, program)| program))
    }

    /// Returns the first way that works in the root, of those that need a shell in it.
    fn choose_other(
        &mut self,
        root: &Path,
        binds: &[(PathBuf, PathBuf)],
        is_asked: impl Fn(&Program) -> bool,
    ) -> anyhow::Result<Option<(Way, Program)>> {
        for (way, program) in self.others() {
            if !is_asked(&program) {
                continue;
            }
            if is_tool_of_root(&program) {
                self.close(way, ROOT_AND_PROOT);
                continue;
            }
            let script = if way == Way::NoRoot {
                TRY_AS_USER
            } else {
                TRY_AS_ROOT
            };
            let argv = [&*self.shell, "-c", script].map(str::to_owned);
            let failure = self.dir.join("failure");
            let start = Start {
                dir: self.dir,
                root,
                binds,
                argv: &argv,
                variables: &super::usual_variables(),
                failure: &failure,
            };
            let (command, _) = program.command(&start)?;
            let found = reason(command, &failure).or_else(|| not_in(root));
            // What is there is of this try only.
            let _ = std::fs::remove_file(root.join(TRIED));
            match found {
                None => return Ok(Some((way, program))),
                Some(reason) => self.close(way, reason),
            }
        }
        Ok(None)
    }

    /// Returns the reasons why the ways that were tried do not work.
    pub(super) fn closed(&self) -> &[String] {
        &self.closed
    }

    /// Returns whether proot is on PATH.
    pub(super) fn has_proot(&self) -> bool {
        self.find("proot").is_some()
    }

    /// Returns whether namespaces were tried and work.
    pub(super) fn has_namespaces(&self) -> bool {
        self.namespaces.is_some()
    }

    /// Returns lines that say which way is taken, as far as that is known before the root is there.
    pub(super) fn foreseen(mut self) -> String {
        if let Some(program) = self.namespaces.take() {
            return self.chosen(Way::Namespace, program).explanation();
        }
        let closed = self.closed.join("; ");
        format!("not with {closed}\nthe other ways are tried where the image is unpacked")
    }

    fn chosen(self, way: Way, program: Program) -> Chosen {
        Chosen {
            way,
            program,
            closed: self.closed,
            shell: self.shell,
        }
    }

    /// Returns the ways that need a shell in the root, in their order.
    fn others(&self) -> Vec<(Way, Program)> {
        let mut found = Vec::new();
        let proot = self.find("proot");
        let allowed: &[bool] = if self.allow_no_root {
            &[true, false]
        } else {
            &[true]
        };
        for &is_fake_root in allowed {
            let way = |way| if is_fake_root { way } else { Way::NoRoot };
            found.extend(self.runtime.map(|runtime| {
                let runtime = runtime.clone();
                (
                    way(Way::Runtime),
                    Program::Runtime {
                        runtime,
                        is_fake_root,
                    },
                )
            }));
            for is_thorough in [false, true] {
                found.extend(proot.clone().map(|proot| {
                    let program = Program::Proot {
                        proot,
                        is_fake_root,
                        is_thorough,
                    };
                    (way(Way::Proot), program)
                }));
            }
        }
        found
    }
}

/// Returns whether root would run a program whose mistakes reach the files of this machine.
fn is_tool_of_root(program: &Program) -> bool {
    matches!(program, Program::Proot { .. }) && rustix::process::geteuid().is_root()
}

/// Returns the reason why a try did not take place in the root although it succeeded.
fn not_in(root: &Path) -> Option<String> {
    let is_there = std::fs::symlink_metadata(root.join(TRIED)).is_ok();
    (!is_there).then(|| "a file that was made inside is not in the image".to_owned())
}

/// Runs a command to its end. Returns the reason why it failed.
fn reason(mut command: Command, failure: &Path) -> Option<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return Some(error.to_string()),
    };
    if status.success() {
        return None;
    }
    let told = std::fs::read_to_string(failure).unwrap_or_default();
    let said = [stdout, stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines = told.lines().chain(said.lines()).map(str::trim);
    let words = ["FATAL:", "ERROR"];
    let is_telling = |line: &&str| words.iter().any(|word| line.contains(word));
    let line = lines.clone().find(is_telling);
    let line = line.or_else(|| lines.clone().find(|line| !line.is_empty()));
    Some(line.map_or_else(|| status.to_string(), str::to_owned))
}

impl Program {
    /// Returns whether proot stops at each system call.
    pub(super) fn is_thorough(&self) -> bool {
        matches!(
            self,
            Self::Proot {
                is_thorough: true,
                ..
            }
        )
    }

    fn command(&self, start: &Start) -> anyhow::Result<(Command, SignalScope)> {
        match self {
            Self::Namespaces { unshare, user } => {
                Ok((namespaces(unshare, *user, start)?, SignalScope::Session))
            }
            Self::Runtime {
                runtime,
                is_fake_root,
            } => Ok((
                child::in_session(&runtime_command(runtime, *is_fake_root, start)?, false)?,
                SignalScope::Session,
            )),
            Self::Proot {
                proot,
                is_fake_root,
                is_thorough,
            } => Ok((
                child::in_session(
                    &proot_command(proot, *is_fake_root, *is_thorough, start),
                    true,
                )?,
                SignalScope::Session,
            )),
        }
    }
}

fn namespaces(unshare: &Path, user: bool, start: &Start) -> anyhow::Result<Command> {
    let mut variables = start.variables.clone();
    let has_apt = Way::Namespace.has_no_users() && !start.argv.is_empty();
    if has_apt {
        variables.insert("APT_CONFIG".to_owned(), child::APT_CONFIG.to_owned());
    }
    let request = Request {
        unshare: unshare.to_owned(),
        user_namespace: user,
        root: start.root.to_owned(),
        failure: start.failure.to_owned(),
        binds: start.binds.to_vec(),
        argv: start.argv.to_vec(),
        variables,
        apt_config: has_apt.then(|| APT_WITHOUT_USERS.to_owned()),
    };
    let file = start.dir.join("request.json");
    fs_err::write(&file, serde_json::to_vec(&request)?)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args([child::ARGUMENT, "launch"]).arg(file);
    command.env_clear().current_dir("/");
    Ok(command)
}

fn runtime_command(
    runtime: &Runtime,
    is_fake_root: bool,
    start: &Start,
) -> anyhow::Result<Command> {
    let mut binds = Vec::new();
    for (source, inside) in start.binds {
        binds.push(Bind::path(source, Path::new("/").join(inside))?);
    }
    let mut argv: Vec<OsString> = ["env", "-i"].map(OsString::from).to_vec();
    let pairs = start.variables.iter();
    argv.extend(pairs.map(|(name, value)| format!("{name}={value}").into()));
    argv.extend(start.argv.iter().map(OsString::from));
    // Root itself needs no fake root, and the runtime refuses one without an entry in /etc/subuid.
    let is_fake_root = is_fake_root && !rustix::process::geteuid().is_root();
    Ok(runtime.exec_writable(start.root, &binds, is_fake_root, &argv))
}

fn proot_command(proot: &Path, is_fake_root: bool, is_thorough: bool, start: &Start) -> Command {
    let mut command = Command::new(proot);
    if is_fake_root {
        command.arg("-0");
    }
    command.args(["--kill-on-exit", "-r"]).arg(start.root);
    for path in OF_PROOT {
        command.arg("-b").arg(path);
    }
    for (source, inside) in start.binds {
        let mut bind = OsString::from(source);
        bind.push(":/");
        bind.push(inside);
        command.arg("-b").arg(bind);
    }
    command.args(["-w", "/"]).args(start.argv);
    command.env_clear().envs(start.variables);
    command.env("PROOT_TMP_DIR", start.dir).current_dir("/");
    if is_thorough {
        command.env("PROOT_NO_SECCOMP", "1");
    }
    command
}

impl Chosen {
    pub(super) fn command(&self, start: &Start) -> anyhow::Result<(Command, SignalScope)> {
        self.program.command(start)
    }

    /// Returns lines that say which way was chosen, and why not the ways before it.
    pub(super) fn explanation(&self) -> String {
        let mut lines = vec![match &self.program {
            Program::Namespaces { user: true, .. } => {
                "the script runs as root in namespaces of its own, one of them for users".to_owned()
            }
            program if program.is_thorough() => format!(
                "the script runs with {}, without its filter of system calls: it sees the processes and the devices of this machine",
                self.way.name()
            ),
            Program::Proot { .. } => format!(
                "the script runs with {}: it sees the processes and the devices of this machine",
                self.way.name()
            ),
            _ => format!("the script runs with {}", self.way.name()),
        }];
        lines.extend(
            self.closed
                .iter()
                .map(|closed| format!("not with {closed}")),
        );
        lines.join("\n")
    }

    /// Returns whether a line of output is about the way, and not of the script.
    pub(super) fn is_noise(&self, line: &str) -> bool {
        matches!(self.program, Program::Proot { .. }) && line.starts_with("proot warning: ")
    }

    /// Gives files of other users back to the user. Only a runtime with more than one user makes
    /// such files.
    pub(super) fn give_back(&self, root: &Path) {
        let Program::Runtime {
            runtime,
            is_fake_root: true,
        } = &self.program
        else {
            return;
        };
        if rustix::process::geteuid().is_root() {
            return;
        }
        let argv = [&*self.shell, "-c", GIVE_BACK].map(OsString::from);
        let mut command = runtime.exec_writable(root, &[], true, &argv);
        // What stays another user's is found when the directory is read.
        let _ = command.stdin(Stdio::null()).output();
    }
}
