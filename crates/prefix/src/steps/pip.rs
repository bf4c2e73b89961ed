//! Responsible for pip's step: what it installs, how, and its inputs in the build directory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Instant,
};

use rattler_conda_types::Version;
use url::Url;

use super::{
    BuildSteps, StepRunner,
    surroundings::{SURROUNDINGS_SH, write_surroundings},
    uv::Uv,
};
use crate::{
    error::Error,
    pip_package::{LockedPip, PipSource, normalized},
    progress::{Phase, Progress},
    secrets::without_secrets,
    solution::Solution,
    spec::EnvironmentSpec,
    target::Place,
};
use condense_within::Within;

pub(super) const PIP_SH: &str = include_str!("pip.sh");
pub(super) const PIP_BESIDE_PY: &str = include_str!("pip_beside.py");
/// Name of the script in the build directory.
pub(super) const STEP: &str = "pip.sh";
/// Names of files in the build directory that the script itself describes.
const UNINSTALL: &str = "uninstall.txt";
const UNINSTALL_ONLY: &str = "uninstall-only";
/// Shell functions with which a build script asks its caller before pip downloads packages; the
/// script's own comments describe the protocol.
pub const ASK_SH: &str = include_str!("ask.sh");
const OLD_REPORT_PY: &str = include_str!("old_report.py");
const UNREQUESTED_PY: &str = include_str!("unrequested.py");
/// Options that select the sources of packages. A lock's packages are downloaded with them too.
const SOURCE_OPTIONS: [&str; 7] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "--no-index",
    "-f",
    "--find-links",
    "--trusted-host",
];

/// Characters that end the name in a line for pip.
const NAME_ENDS: [char; 11] = ['[', '<', '>', '=', '!', '~', ' ', '\t', ';', '@', '('];
/// Major and minor version of the oldest pip that can install beside an environment.
const OLDEST_BESIDE: (u64, u64) = (22, 2);

/// Packages for pip to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PipRequirements {
    /// Lines of a requirements file.
    Lines(Vec<String>),
    /// Packages of a lock, and lines that are options.
    Locked {
        packages: Vec<LockedPip>,
        options: Vec<String>,
    },
}

/// Installation of packages by pip, or by uv in its place.
#[derive(Debug)]
pub(crate) struct PipStep {
    pub(crate) requirements: PipRequirements,
    /// Paths on this machine that the lines for pip name.
    named_paths: Vec<PathBuf>,
    /// Whether editable requirements stay links to their directories.
    pub(super) keep_editable: bool,
    pub(super) uv: Option<Uv>,
    pub(crate) no_cache: bool,
    /// Packages of pip that are removed first.
    pub(super) removed: Vec<String>,
    /// Version of the C library that the programs will run on.
    pub(crate) glibc: Option<String>,
}

/// Purpose of a run of pip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Install,
    /// Installs without a container, so that the environment's own activation cannot run.
    InstallHere,
    /// Installs wheels, also those that it builds, below another directory, since the environment
    /// cannot be written.
    InstallBeside,
    Resolve,
    /// Removes packages, and does nothing else.
    Uninstall,
}

impl PipRequirements {
    pub(crate) fn new(lines: &[String], locked: Option<&[LockedPip]>) -> Self {
        let Some(packages) = locked else {
            return Self::Lines(lines.to_vec());
        };
        let is_source = |line: &&String| {
            let word = line.split(['=', ' ']).next().unwrap_or("");
            SOURCE_OPTIONS.contains(&word)
        };
        Self::Locked {
            packages: packages.to_vec(),
            options: lines.iter().filter(is_source).cloned().collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Lines(lines) => lines.is_empty(),
            Self::Locked { packages, .. } => packages.is_empty(),
        }
    }

    /// Returns the directories of editable requirements, which are not copied and which the
    /// environment needs as long as it is used.
    pub(crate) fn editable_dirs(&self) -> Vec<PathBuf> {
        match self {
            Self::Lines(lines) => lines
                .iter()
                .filter_map(|line| editable_path(line))
                .collect(),
            Self::Locked { packages, .. } => packages
                .iter()
                .filter_map(|package| match &package.source {
                    PipSource::Dir {
                        path,
                        editable: true,
                    } => Some(path.clone()),
                    _ => None,
                })
                .collect(),
        }
    }

    /// Returns the files and directories on this machine that a lock names. The paths in
    /// requirement lines are read with the environment file.
    pub(crate) fn locked_paths(&self) -> Vec<PathBuf> {
        let of_url = |url: &Url| url.to_file_path().ok();
        match self {
            Self::Lines(_) => Vec::new(),
            Self::Locked { packages, .. } => packages
                .iter()
                .filter_map(|package| match &package.source {
                    PipSource::Dir { path, .. } => Some(path.clone()),
                    PipSource::Archive { url, .. } => of_url(url),
                    PipSource::Git(url) => of_url(&Url::parse(url.strip_prefix("git+")?).ok()?),
                })
                .collect(),
        }
    }

    /// Returns the requirements that must be built or are links: all that are not wheels, as far as
    /// the line shows.
    pub(crate) fn not_wheels(&self) -> Vec<String> {
        let is_wheel = |url: &str| {
            let path = url.split(['#', '?']).next().unwrap_or(url);
            Path::new(path)
                .extension()
                .is_some_and(|extension| extension == "whl")
        };
        match self {
            Self::Lines(lines) => lines
                .iter()
                .filter(|line| {
                    if line.starts_with('-') {
                        return editable(line).is_some();
                    }
                    let requirement = line.split(" ;").next().unwrap_or(line);
                    let what = requirement
                        .split_once(" @ ")
                        .map_or(requirement, |(_, url)| url);
                    let word = what.split_whitespace().next().unwrap_or(what);
                    let is_place = word.contains("://") || word.starts_with(['/', '.']);
                    is_place && !is_wheel(word)
                })
                .cloned()
                .collect(),
            Self::Locked { packages, .. } => packages
                .iter()
                .filter(|package| match &package.source {
                    PipSource::Archive { url, .. } => !is_wheel(url.as_str()),
                    PipSource::Git(_) | PipSource::Dir { .. } => true,
                })
                .map(|package| package.name.clone())
                .collect(),
        }
    }

    /// Returns whether it is plain that pip replaces a conda package: only pip knows what it
    /// chooses for most lines.
    fn replaces_conda(&self, solution: &Solution) -> bool {
        let records = solution.records.iter().map(|record| &record.package_record);
        let of_conda: HashMap<String, &Version> = records
            .map(|package| {
                (
                    normalized(package.name.as_normalized()),
                    package.version.version(),
                )
            })
            .collect();
        let is_refused = |line: &String| {
            let end = line.find(NAME_ENDS).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            let exact = rest.trim_start().strip_prefix("==").map(str::trim_start);
            let exact = exact.and_then(|text| text.split([' ', ';', ',']).next()?.parse().ok());
            let other = |exact: Version| {
                of_conda
                    .get(&normalized(name))
                    .is_some_and(|found| **found != exact)
            };
            exact.is_some_and(other)
        };
        match self {
            Self::Lines(lines) => lines.iter().any(is_refused),
            Self::Locked { packages, .. } => packages
                .iter()
                .any(|package| of_conda.contains_key(&package.name)),
        }
    }

    fn files(&self, keep_editable: bool) -> Vec<(&'static str, Vec<String>)> {
        match self {
            Self::Lines(lines) if lines.is_empty() => Vec::new(),
            Self::Lines(lines) => {
                let lines = lines.iter().map(|line| installable(line, keep_editable));
                vec![("requirements.txt", lines.collect())]
            }
            Self::Locked { packages, options } => {
                let (mut archives, mut names, mut direct) =
                    (options.clone(), Vec::new(), options.clone());
                for package in packages {
                    let name = &package.name;
                    match &package.source {
                        PipSource::Archive { url, sha256 } => {
                            archives.push(format!("{name} @ {url} --hash=sha256:{sha256}"));
                            let version = package.version.as_deref().unwrap_or("*");
                            names.push(format!("{name}=={version}"));
                        }
                        PipSource::Git(url) => direct.push(format!("{name} @ {url}")),
                        PipSource::Dir { path, editable } => {
                            let url = Url::from_file_path(path)
                                .map_or_else(|()| path.display().to_string(), String::from);
                            direct.push(if *editable && keep_editable {
                                format!("-e {url}")
                            } else {
                                format!("{name} @ {url}")
                            });
                        }
                    }
                }
                let mut files = Vec::new();
                if !names.is_empty() {
                    files.push(("locked.txt", archives));
                    files.push(("locked-names.txt", names));
                }
                if direct.len() > options.len() {
                    files.push(("locked-direct.txt", direct));
                }
                let unrequested = packages.iter().filter(|package| !package.requested);
                let unrequested: Vec<_> = unrequested.map(|package| package.name.clone()).collect();
                if !unrequested.is_empty() {
                    files.push(("unrequested.txt", unrequested));
                }
                files
            }
        }
    }
}

impl PipStep {
    /// Returns the step that installs the packages of `locked` or else the requirements of `spec`.
    pub(crate) fn new(spec: &EnvironmentSpec, locked: Option<&[LockedPip]>) -> Self {
        Self {
            requirements: PipRequirements::new(spec.pip(), locked),
            named_paths: spec.local_paths().to_vec(),
            keep_editable: false,
            uv: None,
            no_cache: false,
            removed: Vec::new(),
            glibc: None,
        }
    }

    /// Returns whether pip has nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.requirements.is_empty() && self.removed.is_empty()
    }

    /// Returns whether pip can install everything while the environment cannot be written, as far
    /// as that is known before it runs: nothing is removed or replaced.
    pub(crate) fn may_run_beside(&self, solution: &Solution) -> bool {
        let mut packages = solution.records.iter().map(|record| &record.package_record);
        let pip = packages.find(|package| package.name.as_normalized() == "pip");
        let is_old = pip.and_then(|pip| pip.version.as_major_minor());
        self.removed.is_empty()
            && is_old.is_none_or(|version| version >= OLDEST_BESIDE)
            && !self.requirements.replaces_conda(solution)
    }

    /// Forgets everything that pip has installed.
    pub(super) fn clear(&mut self) {
        self.requirements = PipRequirements::Lines(Vec::new());
    }

    /// Returns the files and directories on this machine that the lines for pip name.
    pub(super) fn local_paths(&self) -> Vec<PathBuf> {
        [self.named_paths.clone(), self.requirements.locked_paths()].concat()
    }

    /// Writes all files that pip.sh reads into a directory of build steps, but for the root of
    /// [`Purpose::InstallBeside`]. The files that activate the environment are at `place`.
    pub(crate) fn write_inputs(
        &self,
        place: &Place,
        build_dir: &Within,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let write = |name: &str, text: &str| build_dir.write(name, text);
        for (name, lines) in self.requirements.files(self.keep_editable) {
            write(name, &(lines.join("\n") + "\n"))?;
        }
        if !self.removed.is_empty() {
            write(UNINSTALL, &(self.removed.join("\n") + "\n"))?;
        }
        match purpose {
            Purpose::Resolve => write("pip-dry-run", "")?,
            Purpose::Uninstall => write(UNINSTALL_ONLY, "")?,
            Purpose::InstallBeside => write("pip_beside.py", PIP_BESIDE_PY)?,
            Purpose::Install | Purpose::InstallHere => {}
        }
        if purpose == Purpose::InstallHere {
            write("surroundings.sh", SURROUNDINGS_SH)?;
        } else {
            write_surroundings(place, build_dir)?;
        }
        write("ask.sh", ASK_SH)?;
        write("old_report.py", OLD_REPORT_PY)?;
        write("unrequested.py", UNREQUESTED_PY)?;
        Ok(write(STEP, PIP_SH)?)
    }

    /// Writes the files that make pip.sh install with uv.
    pub(super) fn write_uv(&self, build_dir: &Within) -> Result<(), Error> {
        let Some(uv) = &self.uv else { return Ok(()) };
        build_dir.write("uv-wanted", "")?;
        uv.copy_to(build_dir)
    }
}

impl BuildSteps {
    /// Runs pip in the build container to remove the packages of [`Self::remove_pip_packages`], and
    /// does nothing else.
    ///
    /// # Errors
    /// Returns [`Error::Step`] if pip fails, [`Error::Container`] if the container cannot run,
    /// [`Error::Io`], or [`Error::Interrupted`].
    ///
    /// # Streams
    /// The output of pip goes to `progress`, line by line.
    pub fn uninstall(
        self,
        container: &dyn StepRunner,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let started = Instant::now();
        let place = &self.prefix.place;
        let build_dir = place.open_build_dir()?;
        self.pip
            .write_inputs(place, &build_dir, Purpose::Uninstall)?;
        progress.begin(Phase::Run, Some(1));
        self.run_steps(container, progress)?;
        progress.end(Phase::Run, started.elapsed());
        // The steps that follow have the same build directory.
        for name in [STEP, UNINSTALL, UNINSTALL_ONLY] {
            build_dir.remove(name)?;
        }
        Ok(())
    }
}

/// Returns the requirements of a file and its lock that pip would have to build or link to, which
/// is impossible without a container.
pub fn pip_to_build(spec: &EnvironmentSpec, locked: Option<&Solution>) -> Vec<String> {
    let locked = locked.and_then(|solution| solution.locked_pip.as_deref());
    let lines = PipRequirements::new(spec.pip(), locked).not_wheels();
    lines
        .iter()
        .map(|line| without_secrets(line).into_owned())
        .collect()
}

/// Returns the directories to which the environment links if the editable requirements of a file
/// and its lock are kept.
pub fn pip_links(spec: &EnvironmentSpec, locked: Option<&Solution>) -> Vec<PathBuf> {
    let locked = locked.and_then(|solution| solution.locked_pip.as_deref());
    PipRequirements::new(spec.pip(), locked).editable_dirs()
}

/// Returns the text after `-e`.
fn editable(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("--editable")
        .or_else(|| line.strip_prefix("-e"))?;
    let rest = rest.strip_prefix(['=', ' ', '\t']).unwrap_or(rest).trim();
    (!rest.is_empty()).then_some(rest)
}

/// Returns the directory of an editable requirement that is on this machine.
fn editable_path(line: &str) -> Option<PathBuf> {
    let what = editable(line)?;
    // Extras are in brackets at the end.
    let path = what.split(['[', ' ', '\t']).next().unwrap_or(what);
    if path.starts_with("file:") {
        return Url::parse(path).ok()?.to_file_path().ok();
    }
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// Returns the requirement without `-e`. An editable requirement is a link into the user's tree, or
/// into pip's own clone of a repository, which is removed with scratch. Its target is therefore
/// installed instead, unless the user wants to keep a link into the user's tree.
fn installable(line: &str, keep_editable: bool) -> String {
    match editable(line) {
        Some(what) if !(keep_editable && editable_path(line).is_some()) => what.to_owned(),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{PipRequirements, editable_path, installable};
    use std::path::Path;

    #[test]
    fn editable_lines_become_plain_ones_unless_they_are_kept() {
        for (line, kept, plain) in [
            ("rich", "rich", "rich"),
            ("-e /home/me/x", "-e /home/me/x", "/home/me/x"),
            ("-e/home/me/x", "-e/home/me/x", "/home/me/x"),
            (
                "--editable=/home/me/x[all]",
                "--editable=/home/me/x[all]",
                "/home/me/x[all]",
            ),
            (
                "-e file:///home/me/a%20b",
                "-e file:///home/me/a%20b",
                "file:///home/me/a%20b",
            ),
            // pip clones the repository into a directory that is removed with scratch.
            (
                "-e git+https://host/x#egg=x",
                "git+https://host/x#egg=x",
                "git+https://host/x#egg=x",
            ),
            (
                "--extra-index-url https://host",
                "--extra-index-url https://host",
                "--extra-index-url https://host",
            ),
        ] {
            assert_eq!(installable(line, true), kept);
            assert_eq!(installable(line, false), plain);
        }
        let path = |line| editable_path(line);
        assert_eq!(
            path("-e /home/me/x[a,b]").as_deref(),
            Some(Path::new("/home/me/x"))
        );
        assert_eq!(path("-e file:///a%20b").as_deref(), Some(Path::new("/a b")));
        assert_eq!(path("-e git+https://host/x"), None);
        assert_eq!(path("/home/me/x"), None);
    }

    #[test]
    fn lines_that_must_be_built_are_told_from_wheels() {
        for (line, built) in [
            ("rich >=1; python_version > '3'", false),
            ("--find-links /wheels", false),
            (
                "rich @ https://host/rich-1.0-py3-none-any.whl#sha256=00",
                false,
            ),
            ("/wheels/rich-1.0-py3-none-any.whl", false),
            ("rich @ https://host/rich-1.0.tar.gz", true),
            ("git+https://host/x@v1", true),
            ("-e /home/me/x", true),
            ("/home/me/x", true),
        ] {
            let pip = PipRequirements::new(&[line.to_owned()], None);
            assert_eq!(pip.not_wheels(), if built { vec![line] } else { vec![] });
        }
    }

    #[test]
    fn a_lock_takes_over_where_packages_come_from() {
        let lines: Vec<String> = [
            "rich",
            "--extra-index-url https://host",
            "-f /wheels",
            "--pre",
            "--find-links=/more",
        ]
        .map(str::to_owned)
        .to_vec();
        let PipRequirements::Locked { options, .. } = PipRequirements::new(&lines, Some(&[]))
        else {
            panic!("not locked");
        };
        assert_eq!(
            options,
            [
                "--extra-index-url https://host",
                "-f /wheels",
                "--find-links=/more"
            ]
        );
    }
}
