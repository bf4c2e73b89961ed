//! Responsible for finding the credentials for a registry: environment variables, the files of
//! docker and of the runtimes, and helper programs.

mod files;
mod helper;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::cancel::Cancel;
use super::name::Name;
use crate::Error;

/// Time limit for a helper. A helper that asks no questions answers at once. In a job, a helper
/// that waits for a keyring to be unlocked would wait forever.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// Credentials of a user for a registry. They are never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password.
    Password {
        /// Name of the user.
        user: String,
        /// Password of the user.
        password: String,
    },
    /// An identity token that a login has stored, with which new tokens are requested.
    IdentityToken(String),
    /// A token that is sent to the registry unchanged.
    RegistryToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Credentials::Password { .. } => "Password",
            Credentials::IdentityToken(_) => "IdentityToken",
            Credentials::RegistryToken(_) => "RegistryToken",
        };
        write!(f, "{kind}(…)")
    }
}

/// Places in which credentials are searched, in the order of the fields.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// Credentials that the user gave for this run. They are used for every registry.
    pub given: Option<Credentials>,
    /// File in docker's format that the user named for this run. It must exist.
    pub auth_file: Option<PathBuf>,
    /// Files in docker's format. They need not exist.
    pub docker_files: Vec<PathBuf>,
    /// Files `remote.yaml` of the runtimes. They need not exist.
    pub remote_files: Vec<PathBuf>,
    /// Directories of the `docker-credential-…` programs, as in PATH.
    pub helper_dirs: Vec<PathBuf>,
}

/// Credentials and their origin, which is shown in the error if the registry refuses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) credentials: Credentials,
    pub(crate) origin: String,
}

impl Keyring {
    /// Returns the first credentials that are found for this image's registry.
    pub(crate) fn find(&self, name: &Name, cancel: &Cancel) -> Result<Option<Found>, Error> {
        if let Some(credentials) = &self.given {
            return Ok(Some(Found {
                credentials: credentials.clone(),
                origin: "the environment".to_owned(),
            }));
        }
        let named = self.auth_file.iter().map(|path| (path, true));
        let usual = self.docker_files.iter().map(|path| (path, false));
        for (path, must_exist) in named.chain(usual) {
            let Some(file) = files::DockerFile::load(path, must_exist)? else {
                continue;
            };
            let found = match file.helper(name) {
                Some(helper) => {
                    helper::query(helper, name, &self.helper_dirs, HELPER_TIMEOUT, cancel)?
                        .map(|credentials| (credentials, format!("`docker-credential-{helper}`")))
                }
                None => None,
            };
            let found = match found {
                Some(found) => Some(found),
                None => file
                    .credentials(name)?
                    .map(|credentials| (credentials, format!("`{}`", path.display()))),
            };
            if let Some((credentials, origin)) = found {
                return Ok(Some(Found {
                    credentials,
                    origin,
                }));
            }
        }
        for path in &self.remote_files {
            if let Some(credentials) = files::load_remote(path, name)? {
                return Ok(Some(Found {
                    credentials,
                    origin: format!("`{}`", path.display()),
                }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
