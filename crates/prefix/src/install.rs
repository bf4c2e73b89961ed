//! Responsible for installing a prefix that is in scratch during the build but contains the path of
//! its mount point.
//!
//! Packages are linked by [`crate::link`]. This module does the steps that rattler leaves out: the
//! package records are written without local paths and credentials and are readable by all users,
//! and history and state are written. It does not run post-link scripts: they need the prefix at
//! its mount point, see [`crate::steps`].

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Instant};

use rattler_conda_types::PrefixRecord;

use crate::{
    error::Error,
    fetch::Archives,
    held::Held,
    interpreter,
    link::{Kept, LinkJob, can_hold, link_all, link_options, open_prefix},
    package::KeptPackages,
    prefix::Prefix,
    progress::{Phase, Progress, Warning},
    python::Python,
    secrets::without_secrets,
    solution::Solution,
    spec::EnvironmentSpec,
    spool::Spool,
    steps::{BuildSteps, PipStep, post_link_scripts},
    target::Place,
};
use condense_within::Within;

/// Unpacks and links all packages. Digests that the channels do not list are added to `solution`.
///
/// # Errors
/// Returns [`Error::Damaged`] if an archive is not the one that its channel lists,
/// [`Error::Install`] if a package cannot be linked, [`Error::Io`], [`Error::MountPointTooLong`],
/// or [`Error::Interrupted`].
pub fn install(
    spec: &EnvironmentSpec,
    solution: &mut Solution,
    archives: &Archives,
    place: &Place,
    progress: &dyn Progress,
) -> Result<BuildSteps, Error> {
    let held = (None, Kept::none());
    install_with(spec, solution, archives, place, held, progress)
}

/// Unpacks and links all packages like [`install`], but holds back the files that nothing needs as
/// files during the build: their contents are in one file without a name. The result is part of
/// [`crate::Finished`].
///
/// Everything becomes a file, as with [`install`], if the environment has post-link scripts, or
/// if pip replaces conda packages. The caller adds no scripts to the steps. If there are lines for
/// pip, it has a container that can mount an image, uv does not install them, and none of them
/// stays a link.
///
/// # Errors
/// Returns the errors of [`install`].
pub fn install_held(
    spec: &EnvironmentSpec,
    solution: &mut Solution,
    archives: &Archives,
    place: &Place,
    kept: Option<&dyn KeptPackages>,
    progress: &dyn Progress,
) -> Result<BuildSteps, Error> {
    let pip = PipStep::new(spec, solution.locked_pip.as_deref());
    let may_hold = pip.is_idle() || pip.may_run_beside(solution);
    let kept = if may_hold {
        Kept::open(solution, kept, progress)?
    } else {
        Kept::none()
    };
    let spool = if may_hold && can_hold(solution, archives, place, &kept, progress)? {
        let dir = &place.packages;
        fs_err::create_dir_all(dir).map_err(Error::io("create", dir))?;
        Some(Arc::new(Spool::create(dir)?))
    } else {
        None
    };
    install_with(spec, solution, archives, place, (spool, kept), progress)
}

fn install_with(
    spec: &EnvironmentSpec,
    solution: &mut Solution,
    archives: &Archives,
    place: &Place,
    (spool, kept): (Option<Arc<Spool>>, Kept<'_>),
    progress: &dyn Progress,
) -> Result<BuildSteps, Error> {
    Place::check(&place.mount_point, &place.environment)?;
    if solution.lacks_python_for_locked_pip() {
        return Err(Error::Install {
            package: "packages of PyPI".to_owned(),
            source: "the lock has no Python to install them into".into(),
        });
    }
    let started = Instant::now();
    progress.begin(Phase::Link, Some(solution.records.len() as u64));
    let env_dir = place.scratch_env();
    for dir in [&env_dir, &place.packages] {
        fs_err::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    let target = open_prefix(&env_dir)?;
    let (python_info, options) = link_options(solution, place)?;
    let job = LinkJob {
        solution,
        archives,
        place,
        target: &target,
        options: &options,
        installed: &[],
        spool: spool.as_ref(),
        kept: &kept,
    };
    let mut linked = link_all(&job, progress)?;
    for linked in &linked {
        let record = &mut solution.records[linked.index].package_record;
        if record.sha256.is_none() {
            record.sha256 = Some(linked.sha256.into());
        }
    }
    let held = spool
        .map(|spool| Held::of(spool, &mut linked))
        .filter(|held| !held.is_empty());
    let interpreter_digest = held.is_some().then(|| interpreter::digest(&linked));
    let records: Vec<PrefixRecord> = linked.into_iter().map(|linked| linked.record).collect();
    let python = python_info.as_ref().map(Python::from_info);
    let env = place.open_env()?;
    write_history(solution, spec, &env)?;
    write_state(spec, &env)?;
    for package in names_with_script(&records, &env, "pre-link") {
        // conda runs this script in its package cache, before anything is linked, and calls
        // pre-link scripts dangerous.
        progress.warn(Warning::Message {
            package,
            text: "its pre-link script is not run".to_owned(),
        });
    }
    let mut pip = PipStep::new(spec, solution.locked_pip.as_deref());
    pip.glibc = solution
        .virtual_packages
        .iter()
        .find_map(|word| word.strip_prefix("__glibc=").map(str::to_owned));
    let prefix = Prefix {
        place: place.clone(),
        python,
        venv: None,
    };
    let steps = BuildSteps {
        patched: patched_sources(&records),
        post_link: post_link_scripts(&records, &env),
        interpreter: match &prefix.python {
            Some(python) if held.is_some() => interpreter::files(&records, python),
            _ => HashSet::new(),
        },
        interpreter_digest,
        held,
        ..BuildSteps::new(prefix, pip)
    };
    progress.end(Phase::Link, started.elapsed());
    Ok(steps)
}

/// Lists the sources that linking has changed.
pub(crate) fn patched_sources(records: &[PrefixRecord]) -> HashSet<PathBuf> {
    let entries = records.iter().flat_map(|record| &record.paths_data.paths);
    entries
        .filter(|entry| {
            entry.file_mode.is_some() && entry.relative_path.extension().is_some_and(|e| e == "py")
        })
        .map(|entry| entry.relative_path.clone())
        .collect()
}

/// Returns the names of the packages that have a link script of this kind.
fn names_with_script(records: &[PrefixRecord], env_dir: &Within, kind: &str) -> Vec<String> {
    let names = records.iter().map(|record| record.name().as_normalized());
    names
        .filter(|name| env_dir.is_file(format!("bin/.{name}-{kind}.sh")))
        .map(str::to_owned)
        .collect()
}

/// Writes conda's own history of requests, which `conda list --revisions` and many scripts read.
pub(crate) fn write_history(
    solution: &Solution,
    spec: &EnvironmentSpec,
    env_dir: &Within,
) -> Result<(), Error> {
    let time = solution
        .newest_timestamp()
        .map_or_else(|| "1970-01-01 00:00:00".to_owned(), utc);
    let mut text = format!("==> {time} <==\n# cmd: condense\n");
    let mut lines: Vec<String> = solution
        .records
        .iter()
        .map(|record| {
            let package = &record.package_record;
            let channel = record.channel.as_deref().unwrap_or("");
            let channel = without_secrets(channel);
            let channel = channel.trim_end_matches('/');
            let dist = format!(
                "{}-{}-{}",
                package.name.as_normalized(),
                package.version,
                package.build
            );
            format!("+{channel}/{}::{dist}\n", package.subdir)
        })
        .collect();
    lines.sort_unstable();
    text.extend(lines);
    let specs: Vec<String> = spec
        .conda_specs()
        .map(|written| format!("'{}'", without_secrets(written).replace('\'', "")))
        .collect();
    text.push_str(&format!("# update specs: [{}]\n", specs.join(", ")));
    Ok(env_dir.write("conda-meta/history", text)?)
}

/// Formats seconds since 1970 as `YYYY-MM-DD hh:mm:ss` in UTC.
fn utc(seconds: u32) -> String {
    let time = jiff::Timestamp::from_second(seconds.into()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Writes `variables:` of the environment file to the file in which conda keeps them.
fn write_state(spec: &EnvironmentSpec, env_dir: &Within) -> Result<(), Error> {
    if spec.variables().is_empty() {
        return Ok(());
    }
    let variables: serde_json::Map<String, serde_json::Value> = spec
        .variables()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let state = serde_json::json!({ "version": 1, "env_vars": variables });
    Ok(env_dir.write("conda-meta/state", state.to_string())?)
}
