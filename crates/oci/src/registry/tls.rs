//! Responsible for trusted certificates: the system's authorities, and those of a site for its own
//! registry.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::Error;

/// Directories like `/etc/docker/certs.d`. The files `HOST:PORT/*.crt` in them are authorities for
/// that registry, and `X.cert` with `X.key` is a client certificate. The system's authorities, or
/// those in `SSL_CERT_FILE` instead, are trusted as well.
#[derive(Debug, Clone, Default)]
pub struct TrustDirs(pub Vec<PathBuf>);

impl TrustDirs {
    /// Adds the certificates for a registry to an HTTP client. As with docker, the directories need
    /// not exist.
    pub(super) fn apply(
        &self,
        host: &str,
        mut builder: ClientBuilder,
    ) -> Result<ClientBuilder, Error> {
        let mut authorities = Vec::new();
        let mut identity = None;
        for path in self.files(host)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let text = read(&path)?;
                    let found = Certificate::from_pem_bundle(&text)
                        .ok()
                        .filter(|found| !found.is_empty())
                        .ok_or_else(|| invalid(&path, "it holds no certificate in PEM"))?;
                    authorities.extend(found);
                }
                Some("cert") => {
                    let mut text = read(&path)?;
                    text.push(b'\n');
                    text.extend(read(&path.with_extension("key"))?);
                    let found = Identity::from_pem(&text)
                        .map_err(|_| invalid(&path, "it and its key are no identity in PEM"))?;
                    identity = Some(found);
                }
                _ => {}
            }
        }
        if !authorities.is_empty() {
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    fn files(&self, host: &str) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for dir in self.0.iter().map(|dir| dir.join(host)) {
            let entries = match fs_err::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound
                            | ErrorKind::NotADirectory
                            | ErrorKind::PermissionDenied
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(Error::io("list", &dir)(error)),
            };
            for entry in entries {
                files.push(entry.map_err(Error::io("list", &dir))?.path());
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Checks whether a connection failed because of a certificate of either side.
pub(super) fn is_refusal(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        // The HTTP client does not expose the error type of the TLS library, so the text is
        // checked.
        let text = error.to_string();
        if text.contains("certificate") || text.contains("received corrupt message") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    condense_input::read(path, condense_input::TEXT_MOST).map_err(Error::io("read", path))
}

fn invalid(path: &Path, problem: &str) -> Error {
    Error::Setting {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
