//! Responsible for the errors of reading, solving and installing an environment.

use std::path::{Path, PathBuf};

use condense_diagnostics::{Hint, Location};

use crate::spec::hint_about_key;

/// Package that no channel has, with what the channels have instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MissingPackage {
    /// Package as the user wrote it.
    pub written: String,
    /// Versions or builds of the package that exist; `None` if there is no package of this name.
    pub available: Option<String>,
    /// Name of a package that the user may have meant.
    pub similar: Option<String>,
}

/// Error of reading, solving or installing an environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// Operation that failed, as a verb: `read`, `create`.
        action: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// A symbolic link that a package or a script has put into a directory leads out of it.
    #[error(transparent)]
    LeadsOut(condense_within::Error),
    /// The environment file cannot be understood.
    #[error("{}: {message}", Location::new(file, *line, *column))]
    Spec {
        /// Path of the file as the user gave it.
        file: PathBuf,
        /// Line number, from 1; 0 for the whole file.
        line: usize,
        /// Column number, from 1; 0 for the whole line.
        column: usize,
        /// Description of the text that was found and the text that was expected.
        message: String,
    },
    /// A lock file cannot be understood or cannot be installed.
    #[error("{}: {message}", file.display())]
    Lock {
        /// Path of the file as the user gave it.
        file: PathBuf,
        /// Description of the text that was found and the text that was expected.
        message: String,
    },
    /// The package index of a channel could not be read.
    #[error("failed to read the package index of channel `{channel}`")]
    Channel {
        /// URL of the channel, or of all channels if it is not known which one failed, without
        /// credentials.
        channel: String,
        /// Cause of the error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No channel has a package of this name. The message begins with the word that
    /// users of conda search for.
    #[error(
        "PackagesNotFoundError: {}; looked in {}",
        not_found(packages, platform),
        list(channels)
    )]
    PackagesNotFound {
        /// Packages that are missing.
        packages: Vec<MissingPackage>,
        /// Platform for which the packages were looked for.
        platform: String,
        /// URLs of the channels that were searched.
        channels: Vec<String>,
    },
    /// The environment has no such package. The message begins with the words that
    /// users of conda search for.
    #[error(
        "PackagesNotFoundError: PackageNotInstalledError: the environment does not have {}",
        list(names)
    )]
    NotInstalled {
        /// Names of the packages as the user wrote them.
        names: Vec<String>,
        /// True if one of the packages exists, but was installed by pip.
        by_pip: bool,
    },
    /// A package cannot be removed from an environment.
    #[error("`{package}` cannot be removed: {reason}")]
    CannotRemove {
        /// Name of the package.
        package: String,
        /// Reason why the package cannot be removed.
        reason: String,
    },
    /// The packages exist, but they conflict with each other or do not fit the target.
    #[error("cannot solve the environment for {target}:\n{explanation}")]
    Unsolvable {
        /// Platform and virtual packages that the environment was solved for.
        target: String,
        /// Explanation of the solver, several lines.
        explanation: String,
    },
    /// A package could not be downloaded.
    #[error("failed to download `{url}`")]
    Download {
        /// URL of the archive without credentials.
        url: String,
        /// Cause of the error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Downloads are forbidden (`--offline`), and the cache lacks files.
    #[error("offline, and not in the cache:\n{}", missing.join("\n"))]
    Offline {
        /// URLs without credentials, and names of packages that the cached index has no part for.
        missing: Vec<String>,
    },
    /// A network setting cannot be used.
    #[error("{what}: {problem}")]
    NetworkSetting {
        /// Name of the environment variable or path of the file that has the setting.
        what: String,
        /// Description of the mistake in the setting.
        problem: String,
    },
    /// The archive of a package differs from the description in the channel's index or in the
    /// user's file.
    #[error("`{package}` from `{url}` is damaged: {problem}")]
    Damaged {
        /// File name of the archive.
        package: String,
        /// URL of the archive without credentials.
        url: String,
        /// Description of the difference: size, sha256, md5 or structure.
        problem: String,
    },
    /// A package contains a path that packages must not contain: a path that leads out of the
    /// package, a device, or a file that the package does not have.
    #[error("refused to install `{package}`: `{path}` {problem}")]
    Refused {
        /// File name of the archive.
        package: String,
        /// Path as the package has it, without control characters.
        path: String,
        /// Description of the problem with the path.
        problem: String,
    },
    /// Two packages cannot be installed into one environment.
    #[error("`{path}` is {what} in {of} and a directory in {directory_of}{}", why.as_ref().map(|why| format!(", {why}")).unwrap_or_default())]
    Collision {
        /// Path in the environment.
        path: String,
        /// Kind of file that one package has at the path: a file, or a link and its target.
        what: String,
        /// File name of the archive that has the file or link; or the environment.
        of: String,
        /// File name of the archive that has a directory there, or the environment.
        directory_of: String,
        /// Further reason why the packages cannot be combined, if there is one.
        why: Option<String>,
    },
    /// A package could not be installed into the prefix.
    #[error("failed to install `{package}`")]
    Install {
        /// File name of the archive.
        package: String,
        /// Cause of the error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The environment's path inside the container is too long. conda packages have a placeholder
    /// of 255 bytes for it.
    #[error("the environment's path `{}` has {length} bytes, conda packages have room for 255", path.display())]
    MountPointTooLong {
        /// Path of the environment inside the container.
        path: PathBuf,
        /// Length of the path in bytes.
        length: usize,
    },
    /// A package or script can be installed only in a container, and there is no container runtime.
    #[error("{what} must be installed in a container, and there is no container runtime")]
    NeedsContainer {
        /// Description of the package or script.
        what: String,
    },
    /// A Python interpreter cannot be used for a virtual environment.
    #[error("`{program}` cannot carry an environment: {problem}")]
    Interpreter {
        /// Path or name of the interpreter as the user gave it or as it was found.
        program: PathBuf,
        /// Reason why the interpreter cannot be used.
        problem: String,
    },
    /// A step inside the build container failed.
    #[error("{}", failed_step(step, *status, reason.as_deref(), output, log.as_deref()))]
    Step {
        /// Name of the step in words that the user knows.
        step: String,
        /// Exit status; 128 + n if signal n ended the step.
        status: i32,
        /// Reason in one sentence, if the step's output shows it.
        reason: Option<Box<str>>,
        /// Lines that the reason does not repeat, or the last lines of the step's output.
        output: String,
        /// File with the whole output.
        log: Option<Box<Path>>,
        /// Hint for the user, if the step's output points to a known problem.
        hint: Option<String>,
    },
    /// The changes that the environment's activation makes could not be captured.
    #[error(transparent)]
    Activation(#[from] condense_activation::Error),
    /// The build container could not run the steps, or stopped them.
    #[error("the build steps did not finish")]
    Container(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The operating system could not create a thread.
    #[error(transparent)]
    Thread(#[from] condense_threads::Error),
    /// The user or the system requested cancellation.
    #[error("interrupted")]
    Interrupted,
}

fn failed_step(
    step: &str,
    status: i32,
    reason: Option<&str>,
    output: &str,
    log: Option<&Path>,
) -> String {
    let mut text = match reason {
        Some(reason) => format!("{step} failed: {reason}"),
        None => format!("{step} failed with exit status {status}"),
    };
    if !output.is_empty() {
        text.push_str(&format!("\n{output}"));
    }
    if let Some(log) = log {
        text.push_str(&format!("\nall of its output is in `{}`", log.display()));
    }
    text
}

fn not_found(packages: &[MissingPackage], platform: &str) -> String {
    let names: Vec<String> = packages.iter().map(|one| one.written.clone()).collect();
    let available = packages.iter().filter_map(|one| one.available.as_deref());
    let available: Vec<&str> = available.collect();
    let names = list(&names);
    if available.is_empty() {
        return format!("no channel has {names}");
    }
    let available = available.join(", ");
    format!("no channel has {names}, for {platform} they have {available}")
}

/// Returns the hint about packages that no channel has.
fn hint_about_missing(packages: &[MissingPackage]) -> String {
    let similar = packages.iter().filter_map(|one| one.similar.as_ref());
    let similar: Vec<String> = similar.cloned().collect();
    if !similar.is_empty() {
        return format!("did you mean {}?", list(&similar));
    }
    if packages.iter().all(|one| one.available.is_some()) {
        return "ask for a version that exists, or add a channel that has this one".to_owned();
    }
    "check the spelling, or add the channel that has it; packages of PyPI belong under `pip:`"
        .to_owned()
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// Returns true if the message of the error or of any of its causes contains this word.
fn says(error: &(dyn std::error::Error + 'static), word: &str) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains(word) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// End of the message about a path that does not exist on this machine. The hint for the error is
/// found by this text.
pub(crate) const ABSENT: &str = "is not on this machine";

/// Finds a hint for a mistake in a file.
fn of_file(message: &str) -> Option<String> {
    let hints = [
        (
            ABSENT,
            "`pip freeze` names where packages were built; `pip list --format=freeze` names their versions instead",
        ),
        (
            "this is a lock file",
            "give it with `--lock FILE` to the command that builds",
        ),
        (
            "this is TOML",
            "`uv export --format requirements-txt` and `poetry export` write requirements; a pixi.lock is taken with `--lock`",
        ),
        (
            "not UTF-8 text",
            "`iconv -f LATIN1 -t UTF-8 FILE` converts; a requirements file may say `# -*- coding: latin-1 -*-` in its first line",
        ),
    ];
    let found = hints.iter().find(|(words, _)| message.contains(words));
    found.map(|(_, hint)| (*hint).to_owned())
}

impl Error {
    /// Returns a function that wraps an I/O error with the operation that failed and its path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Channel { source, .. } | Self::Download { source, .. } if says(source.as_ref(), "certificate") => Some(
                "name the file of your site's certificate authority with SSL_CERT_FILE or REQUESTS_CA_BUNDLE".to_owned(),
            ),
            Self::Channel { source, .. } | Self::Download { source, .. }
                if ["(401", "(403", "(407"].iter().any(|status| says(source.as_ref(), status)) =>
            {
                Some(
                    "the server wants credentials: netrc, RATTLER_AUTH_FILE, or a token in the channel's URL".to_owned(),
                )
            }
            Self::Channel { .. } => Some("check the channel's name, the network and the proxy settings".to_owned()),
            Self::PackagesNotFound { packages, .. } => Some(hint_about_missing(packages)),
            Self::NotInstalled { by_pip: true, .. } => Some("what pip has installed goes with `pip uninstall NAME`".to_owned()),
            Self::NotInstalled { .. } => Some("see `conda list`; `conda install NAME` adds one".to_owned()),
            Self::CannotRemove { .. } => Some("ask for another Python, or for none, in the environment file".to_owned()),
            Self::Unsolvable { .. } => Some("loosen a version, or check what the base image offers (`__glibc` above)".to_owned()),
            Self::Offline { .. } => Some("run it once without `--offline`, or take the cache of a build that had it".to_owned()),
            Self::Damaged { .. } => Some("run the command again; if it stays, the channel's index and its packages disagree".to_owned()),
            Self::Refused { .. } => Some(
                "no tool of conda's makes such an archive: nothing of it was installed, and its channel should know of it".to_owned(),
            ),
            Self::Collision { .. } => Some("leave one of the two out, or ask for another version of it".to_owned()),
            Self::LeadsOut(error) => error.hint(),
            Self::MountPointTooLong { .. } => Some("choose a shorter `installation_path`".to_owned()),
            Self::NeedsContainer { .. } => Some(
                "load the module of apptainer or singularity, or ask for packages that have wheels".to_owned(),
            ),
            Self::Interpreter { .. } => Some(
                "load the module of a Python, or name one with `--interpreter PROGRAM`; `--uv` and `--slim` bring their own"
                    .to_owned(),
            ),
            Self::Spec { message, .. } => of_file(message).or_else(|| hint_about_key(message)),
            Self::Step { hint, .. } => hint.clone(),
            Self::Activation(error) => error.hint(),
            Self::Thread(error) => error.hint(),
            _ => None,
        }
    }

    fn location(&self) -> Option<Location> {
        match self {
            Self::Spec {
                file, line, column, ..
            } => Some(Location::new(file, *line, *column)),
            Self::Lock { file, .. } => Some(Location::new(file, 0, 0)),
            _ => None,
        }
    }
}

impl From<condense_within::Error> for Error {
    fn from(error: condense_within::Error) -> Self {
        match error {
            condense_within::Error::Io {
                action,
                path,
                source,
            } => Self::Io {
                action,
                path,
                source,
            },
            error @ condense_within::Error::LeadsOut { .. } => Self::LeadsOut(error),
        }
    }
}
