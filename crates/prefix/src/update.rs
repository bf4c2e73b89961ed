//! Responsible for changing an environment that was installed before: opening it where it was unpacked, or installing
//! wheels beside it while nobody can write into it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use rattler_conda_types::{PackageRecord, PrefixRecord};
use serde::Deserialize;

use crate::{
    error::Error,
    install::{Prefix, Python},
    lock::normalized,
    progress::{Progress, Stage},
    secrets::without_secrets,
    solve::Solution,
    spec::EnvironmentSpec,
    steps::{self, BuildContainer},
    target::{Place, Target},
    venv,
};

const GRAFT_SH: &str = include_str!("update/graft.sh");
const GRAFT_PY: &str = include_str!("update/graft.py");

/// What came of installing beside an environment.
#[derive(Debug)]
pub enum Graft {
    /// The new files lie in scratch.
    Made(Grafted),
    /// It cannot be done so, for this reason; the environment must be unpacked.
    Whole(String),
}

/// What has to become of an environment.
#[derive(Debug)]
pub struct Grafted {
    /// Files that go, relative to the environment.
    pub removed: Vec<PathBuf>,
    /// What pip says of it, JSON.
    pub pip_report: String,
    /// Names and versions of what is new.
    pub installed: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Report {
    install: Vec<Installed>,
}

#[derive(Deserialize)]
struct Installed {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

impl Prefix {
    /// An environment that was installed before and lies in scratch again; `requirements` are what pip is to install now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reopen(
        place: &Place,
        solution: &Solution,
        requirements: &EnvironmentSpec,
    ) -> Result<Self, Error> {
        let env_dir = place.scratch_env();
        let build_dir = place.build_dir();
        fs_err::create_dir_all(&build_dir).map_err(Error::io("create", &build_dir))?;
        if solution.is_empty() && env_dir.join("pyvenv.cfg").is_file() {
            // What run.sh knows virtual environments by.
            write(&build_dir, "venv", "")?;
            let made = venv::read(&env_dir)?;
            return Ok(Self::of_venv(
                place.clone(),
                made.python(),
                requirements,
                made,
            ));
        }
        let python = solution.python().and_then(|version| {
            let mut numbers = version.split('.').map(|part| part.parse().ok());
            Some(Python {
                major: numbers.next()??,
                minor: numbers.next()??,
            })
        });
        Ok(Self::installed(place.clone(), python, requirements))
    }
}

/// Installs wheels beside an environment whose image is mounted in `container` at its mount point. What is new lies below
/// `place.root` as it will lie below the mount point, with nothing else; `host_root` is the directory that `place.root` has
/// the mount point's path in.
///
/// # Errors
/// [`Error::Step`] with what pip said, [`Error::Container`], [`Error::Io`], [`Error::Interrupted`].
///
/// # Streams
/// What pip prints goes to `progress`, line by line.
pub fn graft(
    place: &Place,
    host_root: &Path,
    requirements: &EnvironmentSpec,
    is_venv: bool,
    without_cache: bool,
    container: &dyn BuildContainer,
    progress: &dyn Progress,
) -> Result<Graft, Error> {
    let started = std::time::Instant::now();
    let build_dir = place.build_dir();
    fs_err::create_dir_all(&build_dir).map_err(Error::io("create", &build_dir))?;
    let is_option = |line: &&String| {
        let word = line.split(['=', ' ']).next().unwrap_or("");
        word == "--pre" || steps::SOURCE_OPTIONS.contains(&word)
    };
    let options = requirements.pip().iter().filter(is_option);
    let options: Vec<&str> = options.map(String::as_str).collect();
    steps::write_surroundings(place)?;
    for (name, text) in [
        ("run.sh", steps::RUN_SH),
        ("pip.sh", GRAFT_SH),
        ("graft.py", GRAFT_PY),
        ("compile.py", steps::COMPILE_PY),
        ("compile.none", ""),
        ("requirements.txt", &(requirements.pip().join("\n") + "\n")),
        ("options.txt", &(options.join("\n") + "\n")),
        ("root", &host_root.to_string_lossy()),
    ] {
        write(&build_dir, name, text)?;
    }
    if is_venv {
        write(&build_dir, "venv", "")?;
    }
    if without_cache {
        write(&build_dir, "no-cache", "")?;
    }
    progress.begin(Stage::Run, Some(1));
    // At the mount point is the image, so that scratch is seen where it is.
    let argv: Vec<OsString> = vec![
        "/bin/sh".into(),
        build_dir.join("run.sh").into(),
        place.mounted_env().into(),
        build_dir.clone().into(),
    ];
    steps::run_script(&argv, container, progress)?;
    progress.end(Stage::Run, started.elapsed());
    let read = |name: &str| {
        let path = build_dir.join(name);
        fs_err::read_to_string(&path).map_err(Error::io("read", &path))
    };
    if build_dir.join("whole").exists() {
        return Ok(Graft::Whole(read("whole")?.trim().to_owned()));
    }
    let pip_report = read("pip-report.json")?;
    let report: Report = serde_json::from_str(&pip_report)
        .map_err(|error| Error::io("read", build_dir.join("pip-report.json"))(error.into()))?;
    let mut installed: Vec<(String, String)> = report
        .install
        .into_iter()
        .map(|item| (normalized(&item.metadata.name), item.metadata.version))
        .collect();
    installed.sort();
    Ok(Graft::Made(Grafted {
        removed: read("removed.txt")?.lines().map(PathBuf::from).collect(),
        pip_report,
        installed,
    }))
}

impl Solution {
    /// The packages that conda's own records in an environment name.
    ///
    /// # Errors
    /// [`Error::Io`] for a record that cannot be read.
    pub fn of_records(place: &Place, target: &Target) -> Result<Self, Error> {
        let dir = place.scratch_env().join("conda-meta");
        let mut solution = Self::without_packages(target);
        if !dir.is_dir() {
            return Ok(solution);
        }
        let mut paths = Vec::new();
        for entry in fs_err::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let path = entry.map_err(Error::io("read", &dir))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                paths.push(path);
            }
        }
        paths.sort();
        let mut records = Vec::new();
        for path in paths {
            let record = PrefixRecord::from_path(&path).map_err(Error::io("read", &path))?;
            let record = record.repodata_record;
            let channel = record.channel.as_deref().map(without_secrets);
            if let Some(channel) = channel
                && solution.channels.iter().all(|known| *known != channel)
            {
                solution.channels.push(channel.into_owned());
            }
            records.push(record);
        }
        solution.records = PackageRecord::sort_topologically(records);
        Ok(solution)
    }
}

/// Whether a whole conda lies beside the environment, as in what Tykky makes: its own records say what it has installed.
pub fn has_own_conda(place: &Place) -> bool {
    let mut parents = place.environment.ancestors().skip(2);
    let root = parents.next().filter(|root| *root != Path::new(""));
    root.is_some_and(|root| place.root.join(root).join("conda-meta").is_dir())
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = dir.join(name);
    fs_err::write(&path, text).map_err(Error::io("write", &path))
}
