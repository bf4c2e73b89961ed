//! Responsible for changing an environment that was installed before: opening it again in scratch,
//! or installing wheels beside an environment that is read-only.

mod linked;

use std::path::{Path, PathBuf};

use rattler_conda_types::PackageRecord;
use serde::Deserialize;

use crate::{
    error::Error,
    pip_package::{PipPackage, normalized},
    prefix::Prefix,
    progress::{Phase, Progress},
    python::Python,
    pyvenv::CreatedVenv,
    records,
    secrets::without_secrets,
    solution::Solution,
    spec::EnvironmentSpec,
    steps::{self, BuildSteps, PipStep, Purpose, Refusal, StepRunner, beside},
    target::{BUILD_DIR_BESIDE, Place, Target},
};

pub use linked::{byte_code_of_interpreter, compile_beside};

/// Result of pip's installation beside an environment.
#[derive(Debug)]
pub enum Graft {
    /// The new files are in scratch.
    Installed(Grafted),
    /// pip cannot install beside the environment. The environment must be unpacked.
    NeedsUnpack {
        /// Reason why the environment must be unpacked, in words for the user.
        reason: String,
    },
}

/// Changes to an environment.
#[derive(Debug)]
pub struct Grafted {
    /// Files to remove, relative to the environment.
    pub removed: Vec<PathBuf>,
    /// pip's report in JSON. `None` if a lock cannot be made of it.
    pub pip_report: Option<String>,
    /// Names and versions of the new packages.
    pub installed: Vec<PipPackage>,
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

impl BuildSteps {
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
        let (python, venv) = if solution.is_empty() && env_dir.is_file("pyvenv.cfg") {
            // run.sh recognises virtual environments by this file.
            build_dir.write("venv", "")?;
            let created = CreatedVenv::read(&env_dir)?;
            (Some(created.python(&env_dir)), Some(created))
        } else {
            (
                solution.python_info()?.as_ref().map(Python::from_info),
                None,
            )
        };
        let prefix = Prefix {
            place: place.clone(),
            python,
            venv,
        };
        Ok(Self::new(prefix, PipStep::new(requirements, None)))
    }
}

/// Packages to install beside an environment.
#[derive(Debug, Clone, Copy)]
pub struct GraftOptions<'a> {
    /// Paths of the environment and of the new files, which are written below `place.root`.
    pub place: &'a Place,
    /// Directory in which `place.root` has the path of the mount point.
    pub host_root: &'a Path,
    /// Place with the files that activate the environment, and with nothing else of it.
    pub activation: &'a Place,
    /// Packages that pip installs.
    pub requirements: &'a EnvironmentSpec,
    /// Whether the environment is a virtual environment.
    pub is_venv: bool,
    /// Whether pip must not use a cache.
    pub without_cache: bool,
}

/// Installs packages beside an environment whose image is mounted in `container` at its mount
/// point. The container shows the directory of build steps at [`crate::BUILD_DIR_BESIDE`], and
/// `host_root` at its own path. The new files are written below `place.root`, with the paths that
/// they will have below the mount point; nothing else is written there.
///
/// # Errors
/// Returns [`Error::Step`] with the output of pip if it fails, [`Error::Container`] if the
/// container cannot run, [`Error::Io`], or [`Error::Interrupted`].
///
/// # Streams
/// The output of pip goes to `progress`, line by line.
pub fn graft(
    options: &GraftOptions<'_>,
    container: &dyn StepRunner,
    progress: &dyn Progress,
) -> Result<Graft, Error> {
    let GraftOptions {
        place,
        host_root,
        activation,
        requirements,
        is_venv,
        without_cache,
    } = *options;
    let started = std::time::Instant::now();
    let build_dir = place.open_build_dir()?;
    PipStep::new(requirements, None).write_inputs(
        activation,
        &build_dir,
        Purpose::InstallBeside,
    )?;
    let new = place.scratch_env();
    for (name, text) in [
        ("compile.py", steps::COMPILE_PY.as_bytes()),
        ("compile.list", b""),
        ("compile.into", new.as_os_str().as_encoded_bytes()),
        (beside::ROOT, host_root.as_os_str().as_encoded_bytes()),
    ] {
        build_dir.write(name, text)?;
    }
    if is_venv {
        build_dir.write("venv", "")?;
    }
    if without_cache {
        build_dir.write("no-cache", "")?;
    }
    progress.begin(Phase::Run, Some(2));
    let argv = steps::run_sh(place, &build_dir, PathBuf::from(BUILD_DIR_BESIDE))?;
    let ran = steps::try_pip(&argv, container, place, None, progress)?;
    progress.end(Phase::Run, started.elapsed());
    let refused = match ran {
        Ok(()) => None,
        Err(Refusal::Pip(reason)) => Some(reason),
        Err(Refusal::Mount(reason)) => {
            Some(format!("the runtime cannot mount its image: {reason}"))
        }
    };
    let has_scripts = place.open_env()?.is_dir("etc/conda");
    let unfit = has_scripts.then(|| "a wheel brings activation scripts".to_owned());
    if let Some(reason) = refused.or(unfit) {
        let reason = reason.trim().to_owned();
        return Ok(Graft::NeedsUnpack { reason });
    }
    let text = build_dir.read_required_text("pip-report.json")?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| Error::io("read", build_dir.path("pip-report.json"))(error.into()))?;
    let mut installed: Vec<PipPackage> = report
        .install
        .into_iter()
        .map(|item| PipPackage::new(normalized(&item.metadata.name), item.metadata.version))
        .collect();
    installed.sort();
    Ok(Graft::Installed(Grafted {
        removed: build_dir
            .read_text(beside::REMOVED)?
            .unwrap_or_default()
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
    pub fn from_records(place: &Place, target: &Target) -> Result<Self, Error> {
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
