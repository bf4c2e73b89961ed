//! Responsible for running scripts as root in a file system that is unpacked for them, where nobody
//! is root. Everything that the scripts have left as it was keeps its source, so that packing the
//! result compresses only what is new.
//!
//! A script is hostile: in namespaces it sees nothing of this machine but the network and what is
//! bound, gets no variable of the user, and everything that it has started ends with it. A runtime
//! isolates it as it isolates containers, and proot not at all.

mod binds;
mod child;
mod error;
mod examine;
mod way;

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use condense_image::{Changes, Entry, Kind, Tree, UnpackOptions, Unpacked};
use condense_installation::Runtime;
use condense_prefix::Progress as _;

use crate::{
    child::run_streaming,
    report::{Phase, Report},
    session::Session,
};
use binds::{make_mount_points, refuse_without_place};
pub use child::run_root_script_child;
pub(crate) use error::Error;
pub(crate) use examine::examine;
use way::{Chosen, Way};

/// Name of the directory of everything that scripts need, in the scratch directory.
pub(crate) const DIR: &str = "root-script";
/// Path of the text of a script in its file system while it runs.
const SCRIPT: &str = ".post.script";
/// Files of this machine that a script sees instead of those of its file system.
const OF_THE_HOST: [&str; 2] = ["etc/resolv.conf", "etc/hosts"];
/// Directories that programs expect, with their modes. Runtimes expect them as well.
const DIRECTORIES: [(&str, u16); 8] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];
/// Directories of temporary files, which are not part of the file system.
const TEMPORARY: [&str; 2] = ["tmp", "var/tmp"];
/// Value of PATH for root in a container.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Configuration by which apt does not try to become another user, of whom there is none.
const APT_WITHOUT_USERS: &str = "APT::Sandbox::User \"root\";\n";
/// Number of the last lines of the output of a failed script that are shown.
const TAIL: usize = 20;

/// A script that runs as root.
#[derive(Debug, Clone)]
pub(crate) struct RootScript<'a> {
    /// Name of the script for messages, such as `%post`.
    pub(crate) name: &'a str,
    /// Text of the script.
    pub(crate) text: &'a str,
    /// Program and arguments that the path of the text is appended to, such as `/bin/sh -ex`.
    pub(crate) shell: Vec<String>,
    /// Arguments of the script.
    pub(crate) arguments: Vec<String>,
    /// All variables of the script, besides those of [`usual_variables`], which they replace.
    pub(crate) variables: BTreeMap<String, String>,
    /// Place of the script in a file of the user, for messages.
    pub(crate) origin: Option<Origin<'a>>,
}

/// Numbers of lines from which a part of a script begins: in the script, and in the user's file if
/// the part is there.
pub(crate) type Lines = Vec<(usize, Option<usize>)>;

/// Place of a script in a file of the user.
#[derive(Debug, Clone)]
pub(crate) struct Origin<'a> {
    pub(crate) file: &'a Path,
    /// Beginnings of the parts of the script, in its order.
    pub(crate) lines: Lines,
}

impl Origin<'_> {
    /// Returns the number in the file of a line of the script.
    fn line(&self, line: usize) -> Option<usize> {
        let mut parts = self.lines.iter().rev();
        let (begin, of_file) = parts.find(|(begin, _)| *begin <= line)?;
        Some((*of_file)? + line - begin)
    }
}

/// Settings of the file system of scripts.
#[derive(Debug, Clone)]
pub(crate) struct RootSettings {
    /// Whether a script may also run as the user, if there is no way to run it as root.
    pub(crate) allow_no_root: bool,
    /// Paths of this machine with the paths at which scripts see them.
    pub(crate) binds: Vec<(PathBuf, PathBuf)>,
    /// Path of a shell in the file system, with which ways are tried.
    pub(crate) shell: String,
}

impl Default for RootSettings {
    fn default() -> Self {
        Self {
            allow_no_root: false,
            binds: Vec::new(),
            shell: "/bin/sh".to_owned(),
        }
    }
}

/// File system in which scripts run, unpacked below the scratch directory.
pub(crate) struct ScriptRoot<'a> {
    session: Session<'a>,
    dir: PathBuf,
    unpacked: Unpacked,
    chosen: Chosen,
    binds: Vec<(PathBuf, PathBuf)>,
}

/// Returns the variables of a script that names none, as container runtimes set them.
pub(crate) fn usual_variables() -> BTreeMap<String, String> {
    let pairs = [
        ("HOME", "/root"),
        ("LANG", "C"),
        ("PATH", PATH),
        ("TERM", "dumb"),
    ];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Returns lines that say how scripts would run, as far as that is known without a file system.
///
/// # Errors
/// Returns an error if there is no way, or if a file in `scratch` cannot be written.
pub(crate) fn foreseen(
    session: Session,
    scratch: &Path,
    runtime: Option<&Runtime>,
    allow_no_root: bool,
) -> anyhow::Result<String> {
    let dir = scratch.join(DIR);
    fs_err::create_dir_all(&dir)?;
    let mut ways = way::Ways::new(session.search_path, &dir, runtime, allow_no_root);
    ways.try_namespaces()?;
    ways.refuse_if_hopeless()?;
    let foreseen = ways.foreseen();
    // What the ways were tried with is of no use any more.
    let _ = fs_err::remove_dir_all(&dir);
    Ok(foreseen)
}

impl<'a> ScriptRoot<'a> {
    /// Unpacks `tree` below `scratch`, and chooses the first way in which scripts can run there.
    /// `runtime` is the container runtime, if there is one.
    ///
    /// # Errors
    /// Returns an error if there is no way, if the file system does not fit on the disk, or if the
    /// user has interrupted the run.
    pub(crate) fn open(
        session: Session<'a>,
        scratch: &Path,
        mut tree: Tree,
        runtime: Option<&Runtime>,
        settings: &RootSettings,
    ) -> anyhow::Result<Self> {
        let report = session.report;
        let dir = scratch.join(DIR);
        fs_err::create_dir_all(&dir)?;
        add_directories(&mut tree)?;
        let mut ways = way::Ways::new(session.search_path, &dir, runtime, settings.allow_no_root);
        // A namespace can be tried before the file system is there.
        ways.try_namespaces()?;
        ways.refuse_if_hopeless()?;
        refuse_without_place(&tree, &settings.binds).map_err(|error| *error)?;
        let mut binds = Vec::new();
        let mut placeholders = vec![PathBuf::from(SCRIPT)];
        for path in OF_THE_HOST {
            let here = Path::new("/").join(path);
            let parent = tree.entry_at(Path::new(path).parent().unwrap_or(Path::new("")));
            let has_place = parent.is_some_and(|entry| entry.kind.is_directory());
            if has_place && here.is_file() {
                // A copy: root of this machine could write to the file itself.
                let copy = dir.join(path.replace('/', "-"));
                fs_err::copy(&here, &copy)?;
                fs_err::set_permissions(&copy, std::fs::Permissions::from_mode(0o644))?;
                binds.push((copy, path.into()));
                placeholders.push(path.into());
            }
        }
        for path in TEMPORARY {
            if !tree
                .entry_at(path)
                .is_some_and(|entry| entry.kind.is_directory())
            {
                continue;
            }
            let here = dir.join(path.replace('/', "-"));
            fs_err::create_dir_all(&here)?;
            // With a runtime, package managers work as other users, too.
            fs_err::set_permissions(&here, std::fs::Permissions::from_mode(0o1777))?;
            make_mount_points(&here, path, &settings.binds)?;
            binds.push((here, path.into()));
        }
        // Those of the user are mounted last, so that nothing covers them.
        binds.extend(settings.binds.iter().cloned());
        let total: u64 = tree.summary().bytes;
        report.begin(Phase::Unpack, Some(total));
        let options = UnpackOptions {
            placeholders,
            progress: Some(progress(report)),
            cancel: Some(report.cancel_flag()),
            ..UnpackOptions::default()
        };
        let unpacked = tree
            .unpack(&dir.join("root"), &options)
            .map_err(|error| match error {
                condense_image::Error::Cancelled => condense_prefix::Error::Interrupted.into(),
                other => anyhow::Error::new(other),
            })?;
        report.end(Phase::Unpack);
        ways.set_shell(&settings.shell);
        let chosen = ways.choose(unpacked.root(), &binds)?;
        report.debug(chosen.explanation());
        Ok(Self {
            session,
            dir,
            unpacked,
            chosen,
            binds,
        })
    }

    /// Returns lines that say which way was chosen, and why not the ways before it.
    pub(crate) fn explanation(&self) -> String {
        self.chosen.explanation()
    }

    /// Returns the directory on this machine that scripts see as `/tmp`. Their links must not be
    /// followed.
    pub(crate) fn temporary_dir(&self) -> PathBuf {
        self.dir.join(TEMPORARY[0])
    }

    /// Runs a script to its end. Its output is shown as the output of other build steps.
    ///
    /// # Errors
    /// Returns [`Error`] if the script fails or cannot be started, and an error if the user has
    /// interrupted the run.
    pub(crate) fn run(&self, script: &RootScript) -> anyhow::Result<()> {
        let report = self.session.report;
        let place = self.unpacked.root().join(SCRIPT);
        write_script(&place, script.text)?;
        let mut argv = script.shell.clone();
        argv.push(format!("/{SCRIPT}"));
        argv.extend(script.arguments.iter().cloned());
        let mut variables = usual_variables();
        variables.extend(script.variables.clone());
        let failure = self.dir.join("failure");
        fs_err::write(&failure, "")?;
        let started = way::Start {
            dir: &self.dir,
            root: self.unpacked.root(),
            binds: &self.binds,
            argv: &argv,
            variables: &variables,
            failure: &failure,
        };
        let (command, scope) = self.chosen.command(&started)?;
        let mut kept = Vec::new();
        let status = run_streaming(command, scope, report, &mut |line| {
            if self.chosen.is_noise(line) {
                return Ok(());
            }
            report.output(line);
            kept.push(line.to_owned());
            // The lines around the failure are enough.
            if kept.len() > 2 * error::KEPT {
                kept.drain(..error::KEPT);
            }
            Ok(())
        });
        let status = status.map_err(|error| {
            anyhow::Error::from_boxed(error).context(format!("{} did not finish", script.name))
        })?;
        self.session.refuse_interrupted()?;
        if status == 0 {
            return Ok(());
        }
        let reason = fs_err::read_to_string(&failure).unwrap_or_default();
        if !reason.is_empty() {
            return Err(Error::NotStarted {
                name: script.name.to_owned(),
                reason,
            }
            .into());
        }
        Err(error::failed(script, status, &kept, &self.dir).into())
    }

    /// Reads the file system back. `latest` is the latest time of files that have changed, in
    /// seconds since 1970. The contents of changed files stay below the scratch directory, which
    /// must be there as long as the tree is used.
    ///
    /// # Errors
    /// Returns an error if the file system cannot be read.
    pub(crate) fn finish(self, latest: Option<u32>) -> anyhow::Result<(Tree, Changes)> {
        self.chosen.give_back(self.unpacked.root());
        let read = self.unpacked.read_back(latest);
        read.context("cannot read what the script has made")
    }
}

impl Way {
    /// Returns whether programs cannot become other users, although the calls for that succeed.
    fn has_no_users(self) -> bool {
        self == Self::Namespace
    }
}

/// Adds the directories that programs expect, where there is nothing.
fn add_directories(tree: &mut Tree) -> anyhow::Result<()> {
    for (path, mode) in DIRECTORIES {
        let parent = Path::new(path).parent().unwrap_or(Path::new(""));
        let is_free = tree.entry_at(path).is_none()
            && tree
                .entry_at(parent)
                .is_some_and(|entry| entry.kind.is_directory());
        if is_free {
            let mtime = tree.entry_at("").map_or(0, |root| root.mtime);
            tree.add_entry(
                path,
                Entry {
                    mode,
                    uid: 0,
                    gid: 0,
                    mtime,
                    links: 2,
                    kind: Kind::Directory(Vec::new()),
                },
            )?;
        }
    }
    Ok(())
}

/// Replaces the text of the script. The file may have been made by a script before.
fn write_script(place: &Path, text: &str) -> anyhow::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    match fs_err::symlink_metadata(place) {
        Ok(found) if found.is_dir() => fs_err::remove_dir_all(place)?,
        Ok(_) => fs_err::remove_file(place)?,
        Err(_) => {}
    }
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(place)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    Ok(())
}

fn progress(report: &Report) -> std::sync::Arc<dyn Fn(u64) + Send + Sync> {
    let report = report.clone();
    std::sync::Arc::new(move |bytes| report.advance(Phase::Unpack, bytes))
}
