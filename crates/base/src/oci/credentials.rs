//! Responsible for finding the credentials that a registry wants: variables, the files of docker
//! and of the runtimes, helper programs.

mod files;
mod helper;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::cancel::Cancel;
use super::name::Name;
use crate::Error;

/// A helper that asks nobody answers at once; one that waits for a keyring to be unlocked would
/// wait for ever in a job.
const HELPER_PATIENCE: Duration = Duration::from_secs(60);

/// Who somebody is to a registry. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// What a login left behind, good for new tokens.
    IdentityToken(String),
    /// A token that is sent as it is.
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

/// Where credentials are looked for, first to last.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// Given by the user for this run, whatever the registry.
    pub given: Option<Credentials>,
    /// A file named by the user for this run, in docker's format; it must be there.
    pub auth_file: Option<PathBuf>,
    /// Files in docker's format, which need not be there.
    pub docker_files: Vec<PathBuf>,
    /// The runtimes' own `remote.yaml`, which need not be there.
    pub remote_files: Vec<PathBuf>,
    /// Where `docker-credential-…` programs are, as in PATH.
    pub helper_dirs: Vec<PathBuf>,
}

/// Credentials and where they are from, for an error when they are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) credentials: Credentials,
    pub(crate) origin: String,
}

impl Keyring {
    /// The first there are for this image's registry.
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
                    helper::ask(helper, name, &self.helper_dirs, HELPER_PATIENCE, cancel)?
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
