//! Responsible for examining this machine: its runtime, its directories, its quotas.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use condense_check::{
    Machine,
    doctor::{
        BuildDir, Health, Host, Quota, Runtime as FoundRuntime, StartFile, Starts, examine,
        parse_quotas, parse_stripe_count,
    },
};
use condense_installation::Runtime;

use crate::{contents::Subject, generation::IMAGE, root_script, stage::Place};

/// `f_type` of the file systems in memory: tmpfs and ramfs.
pub(crate) const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Properties of the machine that are examined besides the kernel.
#[derive(Debug)]
pub struct Examined<'a> {
    /// Path of the runtime, if the site names one.
    pub runtime: Option<PathBuf>,
    /// Value of the user's PATH.
    pub search_path: &'a OsStr,
    /// Parent of the scratch directory, in which environments are unpacked.
    pub scratch: PathBuf,
    /// Directory of the package cache.
    pub cache: PathBuf,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The user's name, for reading quotas.
    pub user: Option<String>,
    /// Whether the catalogue knows this machine.
    pub site_is_known: bool,
    /// Starts of the processes of a job.
    pub starts: Starts,
}

/// Examines this machine, and compares it with the description of its site.
pub fn doctor(examined: &Examined, machine: &Machine) -> Health {
    let runtime = Runtime::find(examined.runtime.as_deref(), examined.search_path);
    let runtime = runtime.ok().map(|runtime| FoundRuntime {
        name: format!(
            "{} {}",
            runtime
                .program()
                .file_name()
                .unwrap_or_default()
                .to_string_lossy(),
            runtime.version()
        ),
        setuid: runtime.is_setuid(),
        prefix: prefix(runtime.program()),
    });
    let mut places = Vec::new();
    for (name, dir) in [
        ("scratch", Some(&examined.scratch)),
        ("cache", Some(&examined.cache)),
        ("home", examined.home.as_ref()),
    ] {
        places.extend(dir.and_then(|dir| place(name, dir)));
    }
    let host = Host {
        root: "/".into(),
        runtime,
        is_root: rustix::process::geteuid().is_root(),
        quotas: quotas(examined),
        build_dirs: places,
        site_is_known: examined.site_is_known,
        search_path: std::env::split_paths(examined.search_path)
            .filter(|dir| dir.is_absolute())
            .collect(),
        starts: examined.starts.clone(),
    };
    let mut health = examine(&host, machine);
    let facts = root_script::examine(&examined.scratch, examined.search_path);
    health.facts.extend(facts);
    health
}

/// Returns the directory above the `bin` of a program.
fn prefix(program: &Path) -> Option<PathBuf> {
    let program = fs_err::canonicalize(program).ok()?;
    program.ancestors().nth(2).map(Path::to_owned)
}

/// Returns what happens when a subject starts: an installation mounts its base and its image, and a
/// SIF itself. Files that are missing are left out.
pub fn starts(subject: Option<&Subject>, home: Option<&Path>, search_path: &OsStr) -> Starts {
    let files: Vec<PathBuf> = match subject {
        None => Vec::new(),
        Some(subject) => match subject.dir() {
            Some(dir) => vec![dir.join(IMAGE), dir.join("container.sif")],
            None => vec![subject.path().to_owned()],
        },
    };
    let home = home.and_then(|home| fs_err::canonicalize(home).ok());
    let home = home.filter(|home| is_shared(home));
    let files = files.iter().filter_map(|path| {
        let path = fs_err::canonicalize(path).ok()?;
        let found = fs_err::metadata(&path).ok()?;
        Some(StartFile {
            bytes: found.len(),
            stripes: stripes(&path, search_path),
            in_shared_home: home.as_ref().is_some_and(|home| path.starts_with(home)),
            path,
        })
    });
    let files: Vec<StartFile> = files.collect();
    Starts {
        ranks: None,
        images: u32::try_from(files.len()).unwrap_or_default(),
        files,
        records: None,
    }
}

/// Returns whether nodes share the file system of a directory.
pub fn is_shared(dir: &Path) -> bool {
    condense_publish::is_on_lustre(dir) || Place::of(dir).shared.is_some()
}

/// Returns the number of servers over which Lustre spreads a file.
fn stripes(path: &Path, search_path: &OsStr) -> Option<u32> {
    if !condense_publish::is_on_lustre(path) {
        return None;
    }
    let words = ["getstripe".as_ref(), "-c".as_ref(), path.as_os_str()];
    parse_stripe_count(&condense_publish::ask_lfs(search_path, &words)?)
}

/// Returns the free space of a directory. For a missing directory, it is that of the nearest
/// parent.
fn place(name: &'static str, dir: &Path) -> Option<BuildDir> {
    let there = dir.ancestors().find(|dir| dir.is_dir())?;
    let space = rustix::fs::statvfs(there).ok()?;
    let kind = rustix::fs::statfs(there).ok()?;
    Some(BuildDir {
        name,
        path: dir.to_owned(),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        free_inodes: (space.f_files > 0).then_some(space.f_favail),
        is_scratch: name == "scratch",
        #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
        in_memory: IN_MEMORY.contains(&(kind.f_type as i64)),
    })
}

/// Reads the quotas with the programs that sites have for that. Without such a program, nothing is
/// known.
fn quotas(examined: &Examined) -> Vec<Quota> {
    let mut found = Vec::new();
    if let Some(said) = said_by(examined.search_path, "quota", &["-wp".as_ref()]) {
        found.extend(parse_quotas(&said));
    }
    if let Some(user) = &examined.user {
        for dir in [Some(&examined.scratch), examined.home.as_ref()] {
            let Some(dir) = dir else { continue };
            let words = [
                "quota".as_ref(),
                "-q".as_ref(),
                "-u".as_ref(),
                OsStr::new(user),
                dir.as_os_str(),
            ];
            if let Some(said) = said_by(examined.search_path, "lfs", &words) {
                found.extend(parse_quotas(&said));
            }
        }
    }
    found.dedup();
    found
}

fn said_by(search_path: &OsStr, name: &str, words: &[&OsStr]) -> Option<String> {
    let program = std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())?;
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    // `quota` ends with 1 if a quota is exceeded.
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
