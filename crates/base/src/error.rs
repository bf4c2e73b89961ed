//! Responsible for everything that can go wrong here, and for the way out of it.

use std::io;
use std::path::{Path, PathBuf};

use crate::reference;

/// Why a base cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The reference is neither to a file on this machine nor to an image that can be fetched here.
    #[error(
        "cannot use `{reference}` as it is: it is no file or directory, and no image that is fetched here"
    )]
    Remote {
        /// What was given.
        reference: String,
    },
    /// There is nothing at the path.
    #[error("the base `{}` does not exist", path.display())]
    Missing {
        /// What was given.
        path: PathBuf,
        /// Where it leads, when it is a link.
        target: Option<PathBuf>,
    },
    /// A file is of another format.
    #[error("the base `{}` is {found}, not a SIF, a SquashFS image or a directory", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// A directory or an image holds something else than a system.
    #[error("the base `{}` holds no root file system: it has neither `usr` nor `bin/sh`", path.display())]
    NotRootFileSystem {
        /// The directory or image.
        path: PathBuf,
    },
    /// The base's programs do not run on this machine.
    #[error("the base `{}` is for {found}, but this machine is {host}", path.display())]
    WrongArchitecture {
        /// The base.
        path: PathBuf,
        /// What it is for.
        found: String,
        /// What this machine is.
        host: String,
    },
    /// The operating system refused something.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `open`.
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A reference says what it is, but not well.
    #[error("`{reference}` is not an image's name: {problem}")]
    InvalidReference {
        /// What was given, without a password.
        reference: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of settings: credentials, certificates.
    #[error("cannot use `{}`: {problem}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; nothing of what is in it.
        problem: String,
    },
    /// A credential helper does not help.
    #[error("failed to ask `{program}` for credentials: {problem}")]
    Helper {
        /// Its name.
        program: String,
        /// What happened.
        problem: String,
    },
    /// A registry gives no answer.
    #[error("failed to {action} the registry {host}")]
    Unreachable {
        /// `reach`.
        action: &'static str,
        /// Its host.
        host: String,
        /// What the HTTP client says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A registry answers, but not with what was asked for.
    #[error("the registry {host} cannot be used: {problem}")]
    Registry {
        /// Its host.
        host: String,
        /// What is wrong.
        problem: String,
    },
    /// A registry lets nobody in, or not this user.
    #[error("the registry {host} does not give out `{name}`: {reason}")]
    Denied {
        /// The image.
        name: String,
        /// The registry's host, as credentials are filed under it.
        host: String,
        /// In its own words, if it has any.
        reason: String,
    },
    /// A registry has nothing of this name.
    #[error("there is no image `{name}`: {reason}")]
    NoSuchImage {
        /// The image.
        name: String,
        /// In the registry's words.
        reason: String,
    },
    /// An image for other machines.
    #[error("`{image}` is not there for {wanted}, but for {available}")]
    NoPlatform {
        /// The reference.
        image: String,
        /// The platform that was looked for.
        wanted: String,
        /// Those that there are.
        available: String,
    },
    /// A file holds several images, or not the one that was named.
    #[error("{}", render_choice(path, wanted.as_deref(), known))]
    Choice {
        /// The file or directory.
        path: PathBuf,
        /// What was named.
        wanted: Option<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// An image that is damaged, or of a kind that cannot be used.
    #[error("`{image}` cannot be used: {problem}")]
    InvalidImage {
        /// The reference or the file.
        image: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A layer of an image that is damaged, or of a kind that cannot be used.
    #[error("`{image}` cannot be used: its layer {layer} is not as it should be")]
    Layer {
        /// The reference.
        image: String,
        /// The layer's digest.
        layer: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// The image is truncated, damaged, encrypted, or of a kind that cannot be read.
    #[error(transparent)]
    Image(#[from] condense_image::Error),
    /// The operating system refused to start a thread.
    #[error(transparent)]
    Thread(#[from] condense_threads::Error),
}

/// What is usually behind a connection that fails.
fn render_network_hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut causes = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let says = |words: &str| causes.iter().any(|cause| cause.contains(words));
    if says("InvalidContentType") || says("corrupt message") {
        Some("it speaks plain HTTP: `--no-https` or APPTAINER_NOHTTPS=1 allows that".to_owned())
    } else if says("certificate") {
        Some(
            "name its authority's certificate in SSL_CERT_FILE, or put it into /etc/docker/certs.d/HOST/ca.crt"
                .to_owned(),
        )
    } else {
        None
    }
}

fn render_choice(path: &Path, wanted: Option<&str>, known: &[String]) -> String {
    let path = path.display();
    let known = match known {
        [] => "it names none".to_owned(),
        known => format!("there are `{}`", known.join("`, `")),
    };
    match wanted {
        Some(wanted) => format!("there is no image `{wanted}` in `{path}`: {known}"),
        None => format!("`{path}` holds no image or several, and none was named: {known}"),
    }
}

impl From<condense_publish::Error> for Error {
    fn from(error: condense_publish::Error) -> Error {
        let (action, path, source) = error.into_parts();
        Error::Io {
            action,
            path,
            source,
        }
    }
}

impl Error {
    /// Turns an I/O error into one that says what was tried, and on which file.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// The way out, in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Remote { reference } => Some(reference::render_hint(reference)),
            Error::Missing {
                target: Some(target),
                ..
            } => Some(format!(
                "it is a link to `{}`, which is not there",
                target.display()
            )),
            Error::Missing { target: None, .. } | Error::NotAnImage { .. } => Some(
                "name a .sif file, as `condense pull` or `apptainer build` makes it, or a sandbox directory"
                    .to_owned(),
            ),
            Error::NotRootFileSystem { .. } => Some(
                "the base is the system that the environment runs in; name its .sif or its sandbox directory"
                    .to_owned(),
            ),
            Error::WrongArchitecture { found, host, .. } => Some(format!(
                "name a base for {host}, or run this on a {found} machine"
            )),
            Error::Unreachable { source, .. } => render_network_hint(source.as_ref()),
            Error::Denied { host, .. } => Some(format!(
                "log in with `docker login {host}` or `apptainer registry login docker://{host}`, or set APPTAINER_DOCKER_USERNAME and APPTAINER_DOCKER_PASSWORD; where there is no such image some registries say the same"
            )),
            Error::Cancelled
            | Error::InvalidReference { .. }
            | Error::Setting { .. }
            | Error::Helper { .. }
            | Error::Registry { .. }
            | Error::NoSuchImage { .. }
            | Error::InvalidImage { .. }
            | Error::Layer { .. } => None,
            Error::NoPlatform { .. } => {
                Some("name one of them with `condense pull --arch ARCH`".to_owned())
            }
            Error::Choice { .. } => {
                Some("put `:NAME` or `:@sha256:…` behind the path".to_owned())
            }
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                    "name a place with more room: `--tmpdir` for scratch, CONDENSE_CACHE_DIR for the cache"
                        .to_owned(),
                ),
                io::ErrorKind::PermissionDenied => {
                    Some("ask its owner to let you read it, or copy it".to_owned())
                }
                _ => None,
            },
            Error::Image(error) => error.hint(),
            Error::Thread(error) => Some(error.hint()),
        }
    }
}
