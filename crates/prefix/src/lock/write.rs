//! Responsible for writing locks in rattler's format.

use rattler_lock::{DEFAULT_ENVIRONMENT_NAME, LockFile, PlatformData, PlatformName};

use super::{Extra, Lock, Recipe, Request, pip};
use crate::{
    conda::CondaSettings,
    error::Error,
    pip_package::{LockedPip, PipPackage},
    records::scrubbed,
    secrets::without_secrets,
    solution::Solution,
    spec::EnvironmentSpec,
};

/// Everything that a lock is written from.
#[derive(Debug, Clone, Copy)]
pub struct LockContents<'a> {
    /// Exact packages. If they come from a lock, its pip packages are written again unchanged.
    pub solution: &'a Solution,
    /// Request that the packages were chosen for.
    pub spec: &'a EnvironmentSpec,
    /// pip's report of the packages that it installed or would install. Without a report and
    /// without a lock, all lines for pip are listed as not locked.
    pub pip_report: Option<&'a str>,
    /// Names and versions of all packages that are not conda's. Those that neither the report nor
    /// the lock has were installed by the scripts.
    pub installed: &'a [PipPackage],
    /// Settings of conda that the build followed.
    pub conda: &'a CondaSettings,
    /// Properties of the image, if there is one.
    pub recipe: Option<&'a Recipe>,
}

/// Returns the text of a lock without settings of conda and without properties of an image.
///
/// # Errors
/// Returns the errors of [`LockContents::render`].
pub fn render_lock(
    solution: &Solution,
    spec: &EnvironmentSpec,
    pip_report: Option<&str>,
    installed: &[PipPackage],
) -> Result<String, Error> {
    let contents = LockContents {
        solution,
        spec,
        pip_report,
        installed,
        conda: &CondaSettings::default(),
        recipe: None,
    };
    contents.render()
}

impl LockContents<'_> {
    /// Returns the text of a lock: YAML in rattler's lock format, with a digest for every package
    /// that is an archive.
    ///
    /// # Errors
    /// Returns [`Error::Install`] if the report cannot be read or a package cannot be written in
    /// the format.
    pub fn render(&self) -> Result<String, Error> {
        let Self { solution, spec, .. } = *self;
        let pip = match (&solution.locked_pip, self.pip_report) {
            (Some(locked), _) => locked.clone(),
            (None, Some(report)) => pip::from_report(report).map_err(refused)?,
            (None, None) => Vec::new(),
        };
        let extra = Extra {
            variables: spec
                .variables()
                .iter()
                .map(|(name, value)| (name.clone().into(), value.clone().into()))
                .collect(),
            editable: editable(&pip),
            unlocked: if solution.locked_pip.is_none() && self.pip_report.is_none() {
                let lines = spec.pip().iter();
                lines
                    .map(|line| without_secrets(line).into_owned())
                    .collect()
            } else {
                Vec::new()
            },
            scripts: spec.scripts().map(str::to_owned).collect(),
            by_scripts: if spec.scripts().next().is_some() {
                of_scripts(self.installed, &pip)
            } else {
                Vec::new()
            },
            requested_pip: requested(&pip),
            request: Request::of(spec),
            conda: self.conda.clone(),
            image: self.recipe.cloned(),
        };
        render(solution, &pip, &extra)
    }
}

fn editable(pip: &[LockedPip]) -> Vec<String> {
    let editable = pip.iter().filter(|package| package.is_editable());
    editable.map(|package| package.name.clone()).collect()
}

/// Returns the packages that neither a lock nor pip's report has, each as `name==version`.
fn of_scripts(installed: &[PipPackage], pip: &[LockedPip]) -> Vec<String> {
    let new = installed
        .iter()
        .filter(|new| pip.iter().all(|package| package.name != new.name));
    new.map(|package| format!("{}=={}", package.name, package.version))
        .collect()
}

/// Returns the names of the packages that were asked for, if others are there as well.
fn requested(pip: &[LockedPip]) -> Option<Vec<String>> {
    if pip.iter().all(|package| package.requested) {
        return None;
    }
    let requested = pip.iter().filter(|package| package.requested);
    Some(requested.map(|package| package.name.clone()).collect())
}

/// Returns the text of the lock of an environment that was changed in place. `before` is its lock
/// before the change, if it has one.
///
/// The report in `contents` is that of the packages which pip installed in this change. `installed`
/// has all of pip's packages, old and new; those that neither the lock nor the report has are
/// listed as installed by the scripts. Without a report, the `requirements` that pip got in this
/// change are listed as not locked.
///
/// # Errors
/// Returns the errors of [`LockContents::render`].
pub fn render_updated_lock(
    before: Option<&Lock>,
    requirements: &EnvironmentSpec,
    contents: &LockContents<'_>,
) -> Result<String, Error> {
    let LockContents {
        solution,
        spec,
        pip_report,
        installed,
        ..
    } = *contents;
    let new = pip_report.map_or(Ok(Vec::new()), pip::from_report);
    let new = new.map_err(refused)?;
    let mut pip: Vec<LockedPip> = before.map_or_else(Vec::new, |lock| lock.pip.clone());
    pip.retain(|old| {
        let stays = installed.iter().any(|found| {
            let version = old.version.as_ref();
            found.name == old.name && version.is_none_or(|known| *known == found.version)
        });
        stays && new.iter().all(|new| new.name != old.name)
    });
    pip.extend(new);
    pip.sort_by(|one, other| one.name.cmp(&other.name));
    let scripts: Vec<String> = spec.scripts().map(str::to_owned).collect();
    let names_all =
        !scripts.is_empty() || before.is_none_or(|lock| !lock.extra.by_scripts.is_empty());
    let mut unlocked = before.map_or_else(Vec::new, |lock| lock.extra.unlocked.clone());
    if pip_report.is_none() {
        let lines = requirements.pip().iter();
        unlocked.extend(lines.map(|line| without_secrets(line).into_owned()));
        unlocked.dedup();
    }
    let mut request = Request::of(spec);
    let more = requirements.pip_as_written().iter();
    request.pip.extend(more.cloned());
    let extra = Extra {
        variables: before.map_or_else(Default::default, |lock| lock.extra.variables.clone()),
        editable: editable(&pip),
        unlocked,
        by_scripts: if names_all {
            of_scripts(installed, &pip)
        } else {
            Vec::new()
        },
        scripts,
        requested_pip: requested(&pip),
        request,
        conda: contents.conda.clone(),
        image: contents.recipe.cloned(),
    };
    render(solution, &pip, &extra)
}

pub(super) fn render(
    solution: &Solution,
    pip: &[LockedPip],
    extra: &Extra,
) -> Result<String, Error> {
    let platform = solution.subdir.as_str();
    let mut builder = LockFile::builder()
        .with_platforms(vec![PlatformData {
            name: PlatformName::try_from(platform).map_err(refused)?,
            subdir: solution.subdir,
            virtual_packages: solution.virtual_packages.clone(),
        }])
        .map_err(refused)?;
    builder.set_channels(
        DEFAULT_ENVIRONMENT_NAME,
        solution.channels.iter().map(String::as_str),
    );
    for record in &solution.records {
        let record = scrubbed(record);
        builder
            .add_conda_package(DEFAULT_ENVIRONMENT_NAME, platform, record.into())
            .map_err(refused)?;
    }
    for package in pip {
        let data = package.to_data().map_err(refused)?;
        builder
            .add_pypi_package(DEFAULT_ENVIRONMENT_NAME, platform, data)
            .map_err(refused)?;
    }
    let mut text = builder.finish().render_to_string().map_err(refused)?;
    if !extra.is_empty() {
        #[derive(serde::Serialize)]
        struct Ours<'a> {
            condense: &'a Extra,
        }
        let ours = serde_yaml::to_string(&Ours { condense: extra }).map_err(refused)?;
        text.push_str(&ours);
    }
    Ok(text)
}

pub(super) fn refused(error: impl std::fmt::Display) -> Error {
    Error::Install {
        package: "lock".to_owned(),
        source: error.to_string().into(),
    }
}
