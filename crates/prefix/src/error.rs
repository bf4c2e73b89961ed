//! Responsible for saying why an environment could not be made.

use std::path::PathBuf;

/// Why an environment could not be read, solved or installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused something.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `create`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A link that a package or a script has put into a directory leads out of it, to the files of
    /// this machine.
    #[error("`{}` is not used: a link on the way there leads out of `{}`", path.display(), root.display())]
    LeadsOut {
        /// The path that was to be read or written.
        path: PathBuf,
        /// The directory that links must not lead out of.
        root: PathBuf,
    },
    /// The environment file says something that cannot be understood.
    #[error("{}{}: {message}", file.display(), position(*line, *column))]
    Spec {
        /// The file as the user named it.
        file: PathBuf,
        /// Line, from 1; 0 when the whole file is meant.
        line: usize,
        /// Column, from 1; 0 when the whole line is meant.
        column: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// A lock says something that cannot be understood or followed.
    #[error("{}: {message}", file.display())]
    Lock {
        /// The file as the user named it.
        file: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A channel's index could not be had.
    #[error("failed to read the package index of channel `{channel}`")]
    Channel {
        /// The channel as the user wrote it, without credentials.
        channel: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No channel has a package of this name. The literal word is what users of conda look for.
    #[error(
        "PackagesNotFoundError: no channel has {}; looked in {}",
        list(names),
        list(channels)
    )]
    PackagesNotFound {
        /// The names asked for.
        names: Vec<String>,
        /// Where they were looked for.
        channels: Vec<String>,
    },
    /// The environment has no such package. The literal words are those that users of conda search
    /// for.
    #[error(
        "PackagesNotFoundError: PackageNotInstalledError: the environment does not have {}",
        list(names)
    )]
    NotInstalled {
        /// The names of the packages as the user gave them.
        names: Vec<String>,
        /// Is true when one of the packages is there, but was installed by pip.
        by_pip: bool,
    },
    /// A package cannot be taken out of an environment.
    #[error("`{package}` cannot be removed: {reason}")]
    Stays {
        /// The name of the package.
        package: String,
        /// The reason why it cannot be removed.
        reason: String,
    },
    /// The packages exist but not together, or not for this target.
    #[error("cannot solve the environment for {target}:\n{explanation}")]
    Unsolvable {
        /// What it was solved for: platform and virtual packages.
        target: String,
        /// The solver's own explanation, several lines.
        explanation: String,
    },
    /// A package could not be downloaded.
    #[error("failed to download `{url}`")]
    Download {
        /// Without credentials.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing may be fetched, and the cache does not have it all.
    #[error("offline, and not in the cache:\n{}", missing.join("\n"))]
    Offline {
        /// URLs without credentials, and names of packages whose part of an index is missing.
        missing: Vec<String>,
    },
    /// Something that was set about the network cannot be used.
    #[error("{what}: {problem}")]
    NetworkSetting {
        /// The variable or the file.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A package's archive is not the one its channel promised.
    #[error("`{package}` from `{url}` is damaged: {problem}")]
    Damaged {
        /// File name of the archive.
        package: String,
        /// Without credentials.
        url: String,
        /// Which promise is broken: size, sha256, md5 or structure.
        problem: String,
    },
    /// A package names something that packages may not name: a path that leads out of it, a device,
    /// or a file that it does not hold.
    #[error("refused to install `{package}`: `{path}` {problem}")]
    Refused {
        /// File name of the archive.
        package: String,
        /// The path as the package names it, without control characters.
        path: String,
        /// A description of the problem with the path.
        problem: String,
    },
    /// Two packages do not fit into one environment.
    #[error("`{path}` is {what} in {of} and a directory in {directory_of}{}", why.as_ref().map(|why| format!(", {why}")).unwrap_or_default())]
    Collision {
        /// Path in the environment.
        path: String,
        /// The kind of thing that one of them has at the path: a file, or a link and its target.
        what: String,
        /// File name of the archive that has the file or link; or the environment.
        of: String,
        /// File name of the archive that has a directory there, or the environment.
        directory_of: String,
        /// A further reason why the packages do not fit together, if there is one.
        why: Option<String>,
    },
    /// A package could not be put into the prefix.
    #[error("failed to install `{package}`")]
    Install {
        /// File name of the archive.
        package: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The environment's path inside the container is longer than what packages have room for.
    #[error("the environment's path `{}` has {length} bytes, conda packages have room for 255", path.display())]
    MountPointTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// There is no container, and this machine alone cannot do it.
    #[error("{what} must be installed in a container, and there is no container runtime")]
    NeedsContainer {
        /// What it is.
        what: String,
    },
    /// An interpreter that no virtual environment can be made on.
    #[error("`{program}` cannot carry an environment: {problem}")]
    Interpreter {
        /// As it was named or found.
        program: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A step inside the build container failed.
    #[error("{step} failed with exit status {status}\n{output}")]
    Step {
        /// What was run, in the user's words.
        step: String,
        /// Exit status; 128 + n for signal n.
        status: i32,
        /// The last lines of what it printed.
        output: String,
        /// The way out, where what it printed tells.
        hint: Option<String>,
    },
    /// What the environment's activation does could not be found out.
    #[error(transparent)]
    Activation(#[from] crate::activation::Error),
    /// What runs the steps could not run them, or has stopped them.
    #[error("the build steps did not finish")]
    Container(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system provides no thread for the work.
    #[error(transparent)]
    Thread(#[from] condense_threads::Error),
    /// The user, or the system, asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn position(line: usize, column: usize) -> String {
    match (line, column) {
        (0, _) => String::new(),
        (line, 0) => format!(":{line}"),
        (line, column) => format!(":{line}:{column}"),
    }
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// Whether any cause has this word.
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

/// Finds a hint for a mistake in a file.
fn of_file(message: &str) -> Option<String> {
    let hints = [
        (
            crate::spec::ABSENT,
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
    /// Wraps an I/O error with what was tried and where.
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

    /// The way out, in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
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
            Self::PackagesNotFound { .. } => Some(
                "check the spelling, or add the channel that has it; packages of PyPI belong under `pip:`".to_owned(),
            ),
            Self::NotInstalled { by_pip: true, .. } => Some("what pip has installed goes with `pip uninstall NAME`".to_owned()),
            Self::NotInstalled { .. } => Some("see `conda list`; `conda install NAME` adds one".to_owned()),
            Self::Stays { .. } => Some("ask for another Python, or for none, in the environment file".to_owned()),
            Self::Unsolvable { .. } => Some("loosen a version, or check what the base image offers (`__glibc` above)".to_owned()),
            Self::Offline { .. } => Some("run it once without `--offline`, or take the cache of a build that had it".to_owned()),
            Self::Damaged { .. } => Some("run the command again; if it stays, the channel's index and its packages disagree".to_owned()),
            Self::Refused { .. } => Some(
                "no tool of conda's makes such an archive: nothing of it was installed, and its channel should know of it".to_owned(),
            ),
            Self::Collision { .. } => Some("leave one of the two out, or ask for another version of it".to_owned()),
            Self::LeadsOut { .. } => Some(
                "leave out the package, or the script, that has put the link there".to_owned(),
            ),
            Self::MountPointTooLong { .. } => Some("choose a shorter `installation_path`".to_owned()),
            Self::NeedsContainer { .. } => Some(
                "load the module of apptainer or singularity, or ask for packages that have wheels".to_owned(),
            ),
            Self::Interpreter { .. } => Some(
                "load the module of a Python, or name one with `--interpreter PROGRAM`; `--uv` and `--slim` bring their own"
                    .to_owned(),
            ),
            Self::Spec { message, .. } => of_file(message),
            Self::Step { hint, .. } => hint.clone(),
            Self::Activation(error) => error.hint(),
            Self::Thread(error) => Some(error.hint()),
            _ => None,
        }
    }
}
