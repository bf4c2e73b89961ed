//! Responsible for the packages that pip would install, as far as they are known without building
//! anything: those of a lock, or those that uv or a recent pip on this machine names.
//!
//! Only wheels are considered, since sources would have to be built to be known. Older versions of
//! pip download everything before they report it (pypa/pip#12603) and are not asked.

mod ask;
mod pylock;

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_prefix::{
    EnvironmentSpec, HostPython, PipPackage, Target, normalized_name, pip_to_build, without_secrets,
};

use super::{PreviewedPip, Resolved, Solved};
use crate::{check::check_pip_request, plan::PackageSettings, session::Session};
use ask::{Answer, Asked};

/// Question which packages pip would install.
pub(crate) struct PipQuestion<'a> {
    pub(crate) spec: &'a EnvironmentSpec,
    pub(crate) solved: &'a Solved,
    /// Version of Python in the environment, if it is known.
    pub(crate) python: Option<PythonVersion>,
    pub(crate) target: &'a Target,
    /// Whether uv installs the packages, so that its answer is that of the build.
    pub(crate) uses_uv: bool,
    /// The uv that the build would use.
    pub(crate) uv_program: Option<&'a Path>,
    pub(crate) settings: &'a PackageSettings,
    pub(crate) session: Session<'a>,
    /// Scratch directory of the dry run.
    pub(crate) notes: &'a Path,
}

/// Version of Python for which pip resolves, and its program if it is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PythonVersion {
    /// Major and minor version: `3.12`.
    minor: String,
    program: Option<PathBuf>,
}

impl PythonVersion {
    /// Returns the version without its third number.
    pub(crate) fn new(version: &str) -> Self {
        let numbers: Vec<&str> = version.split('.').take(2).collect();
        Self {
            minor: numbers.join("."),
            program: None,
        }
    }

    /// Returns the version of a program.
    pub(crate) fn of_program(python: &HostPython) -> Self {
        Self {
            program: Some(python.program.clone()),
            ..Self::new(&python.version)
        }
    }
}

/// Returns the packages that pip would install, and checks them.
///
/// # Errors
/// Returns an error if no version fits the requirements, or if a finding is not allowed.
pub(crate) fn resolve(question: &PipQuestion) -> anyhow::Result<Resolved> {
    let solution = &question.solved.solution;
    let locked = solution.locked_pip_packages();
    if !locked.is_empty() {
        return Ok(Resolved {
            packages: locked.into_iter().map(of_unknown_size).collect(),
            by: Some("lock"),
            ..Resolved::default()
        });
    }
    if !question.spec.needs_pip(Some(solution)) {
        return Ok(Resolved::default());
    }
    let unresolved = |reason: String| {
        let lines = question.spec.pip().iter();
        Ok(Resolved {
            lines: lines
                .map(|line| without_secrets(line).into_owned())
                .collect(),
            reason: Some(without_secrets(&reason).into_owned()),
            ..Resolved::default()
        })
    };
    if let Some(line) = pip_to_build(question.spec, None).first() {
        return unresolved(format!("`{line}` has to be built"));
    }
    let Some(python) = &question.python else {
        return unresolved("the version of Python is not known before".to_owned());
    };
    let Some(asked) = Asked::find(question, python) else {
        return unresolved(
            "there is neither uv on PATH nor a pip of version 25.3 or newer".to_owned(),
        );
    };
    let by = asked.name();
    match asked.ask(question, python)? {
        Answer::Packages(packages) => {
            let packages = beside_conda(packages, question);
            let named: Vec<PipPackage> = packages
                .iter()
                .map(|package| PipPackage::new(&package.name, &package.version))
                .collect();
            let checks = &question.session.settings.checks;
            check_pip_request(&named, "pip's packages", checks, question.session.report)?;
            Ok(Resolved {
                packages,
                by: Some(by),
                ..Resolved::default()
            })
        }
        Answer::Impossible(reason) => bail!(UserError::new(
            format!("the requirements for pip cannot be met: {reason}"),
            "ask for versions that exist as wheels for this Python; `-v` shows what was asked",
        )),
        Answer::Unknown(reason) => unresolved(reason),
    }
}

fn of_unknown_size(package: PipPackage) -> PreviewedPip {
    PreviewedPip {
        name: package.name,
        version: package.version,
        size: None,
    }
}

/// Leaves out the dependencies that conda's packages of the same names meet.
fn beside_conda(packages: Vec<PreviewedPip>, question: &PipQuestion) -> Vec<PreviewedPip> {
    let requested: Vec<String> = question
        .spec
        .pip()
        .iter()
        .map(|line| project(line))
        .collect();
    let of_conda = |name: &str| {
        let mut packages = question.solved.packages.iter();
        packages.any(|package| normalized_name(&package.name) == name)
    };
    let mut packages = packages;
    packages.retain(|package| {
        let name = normalized_name(&package.name);
        requested.contains(&name) || !of_conda(&name)
    });
    packages
}

/// Returns the normalised name of the project that a requirement asks for with a version or an
/// option. A bare name is met by any version of conda.
fn project(line: &str) -> String {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    match end {
        Some(end) => normalized_name(&line[..end]),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{PythonVersion, project};

    #[test]
    fn a_bare_name_may_be_met_by_conda() {
        assert_eq!(project("NumPy>=2"), "numpy");
        assert_eq!(project("typing_extensions ==4"), "typing-extensions");
        assert_eq!(project("numpy"), "");
    }

    #[test]
    fn pip_resolves_for_a_minor_version() {
        assert_eq!(PythonVersion::new("3.12.4").minor, "3.12");
        assert_eq!(PythonVersion::new("3.12").minor, "3.12");
    }
}
