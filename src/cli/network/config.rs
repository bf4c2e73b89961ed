//! Responsible for reading the user's configuration file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use condense_oci::Mirror;
use condense_prefix::Mirrors;
use serde::Deserialize;

use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};

/// Contents of the configuration file. All fields are empty if there is no file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) mirrors: Mirrors,
    pub(super) registry_mirrors: Vec<Mirror>,
    pub(super) jobs: Option<u16>,
    pub(super) retries: Option<u32>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    mirrors: BTreeMap<String, Vec<String>>,
    concurrency: Concurrency,
    network: Network,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Concurrency {
    downloads: Option<std::num::NonZeroU16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Network {
    retries: Option<u32>,
    /// Maximum time for a connection, in seconds.
    connect_timeout: Option<std::num::NonZeroU32>,
    /// Maximum time without data of a connection, in seconds.
    read_timeout: Option<std::num::NonZeroU32>,
}

impl Config {
    /// Reads the file of `CONDENSE_CONFIG`, or the file at the default path if it exists.
    pub(super) fn load(env_vars: &EnvVars) -> anyhow::Result<Self> {
        let path = match env_vars.get(env_vars::CONDENSE_CONFIG) {
            Some(path) => env_vars.cwd.join(path),
            None => match usual_path(env_vars).filter(|path| path.is_file()) {
                Some(path) => path,
                None => return Ok(Self::default()),
            },
        };
        let text = condense_input::read_to_string(&path, condense_input::TEXT_MOST)?;
        parse(&text, &path)
    }
}

fn usual_path(env_vars: &EnvVars) -> Option<PathBuf> {
    env_vars
        .get(env_vars::XDG_CONFIG_HOME)
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| env_vars.home().map(|home| home.join(".config")))
        .map(|dir| dir.join("condense/config.toml"))
}

fn parse(text: &str, path: &Path) -> anyhow::Result<Config> {
    let file: File =
        toml::from_str(text).with_context(|| format!("cannot understand `{}`", path.display()))?;
    let mut mirrors = Mirrors::default();
    let mut registry_mirrors = Vec::new();
    for (channel, places) in &file.mirrors {
        let inserted = if channel.starts_with("docker://") {
            let mut places = places.iter();
            places.try_for_each(|place| {
                registry_mirrors.push(Mirror::parse(channel, place)?);
                Ok::<(), String>(())
            })
        } else {
            mirrors.insert(channel, places)
        };
        if let Err(problem) = inserted {
            bail!(UserError::new(
                format!("{}: [mirrors]: {problem}", path.display()),
                "a line of it is `\"https://channel\" = [\"https://mirror\", …]`, or begins with `docker://HOST`",
            ));
        }
    }
    let seconds = |number: std::num::NonZeroU32| Duration::from_secs(number.get().into());
    Ok(Config {
        mirrors,
        registry_mirrors,
        jobs: file.concurrency.downloads.map(std::num::NonZeroU16::get),
        retries: file.network.retries,
        connect_timeout: file.network.connect_timeout.map(seconds),
        read_timeout: file.network.read_timeout.map(seconds),
    })
}
