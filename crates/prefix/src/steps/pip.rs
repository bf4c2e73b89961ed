//! Responsible for the inputs of pip in the build container: requirements or a lock's packages,
//! certificates and the environment's activation.

use std::path::{Path, PathBuf};

use url::Url;

use super::quoted;
use crate::{
    error::Error,
    lock::{LockedPip, PipSource},
    secrets::without_secrets,
    solve::Solution,
    spec::EnvironmentSpec,
    target::Place,
};
use condense_activation::{Activation, ActivationStep};
use condense_within::Within;

pub(super) const PIP_SH: &str = include_str!("pip.sh");
/// Shell functions with which a build script asks its caller before pip downloads packages; the
/// script's own comments describe the protocol.
pub const ASK_SH: &str = include_str!("ask.sh");
const OLD_REPORT_PY: &str = include_str!("old_report.py");
const SURROUNDINGS_SH: &str = include_str!("surroundings.sh");
const CERTIFICATE_VARIABLES: [&str; 4] = [
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];
/// System-wide configuration file of pip on a host.
const HOST_CONFIGURATION: &str = "/etc/pip.conf";
/// Options that select the sources of packages. A lock's packages are downloaded with them too.
pub(crate) const SOURCE_OPTIONS: [&str; 7] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "--no-index",
    "-f",
    "--find-links",
    "--trusted-host",
];

/// Packages for pip to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pip {
    /// Lines of a requirements file.
    Lines(Vec<String>),
    /// Packages of a lock, and lines that are options.
    Locked {
        packages: Vec<LockedPip>,
        options: Vec<String>,
    },
}

/// Purpose of a run of pip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Install,
    /// Installs without a container, so that the environment's own activation cannot run.
    InstallHere,
    Resolve,
}

impl Pip {
    pub(crate) fn of(lines: &[String], locked: Option<&[LockedPip]>) -> Self {
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

    /// Writes all files that pip.sh reads.
    pub(super) fn write_inputs(
        &self,
        place: &Place,
        purpose: Purpose,
        keep_editable: bool,
    ) -> Result<(), Error> {
        let build_dir = place.open_build_dir()?;
        let write = |name: &str, text: &str| build_dir.write(name, text);
        for (name, lines) in self.files(keep_editable) {
            write(name, &(lines.join("\n") + "\n"))?;
        }
        if purpose == Purpose::Resolve {
            write("pip-dry-run", "")?;
        }
        if purpose == Purpose::InstallHere {
            write("surroundings.sh", SURROUNDINGS_SH)?;
        } else {
            write_surroundings(place)?;
        }
        write("ask.sh", ASK_SH)?;
        write("old_report.py", OLD_REPORT_PY)?;
        Ok(write("pip.sh", PIP_SH)?)
    }

    fn files(&self, keep_editable: bool) -> Vec<(&'static str, Vec<String>)> {
        match self {
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
                files
            }
        }
    }
}

/// Returns the requirements of a file and its lock that pip would have to build or link to, which
/// is impossible without a container.
pub fn pip_to_build(spec: &EnvironmentSpec, locked: Option<&Solution>) -> Vec<String> {
    let locked = locked.and_then(|solution| solution.locked_pip.as_deref());
    let lines = Pip::of(spec.pip(), locked).not_wheels();
    lines
        .iter()
        .map(|line| without_secrets(line).into_owned())
        .collect()
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

/// Writes the files that surroundings.sh reads: the environment's activation, certificates,
/// configuration.
pub(crate) fn write_surroundings(place: &Place) -> Result<(), Error> {
    let build_dir = place.open_build_dir()?;
    let write = |name: &str, text: &str| build_dir.write(name, text);
    if let Some(text) = activate(place)? {
        write("pip-activate", &text)?;
    }
    bring_certificates(&build_dir)?;
    bring_configuration(&build_dir)?;
    Ok(write("surroundings.sh", SURROUNDINGS_SH)?)
}

/// Returns shell code that sets the variables from the environment's own files.
pub(super) fn activate_variables(place: &Place) -> Result<String, Error> {
    let steps = Activation::of_variables(&place.scratch_env())?.steps;
    let lines = steps.into_iter().filter_map(|step| match step {
        ActivationStep::Set { name, value } => Some(format!("export {name}={}\n", quoted(&value))),
        _ => None,
    });
    Ok(lines.collect())
}

/// Returns shell code that activates the environment, or `None` if there is nothing to activate.
fn activate(place: &Place) -> Result<Option<String>, Error> {
    if !place.open_root()?.is_dir(&place.environment) {
        // The environment is missing only before a virtual environment is made.
        return Ok(None);
    }
    let env_dir = place.open_env()?;
    let mut text = activate_variables(place)?;
    let scripts = env_dir.names("etc/conda/activate.d")?.into_iter();
    for name in scripts.filter(|name| Path::new(name).extension().is_some_and(|end| end == "sh")) {
        let inside = place.mounted_env().join("etc/conda/activate.d").join(name);
        text.push_str(&format!(". {}\n", quoted(&inside.to_string_lossy())));
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Copies the host's certificates. They are in the host's /etc, which the container may not show.
fn bring_certificates(build_dir: &Within) -> Result<(), Error> {
    build_dir.make_dir("certificates")?;
    for name in CERTIFICATE_VARIABLES {
        if let Some(file) = std::env::var_os(name).map(PathBuf::from)
            && file.is_file()
        {
            let bytes = condense_input::read(&file, condense_input::TEXT_MOST)
                .map_err(Error::io("read", &file))?;
            build_dir.write(Path::new("certificates").join(name), bytes)?;
        }
    }
    Ok(())
}

/// Copies the host's configuration of pip, in which administrators set indices. It may contain
/// their credentials: other users cannot read scratch, and the directory is not part of the image.
fn bring_configuration(build_dir: &Within) -> Result<(), Error> {
    let Ok(text) = condense_input::read_to_string(HOST_CONFIGURATION, condense_input::TEXT_MOST)
    else {
        // The file does not exist, or this user may not read it.
        return Ok(());
    };
    // Certificates are passed by environment variables; the paths of the host are invalid in the
    // container.
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.split('=').next().unwrap_or("").trim() != "cert")
        .collect();
    build_dir.make_dir("config/pip")?;
    Ok(build_dir.write("config/pip/pip.conf", lines.join("\n") + "\n")?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Pip, editable_path, installable};
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
            let pip = Pip::of(&[line.to_owned()], None);
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
        let Pip::Locked { options, .. } = Pip::of(&lines, Some(&[])) else {
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
