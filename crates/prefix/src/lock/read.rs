//! Responsible for reading lock files of condense, pixi and conda-lock, for one
//! environment and one platform.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use rattler_conda_types::{MatchSpec, Matches, PackageRecord, ParseMatchSpecOptions};
use rattler_lock::{DEFAULT_ENVIRONMENT_NAME, Environment, LockFile, Platform};
use serde_yaml::Value;

use super::{Extra, Lock, entry, needed};

/// Purpose of reading a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Installing the lock's packages.
    Build,
    /// Listing the packages of an existing installation.
    Installed,
}
use crate::{
    error::Error,
    pip_package::LockedPip,
    progress::Warning,
    secrets::without_secrets,
    solution::{Solution, refuse_unsafe_names},
    spec::{EnvironmentSpec, needed},
    target::Target,
    text, yaml_limits,
};

/// conda-lock's name of the category that is always installed.
const MAIN_CATEGORY: &str = "main";

impl Lock {
    /// Reads the lock file `file` for `target`: a condense.lock, a pixi.lock or a conda-lock.yml.
    ///
    /// `environment` selects one of several environments. For a conda-lock.yml, it selects a
    /// category in addition to `main`.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read. Returns [`Error::Lock`] if the file cannot
    /// be understood, has no packages for this target, or has a package without a digest.
    pub fn load(file: &Path, environment: Option<&str>, target: &Target) -> Result<Self, Error> {
        let text = open(file)?;
        let folder = match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let folder = fs_err::canonicalize(&folder).map_err(Error::io("resolve", &folder))?;
        Self::parse(&text, file, &folder, environment, target)
    }

    /// Reads the lock of an existing installation, to list its packages. The packages need not fit
    /// this machine.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read, and [`Error::Lock`] if
    /// it cannot be understood.
    pub fn from_installation(file: &Path, target: &Target) -> Result<Self, Error> {
        let text = open(file)?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        Self::parse_for(Purpose::Installed, &text, file, folder, None, target)
    }

    /// Reads the text of the lock of an existing installation like [`Lock::from_installation`].
    pub(super) fn parse_installed(
        text: &str,
        file: &Path,
        folder: &Path,
        target: &Target,
    ) -> Result<Self, Error> {
        Self::parse_for(Purpose::Installed, text, file, folder, None, target)
    }

    /// Reads the text of a lock like [`Lock::load`]. `file` is the file's name for errors; relative
    /// paths start at `folder`.
    ///
    /// # Errors
    /// Returns the errors of [`Lock::load`], except [`Error::Io`].
    pub fn parse(
        text: &str,
        file: &Path,
        folder: &Path,
        environment: Option<&str>,
        target: &Target,
    ) -> Result<Self, Error> {
        Self::parse_for(Purpose::Build, text, file, folder, environment, target)
    }

    fn parse_for(
        purpose: Purpose,
        text: &str,
        file: &Path,
        folder: &Path,
        environment: Option<&str>,
        target: &Target,
    ) -> Result<Self, Error> {
        let mut warnings = Vec::new();
        let (mut solution, pip, extra) =
            read(purpose, text, folder, environment, target, &mut warnings).map_err(|message| {
                Error::Lock {
                    file: file.to_owned(),
                    message,
                }
            })?;
        for record in &solution.records {
            refuse_unsafe_names(record)?;
        }
        let mut requested = EnvironmentSpec::default();
        extra.request.apply(&mut requested);
        solution.request(&requested);
        Ok(Self {
            file: file.to_owned(),
            text: text.to_owned(),
            solution,
            pip,
            extra,
            warnings,
        })
    }
}

pub(super) fn open(file: &Path) -> Result<String, Error> {
    let bytes = condense_input::read_named(file, condense_input::RECORD_MOST)
        .map_err(Error::io("read", file))?;
    text::decode(&bytes).map_err(|decode_error| Error::Lock {
        file: file.to_owned(),
        message: format!("line {}: {}", decode_error.line, decode_error.message),
    })
}

fn read(
    purpose: Purpose,
    text: &str,
    folder: &Path,
    environment: Option<&str>,
    target: &Target,
    warnings: &mut Vec<Warning>,
) -> Result<(Solution, Vec<LockedPip>, Extra), String> {
    // The text of an explicit list inside of a lock is indented.
    if text.lines().any(|line| line.trim_end() == "@EXPLICIT") {
        return Err(
            "this is an explicit list, which needs no `--lock`: give it as the environment file"
                .to_owned(),
        );
    }
    if let Some(message) = yaml_limits::exceeded(text) {
        return Err(message.to_owned());
    }
    let mut document: Value = serde_yaml::from_str(text).map_err(|error| {
        format!(
            "this is not a lock file: {}",
            without_secrets(&error.to_string())
        )
    })?;
    if document.get("version").is_none() {
        return Err(
            "this is not a lock file: it has no `version:`; an environment file needs no `--lock`"
                .to_owned(),
        );
    }
    let extra: Extra = match document.get("condense") {
        Some(extra) => serde_yaml::from_value(extra.clone())
            .map_err(|error| format!("`condense:` cannot be read: {error}"))?,
        None => Extra::default(),
    };
    extra.check()?;
    let is_conda_lock = document.get("package").is_some_and(Value::is_sequence);
    let wanted = environment
        .filter(|_| !is_conda_lock)
        .unwrap_or(DEFAULT_ENVIRONMENT_NAME);
    let subdir = target.architecture.subdir().as_str();
    if is_conda_lock {
        select_categories(&mut document, environment, warnings)?;
        needed::select_conda_lock(&mut document, subdir)?;
    } else if purpose == Purpose::Build {
        needed::select_pixi(&mut document, wanted, subdir)?;
    }
    let lock =
        parse(&document, folder).map_err(|message| blamed(document, folder).unwrap_or(message))?;
    let found = lock.environment(wanted).ok_or_else(|| {
        let names = lock.environments().map(|(name, _)| format!("`{name}`"));
        needed::no_environment(wanted, names.collect())
    })?;
    let platform = match pick_platform(&found, target) {
        // An environment without any package has no platform in the lock.
        Err(_) if purpose == Purpose::Installed && found.platforms().next().is_none() => {
            return Ok((Solution::without_packages(target), Vec::new(), extra));
        }
        platform => platform?,
    };
    let (solution, pip) = solution(purpose, &found, platform, target, folder, &extra)?;
    Ok((solution, pip, extra))
}

fn parse(document: &Value, folder: &Path) -> Result<LockFile, String> {
    let text = serde_yaml::to_string(document).map_err(|error| error.to_string())?;
    LockFile::from_str_with_base_directory(&text, Some(folder))
        .map_err(|error| without_secrets(&describe(&error)).into_owned())
}

/// Returns the first package that cannot be read by itself, with the reason, or `None` if no single
/// package is the cause.
fn blamed(mut document: Value, folder: &Path) -> Option<String> {
    if let Some(environments) = document.get_mut("environments") {
        let environments = environments.as_mapping_mut()?.values_mut();
        for environment in environments.filter_map(Value::as_mapping_mut) {
            environment.insert("packages".into(), serde_yaml::Mapping::new().into());
        }
    }
    let key = ["package", "packages"]
        .into_iter()
        .find(|key| document.get(key).is_some())?;
    let packages = std::mem::take(document.get_mut(key)?.as_sequence_mut()?);
    parse(&document, folder).ok()?;
    for package in packages {
        let name = entry::name(&package);
        document[key] = vec![package].into();
        if let Err(message) = parse(&document, folder) {
            let name = without_secrets(&name);
            return Some(format!("`{name}` cannot be read: {message}"));
        }
    }
    None
}

/// Keeps the packages of the category `main`, which conda-lock installs by default, and of the
/// category `wanted`.
fn select_categories(
    document: &mut Value,
    wanted: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Result<(), String> {
    let Some(packages) = document.get_mut("package").and_then(Value::as_sequence_mut) else {
        return Ok(());
    };
    let mut others = BTreeSet::new();
    packages.retain(|package| {
        let category = package
            .get("category")
            .and_then(Value::as_str)
            .unwrap_or(MAIN_CATEGORY);
        let keep = category == MAIN_CATEGORY || Some(category) == wanted;
        if category != MAIN_CATEGORY {
            others.insert(category.to_owned());
        }
        keep
    });
    if let Some(wanted) = wanted.filter(|name| *name != MAIN_CATEGORY)
        && !others.remove(wanted)
    {
        return Err(format!("it has no package of the category `{wanted}`"));
    }
    if !others.is_empty() {
        warnings.push(Warning::CategoriesLeftOut {
            categories: others.into_iter().collect(),
        });
    }
    Ok(())
}

/// Returns the lock's platform for the target's architecture. If the lock has several, platforms
/// with virtual packages that the target has are preferred, and among those the one with the most
/// virtual packages.
fn pick_platform<'lock>(
    environment: &Environment<'lock>,
    target: &Target,
) -> Result<Platform<'lock>, String> {
    let subdir = target.architecture.subdir();
    let offered = target.generic_virtual_packages()?;
    let fits = |platform: &Platform<'lock>| {
        platform.virtual_packages().iter().all(|word| {
            let mut parts = word.splitn(3, '=');
            let (name, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or("0"));
            let spec = format!("{name} >={version}");
            // `__archspec` names a processor, and names cannot be compared with `>=`.
            name == "__archspec"
                || MatchSpec::from_str(&spec, ParseMatchSpecOptions::lenient())
                    .is_ok_and(|spec| offered.iter().any(|package| spec.matches(package)))
        })
    };
    let mut candidates: Vec<Platform<'lock>> = environment
        .platforms()
        .filter(|platform| platform.subdir() == subdir)
        .collect();
    candidates.sort_by_key(|platform| {
        let exact = platform.name().as_str() == subdir.as_str();
        (
            !fits(platform),
            std::cmp::Reverse(platform.virtual_packages().len()),
            !exact,
            platform.name().to_string(),
        )
    });
    candidates.first().copied().ok_or_else(|| {
        let mut names: Vec<String> = environment
            .platforms()
            .map(|platform| format!("`{}`", platform.name().as_str()))
            .collect();
        names.sort();
        needed::nothing_for(subdir.as_str(), names)
    })
}

fn solution(
    purpose: Purpose,
    environment: &Environment,
    platform: Platform,
    target: &Target,
    folder: &Path,
    extra: &Extra,
) -> Result<(Solution, Vec<LockedPip>), String> {
    for package in environment.conda_packages(platform).into_iter().flatten() {
        if package.as_source().is_some() {
            return Err(needed::from_source(package.name().as_source()));
        }
    }
    let records = environment
        .conda_repodata_records(platform)
        .map_err(|error| error.to_string())?
        .unwrap_or_default();
    for record in &records {
        if record.package_record.sha256.is_none() && record.package_record.md5.is_none() {
            return Err(format!(
                "`{}` has neither sha256 nor md5, so nobody could tell whether it is still the same",
                record.identifier.to_file_name()
            ));
        }
    }
    let to_build = purpose == Purpose::Build;
    if to_build {
        refuse_unmet(&records, target)?;
    }
    let mut locked_pip = environment
        .pypi_packages(platform)
        .into_iter()
        .flatten()
        .map(|data| LockedPip::from_data(data, folder, extra))
        .collect::<Result<Vec<_>, _>>()?;
    locked_pip.sort_by(|one, other| one.name.cmp(&other.name));
    if to_build && records.is_empty() {
        return Err("it has no conda package".to_owned());
    }
    // An environment that is installed keeps those that it was solved for.
    let of_lock = platform.virtual_packages();
    let virtual_packages = if to_build || of_lock.is_empty() {
        target.virtual_packages()
    } else {
        of_lock.to_vec()
    };
    let solution = Solution {
        records: PackageRecord::sort_topologically(records),
        channels: environment
            .channels()
            .iter()
            .map(|channel| without_secrets(&channel.url).into_owned())
            .collect(),
        specs: Vec::new(),
        subdir: platform.subdir(),
        virtual_packages,
        locked_pip: extra.unlocked.is_empty().then(|| locked_pip.clone()),
    };
    Ok((solution, locked_pip))
}

/// Refuses packages that need virtual packages which the target does not have. The lock may have
/// been made for a machine with a newer glibc or CUDA driver.
fn refuse_unmet(
    records: &[rattler_conda_types::RepoDataRecord],
    target: &Target,
) -> Result<(), String> {
    let offered = target.generic_virtual_packages()?;
    let mut unmet = Vec::new();
    for record in records {
        for text in &record.package_record.depends {
            if !text.starts_with("__") {
                continue;
            }
            let met =
                needed(text).is_ok_and(|spec| offered.iter().any(|package| spec.matches(package)));
            if !met {
                unmet.push(format!(
                    "`{}` needs `{text}`",
                    record.identifier.to_file_name()
                ));
            }
        }
    }
    if unmet.is_empty() {
        return Ok(());
    }
    Err(format!("it does not fit {target}: {}", unmet.join(", ")))
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
