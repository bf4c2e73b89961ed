//! Responsible for installing a prefix that is in scratch during the build but contains the path of
//! its mount point.
//!
//! Packages are linked by [`crate::link`]. This module does the steps that rattler leaves out: the
//! package records are written without local paths and credentials and are readable by all users,
//! and history and state are written. It does not run post-link scripts: they need the prefix at
//! its mount point, see [`crate::steps`].

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::Instant,
};

use rattler::install::{ExternalSymlinkPolicy, InstallOptions, PythonInfo};
use rattler_conda_types::{MatchSpec, PackageNameMatcher, PrefixRecord, RepoDataRecord};

use crate::{
    error::Error,
    fetch::Archives,
    link::{link_all, open_prefix},
    progress::{Progress, Stage, Warning},
    python::Python,
    secrets::{url_without_secrets, without_secrets},
    solve::Solution,
    spec::EnvironmentSpec,
    steps::{Pip, Scripts, Uv},
    target::Place,
    venv,
};
use condense_within::Within;

/// An installed prefix whose build steps have not run yet.
#[derive(Debug)]
pub struct Prefix {
    pub(crate) place: Place,
    pub(crate) python: Option<Python>,
    /// Sources that linking has changed: the byte code that came with them is stale.
    pub(crate) patched: HashSet<PathBuf>,
    pub(crate) post_link: Vec<PostLink>,
    pub(crate) pip: Pip,
    /// Paths on this machine that the lines for pip name.
    pub(crate) named_paths: Vec<PathBuf>,
    pub(crate) keep_editable: bool,
    /// Interpreter of a virtual environment; `None` for a conda environment.
    pub(crate) venv: Option<venv::Made>,
    pub(crate) scripts: Scripts,
    pub(crate) uv: Option<Uv>,
    pub(crate) no_cache: bool,
    /// Version of the C library that the programs will run on.
    pub(crate) glibc: Option<String>,
}

impl Prefix {
    /// Returns a virtual environment without packages.
    pub(crate) fn of_venv(
        place: Place,
        python: Python,
        spec: &EnvironmentSpec,
        made: venv::Made,
    ) -> Self {
        Self {
            venv: Some(made),
            ..Self::installed(place, Some(python), spec)
        }
    }

    /// Returns an environment whose packages are all installed, except those that `spec` lists for
    /// pip.
    pub(crate) fn installed(place: Place, python: Option<Python>, spec: &EnvironmentSpec) -> Self {
        Self {
            place,
            python,
            patched: HashSet::new(),
            post_link: Vec::new(),
            pip: Pip::of(spec.pip(), None),
            named_paths: spec.local_paths().to_vec(),
            keep_editable: false,
            venv: None,
            scripts: Scripts::default(),
            uv: None,
            no_cache: false,
            glibc: None,
        }
    }
}

/// Post-link script, which a package runs after it was linked.
#[derive(Debug)]
pub(crate) struct PostLink {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) build_number: u64,
    pub(crate) script: String,
}

pub(crate) struct Linked {
    pub(crate) index: usize,
    pub(crate) record: PrefixRecord,
    pub(crate) sha256: [u8; 32],
}

impl PostLink {
    /// Returns the line of the script in the file that run.sh reads.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}\n",
            self.script, self.package, self.version, self.build_number
        )
    }
}

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
) -> Result<Prefix, Error> {
    Place::check(&place.mount_point, &place.environment)?;
    if solution.lacks_python_for_locked_pip() {
        return Err(Error::Install {
            package: "packages of PyPI".to_owned(),
            source: "the lock has no Python to install them into".into(),
        });
    }
    let started = Instant::now();
    progress.begin(Stage::Link, Some(solution.records.len() as u64));
    let env_dir = place.scratch_env();
    for dir in [&env_dir, &place.packages] {
        fs_err::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    let target = open_prefix(&env_dir)?;
    let (python_info, options) = link_options(solution, place)?;
    let linked = link_all(solution, archives, place, &target, &options, &[], progress)?;
    for linked in &linked {
        let record = &mut solution.records[linked.index].package_record;
        if record.sha256.is_none() {
            record.sha256 = Some(linked.sha256.into());
        }
    }
    let records: Vec<PrefixRecord> = linked.into_iter().map(|linked| linked.record).collect();
    let python = python_info.as_ref().map(Python::of_info);
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
    let prefix = Prefix {
        python,
        patched: patched_sources(&records),
        post_link: post_link_scripts(&records, &env),
        pip: Pip::of(spec.pip(), solution.locked_pip.as_deref()),
        named_paths: spec.local_paths().to_vec(),
        keep_editable: false,
        venv: None,
        scripts: Scripts::default(),
        uv: None,
        no_cache: false,
        glibc: solution
            .virtual_packages
            .iter()
            .find_map(|word| word.strip_prefix("__glibc=").map(str::to_owned)),
        place: place.clone(),
    };
    progress.end(Stage::Link, started.elapsed());
    Ok(prefix)
}

/// Returns the options for linking packages, and the Python for which they are linked.
pub(crate) fn link_options(
    solution: &Solution,
    place: &Place,
) -> Result<(Option<PythonInfo>, InstallOptions), Error> {
    let python_info = solution.python_info()?;
    let options = InstallOptions {
        target_prefix: Some(place.mounted_env()),
        platform: Some(solution.subdir),
        python_info: python_info.clone(),
        // Unpacked packages belong to this build alone, so links into them cannot damage a shared
        // cache.
        allow_hard_links: None,
        allow_ref_links: Some(false),
        allow_symbolic_links: Some(true),
        external_symlink_policy: ExternalSymlinkPolicy::Allow,
        ..InstallOptions::default()
    };
    Ok((python_info, options))
}

impl Solution {
    /// Returns the directories of the solution's Python, if it has one.
    pub(crate) fn python_info(&self) -> Result<Option<PythonInfo>, Error> {
        let mut records = self.records.iter().map(|record| &record.package_record);
        records
            .find(|record| record.name.as_normalized() == "python")
            .map(|record| PythonInfo::from_python_record(record, self.subdir))
            .transpose()
            .map_err(|error| Error::Install {
                package: "python".to_owned(),
                source: Box::new(error),
            })
    }
}

pub(crate) fn requested_specs(specs: &[MatchSpec]) -> HashMap<String, Vec<String>> {
    let mut requested: HashMap<String, Vec<String>> = HashMap::new();
    for spec in specs {
        if let PackageNameMatcher::Exact(name) = &spec.name {
            // The channel is left out: it may carry credentials.
            let text = MatchSpec {
                channel: None,
                ..spec.clone()
            }
            .to_string();
            requested
                .entry(name.as_normalized().to_owned())
                .or_default()
                .push(text);
        }
    }
    requested
}

/// Copies a channel's record without credentials.
pub(crate) fn scrubbed(record: &RepoDataRecord) -> RepoDataRecord {
    let mut record = record.clone();
    if let Ok(url) = url_without_secrets(&record.url).parse() {
        record.url = url;
    }
    record.channel = record
        .channel
        .map(|channel| without_secrets(&channel).into_owned());
    record
}

/// Makes the installed package's record, without paths of this machine.
pub(crate) fn prefix_record(
    record: &RepoDataRecord,
    paths: Vec<rattler_conda_types::prefix_record::PathsEntry>,
    requested: &HashMap<String, Vec<String>>,
) -> PrefixRecord {
    let name = record.package_record.name.as_normalized();
    let requested_specs = requested.get(name).cloned().unwrap_or_default();
    PrefixRecord {
        requested_specs,
        ..PrefixRecord::from_repodata_record(scrubbed(record), paths)
    }
}

fn patched_sources(records: &[PrefixRecord]) -> HashSet<PathBuf> {
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

pub(crate) fn post_link_scripts(records: &[PrefixRecord], env_dir: &Within) -> Vec<PostLink> {
    let script_of = |record: &PrefixRecord| {
        let package = &record.repodata_record.package_record;
        let script = format!(".{}-post-link.sh", package.name.as_normalized());
        env_dir
            .is_file(Path::new("bin").join(&script))
            .then(|| PostLink {
                package: package.name.as_normalized().to_owned(),
                version: package.version.to_string(),
                build_number: package.build_number,
                script,
            })
    };
    records.iter().filter_map(script_of).collect()
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
