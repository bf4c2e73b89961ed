//! Responsible for the files in which docker and the runtimes store credentials.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::Credentials;
use crate::Error;
use crate::name::Name;

/// Key under which docker stores the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "index.docker.io";

/// Docker's `config.json`, which podman and the runtimes write as well.
#[derive(Debug)]
pub(super) struct DockerFile {
    path: PathBuf,
    text: DockerText,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerText {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(rename = "auth")]
    encoded: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

impl DockerFile {
    pub(super) fn load(path: &Path, must_exist: bool) -> Result<Option<DockerFile>, Error> {
        let text = match condense_input::read(path, condense_input::TEXT_MOST) {
            Ok(text) => text,
            Err(error) if !must_exist && is_absent(&error) => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let text = serde_json::from_slice(&text).map_err(|error| unreadable(path, &error))?;
        Ok(Some(DockerFile {
            path: path.to_owned(),
            text,
        }))
    }

    /// Returns the name of the helper for this registry: the registry's own helper, or else the
    /// default one.
    pub(super) fn helper(&self, name: &Name) -> Option<&str> {
        let own = self
            .text
            .cred_helpers
            .iter()
            .find(|(key, _)| keys(name).iter().any(|wanted| wanted == plain(key)))
            .map(|(_, helper)| helper.as_str());
        own.or(self.text.creds_store.as_deref())
            .filter(|helper| !helper.is_empty())
    }

    /// Returns the credentials that are stored in the file itself. An entry for a part of the
    /// registry takes precedence over one for the whole registry.
    pub(super) fn credentials(&self, name: &Name) -> Result<Option<Credentials>, Error> {
        for wanted in keys(name) {
            let found = self
                .text
                .auths
                .iter()
                .filter(|(key, _)| plain(key) == wanted)
                .find_map(|(_, auth)| auth.read().transpose());
            if let Some(found) = found {
                return found.map(Some).map_err(|problem| Error::Setting {
                    path: self.path.clone(),
                    problem: format!("what it has for `{wanted}` {problem}"),
                });
            }
        }
        Ok(None)
    }
}

impl Auth {
    fn read(&self) -> Result<Option<Credentials>, &'static str> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credentials::RegistryToken(token)));
        }
        if let Some(auth) = given(&self.encoded) {
            return decode(&auth).map(Some);
        }
        Ok(match (given(&self.username), given(&self.password)) {
            (Some(user), Some(password)) => Some(Credentials::Password { user, password }),
            // If a helper stores the secret, the file has an empty entry.
            _ => None,
        })
    }
}

#[derive(Deserialize)]
struct Remote {
    #[serde(rename = "Credentials", default)]
    credentials: Vec<RemoteCredentials>,
}

#[derive(Deserialize)]
struct RemoteCredentials {
    #[serde(rename = "URI", default)]
    uri: String,
    #[serde(rename = "Auth", default)]
    auth: String,
}

/// Reads the credentials from a runtime's `remote.yaml`.
pub(super) fn load_remote(path: &Path, name: &Name) -> Result<Option<Credentials>, Error> {
    let text = match condense_input::read_to_string(path, condense_input::TEXT_MOST) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let remote: Option<Remote> =
        serde_yaml::from_str(&text).map_err(|error| unreadable(path, &error))?;
    let wanted = keys(name);
    let found = remote
        .iter()
        .flat_map(|remote| &remote.credentials)
        .find(|entry| {
            let uri = entry
                .uri
                .split_once("://")
                .map_or(&*entry.uri, |(_, rest)| rest);
            wanted.iter().any(|key| *key == plain(uri))
        });
    // Newer runtimes only record the login here, and store the secret in docker's file.
    let Some(entry) = found.filter(|entry| !entry.auth.is_empty()) else {
        return Ok(None);
    };
    let decoded = match entry.auth.split_once(' ') {
        Some((kind, rest)) if kind.eq_ignore_ascii_case("basic") => decode(rest),
        Some((kind, rest)) if kind.eq_ignore_ascii_case("bearer") => {
            Ok(Credentials::RegistryToken(rest.trim().to_owned()))
        }
        _ => Err("is neither Basic nor Bearer"),
    };
    decoded.map(Some).map_err(|problem| Error::Setting {
        path: path.to_owned(),
        problem: format!("what it has for `{}` {problem}", name.host()),
    })
}

fn decode(auth: &str) -> Result<Credentials, &'static str> {
    let bytes = BASE64_STANDARD
        .decode(auth.trim())
        .map_err(|_| "is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    // Some programs pad the password with zero bytes, as docker itself once did.
    let (user, password) = text
        .trim_end_matches('\0')
        .split_once(':')
        .ok_or("has no colon between user and password")?;
    Ok(match user {
        "<token>" => Credentials::IdentityToken(password.to_owned()),
        user => Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        },
    })
}

/// Returns the keys under which an image's credentials may be stored, the narrowest first.
fn keys(name: &Name) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = Some(name.repository());
    while let Some(part) = path {
        keys.push(format!("{}/{part}", name.host()));
        path = part.rsplit_once('/').map(|(above, _)| above);
    }
    keys.push(name.host().to_owned());
    if name.host() == "docker.io" {
        keys.push(DOCKER_HUB_KEY.to_owned());
        keys.push(name.api_host().to_owned());
    }
    keys
}

/// Returns a key without the prefix and the suffix that older programs add to the host:
/// `https://index.docker.io/v1/`.
fn plain(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key)
        .trim_end_matches('/');
    key.strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
    )
}

/// Returns an error that says at which place the file is malformed, without any contents of the
/// file.
fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    let error = error.to_string();
    let place = error
        .rfind("at line")
        .map_or("", |at| &error[at..])
        .trim_end_matches('.');
    Error::Setting {
        path: path.to_owned(),
        problem: format!("it cannot be read {place}").trim_end().to_owned(),
    }
}
