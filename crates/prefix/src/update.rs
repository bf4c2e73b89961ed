//! Responsible for changing an environment that was installed before: opening it again in scratch,
//! or installing wheels beside an environment that is read-only.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use rattler_conda_types::PackageRecord;
use serde::Deserialize;

use crate::{
    error::Error,
    install::Prefix,
    lock::normalized,
    progress::{Progress, Stage},
    python::Python,
    records,
    secrets::without_secrets,
    solve::Solution,
    spec::EnvironmentSpec,
    steps::{self, BuildContainer},
    target::{Place, Target},
    venv,
};

const GRAFT_SH: &str = include_str!("update/graft.sh");
const GRAFT_PY: &str = include_str!("update/graft.py");

/// Result of installing wheels beside an environment.
#[derive(Debug)]
pub enum Graft {
    /// The new files are in scratch.
    Made(Grafted),
    /// The wheels cannot be installed beside the environment, for this reason. The environment must
    /// be unpacked.
    Whole(String),
}

/// Changes to an environment.
#[derive(Debug)]
pub struct Grafted {
    /// Files to remove, relative to the environment.
    pub removed: Vec<PathBuf>,
    /// pip's report in JSON. `None` if a lock cannot be made of it.
    pub pip_report: Option<String>,
    /// Names and versions of the new packages.
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
    /// Opens an environment that was installed before and is in scratch again; `requirements` are
    /// the packages that pip will install now.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the environment cannot be read.
    pub fn reopen(
        place: &Place,
        solution: &Solution,
        requirements: &EnvironmentSpec,
    ) -> Result<Self, Error> {
        let (env_dir, build_dir) = (place.open_env()?, place.open_build_dir()?);
        if solution.is_empty() && env_dir.is_file("pyvenv.cfg") {
            // run.sh recognises virtual environments by this file.
            build_dir.write("venv", "")?;
            let made = venv::read(&env_dir)?;
            return Ok(Self::of_venv(
                place.clone(),
                made.python(&env_dir),
                requirements,
                made,
            ));
        }
        let python = solution.python_info()?.as_ref().map(Python::of_info);
        Ok(Self::installed(place.clone(), python, requirements))
    }
}

/// Installs wheels beside an environment whose image is mounted in `container` at its mount point.
/// The new files are written below `place.root`, with the paths that they will have below the mount
/// point; nothing else is written there. `host_root` is the directory in which `place.root` has the
/// path of the mount point.
///
/// # Errors
/// Returns [`Error::Step`] with the output of pip if it fails, [`Error::Container`] if the
/// container cannot run, [`Error::Io`], or [`Error::Interrupted`].
///
/// # Streams
/// The output of pip goes to `progress`, line by line.
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
    let build_dir = place.open_build_dir()?;
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
        build_dir.write(name, text)?;
    }
    if is_venv {
        build_dir.write("venv", "")?;
    }
    if without_cache {
        build_dir.write("no-cache", "")?;
    }
    progress.begin(Stage::Run, Some(1));
    // The image is at the mount point, so scratch keeps its own path in the container.
    let argv: Vec<OsString> = vec![
        "/bin/sh".into(),
        build_dir.path("run.sh").into(),
        place.mounted_env().into(),
        build_dir.path("").into(),
    ];
    steps::run_script(&argv, container, progress)?;
    progress.end(Stage::Run, started.elapsed());
    if let Some(reason) = build_dir.read_text("whole")? {
        return Ok(Graft::Whole(reason.trim().to_owned()));
    }
    let text = build_dir.need_text("pip-report.json")?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| Error::io("read", build_dir.path("pip-report.json"))(error.into()))?;
    let mut installed: Vec<(String, String)> = report
        .install
        .into_iter()
        .map(|item| (normalized(&item.metadata.name), item.metadata.version))
        .collect();
    installed.sort();
    Ok(Graft::Made(Grafted {
        removed: build_dir
            .need_text("removed.txt")?
            .lines()
            .map(PathBuf::from)
            .collect(),
        pip_report: steps::report::read(&build_dir, progress)?,
        installed,
    }))
}

impl Solution {
    /// Reads the packages from conda's own records in an environment.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a record cannot be read.
    pub fn of_records(place: &Place, target: &Target) -> Result<Self, Error> {
        let mut solution = Self::without_packages(target);
        let mut records = Vec::new();
        for record in records::records(&place.open_env()?)? {
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

/// Returns whether a complete conda is beside the environment, as in installations made by Tykky.
/// Its own records list the installed packages.
pub fn has_own_conda(place: &Place) -> bool {
    let mut parents = place.environment.ancestors().skip(2);
    let root = parents.next().filter(|root| *root != Path::new(""));
    let within = place.open_root();
    root.is_some_and(|root| within.is_ok_and(|within| within.is_dir(root.join("conda-meta"))))
}
