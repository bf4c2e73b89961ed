//! Responsible for the errors of this crate and the hints for their remedy.

use std::io;
use std::path::{Path, PathBuf};

use condense_diagnostics::Hint;

use crate::reference;

/// Error of finding, fetching or converting an OCI image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The reference names neither a file on this machine nor an image that this program can fetch.
    #[error(
        "cannot use `{reference}` as it is: it is no file or directory, and no image that is fetched here"
    )]
    Remote {
        /// Reference as it was given.
        reference: String,
    },
    /// The operating system refused an operation.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// Operation that failed, as a verb: `read`, `open`.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The reference has a known scheme, but what follows is malformed.
    #[error("`{reference}` is not an image's name: {problem}")]
    InvalidReference {
        /// Reference as it was given, without a password.
        reference: String,
        /// Description of the problem.
        problem: String,
    },
    /// A file with credentials or certificates cannot be used.
    #[error("cannot use `{}`: {problem}", path.display())]
    Setting {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem, without any contents of the file.
        problem: String,
    },
    /// A credential helper failed.
    #[error("failed to ask `{program}` for credentials: {problem}")]
    Helper {
        /// Name of the helper program.
        program: String,
        /// Description of the problem.
        problem: String,
    },
    /// The registry does not answer.
    #[error("failed to {action} the registry {host}")]
    Unreachable {
        /// Operation that failed, as a verb: `reach` or `prepare to ask`.
        action: &'static str,
        /// Host of the registry.
        host: String,
        /// Error of the HTTP client.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry answers, but the answer is an error or cannot be used.
    #[error("the registry {host} cannot be used: {problem}")]
    Registry {
        /// Host of the registry.
        host: String,
        /// Description of the problem.
        problem: String,
    },
    /// The registry refuses access to the image.
    #[error("the registry {host} does not give out `{name}`: {reason}")]
    Denied {
        /// Name of the image.
        name: String,
        /// Host of the registry, under which credentials are filed.
        host: String,
        /// Reason for the refusal, with the registry's own message if there is one.
        reason: String,
    },
    /// The registry has no image of this name.
    #[error("there is no image `{name}`: {reason}")]
    NoSuchImage {
        /// Name of the image.
        name: String,
        /// Message of the registry.
        reason: String,
    },
    /// The image does not exist for the wanted platform.
    #[error("`{image}` is not there for {wanted}, but for {available}")]
    NoPlatform {
        /// Reference of the image.
        image: String,
        /// Platform that was wanted.
        wanted: String,
        /// Platforms for which the image exists.
        available: String,
    },
    /// The file holds several images and none was named, or it does not hold the named image.
    #[error("{}", render_choice(path, wanted.as_deref(), known))]
    Choice {
        /// Path of the file or directory.
        path: PathBuf,
        /// Name of the image that was wanted, if one was given.
        wanted: Option<String>,
        /// Names of the images in the file.
        known: Vec<String>,
    },
    /// The image is damaged, or of a kind that cannot be used.
    #[error("`{image}` cannot be used: {problem}")]
    InvalidImage {
        /// Reference of the image, or path of the file.
        image: String,
        /// Description of the problem.
        problem: String,
    },
    /// A layer of the image is damaged, or of a kind that cannot be used.
    #[error("`{image}` cannot be used: its layer {layer} is not as it should be")]
    Layer {
        /// Reference of the image.
        image: String,
        /// Digest of the layer.
        layer: String,
        /// Reason why the layer cannot be used.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user cancelled the operation.
    #[error("interrupted")]
    Cancelled,
    /// The image is truncated, damaged, encrypted, or of a kind that cannot be read.
    #[error(transparent)]
    Image(#[from] condense_image::Error),
    /// The operating system refused to start a thread.
    #[error(transparent)]
    Thread(#[from] condense_threads::Error),
}

/// Returns the most likely cause of a failed connection, with its remedy.
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
    /// Returns a function that adds an operation and a path to an I/O error.
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
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Error::Remote { reference } => Some(reference::render_hint(reference)),
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
            Error::Thread(error) => error.hint(),
        }
    }
}
