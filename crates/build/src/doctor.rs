//! Responsible for looking at this machine: its runtime, its directories, its quotas.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use condense_check::{
    Machine,
    doctor::{BuildDir, Health, Host, Quota, Runtime as FoundRuntime, examine, parse_quotas},
};
use condense_installation::Runtime;

/// What `f_type` says of a file system in memory, and of one without a disk at all.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// What is looked at besides the kernel.
#[derive(Debug)]
pub struct Examined<'a> {
    /// The runtime, when the site names one.
    pub runtime: Option<PathBuf>,
    /// The user's PATH.
    pub search_path: &'a OsStr,
    /// Where environments are unpacked.
    pub scratch: PathBuf,
    /// Where archives are kept.
    pub cache: PathBuf,
    /// The user's own.
    pub home: Option<PathBuf>,
    /// The user's name, by which quotas are asked for.
    pub user: Option<String>,
    /// Whether the catalogue knows this machine.
    pub site_is_known: bool,
}

/// Looks at this machine, and judges it by what is known of its site.
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
    };
    examine(&host, machine)
}

/// What is free there, or where it would be made.
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

/// By the programs that sites have for it; where there are none, nothing is known.
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
    // `quota` ends with 1 where a quota is exceeded.
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
