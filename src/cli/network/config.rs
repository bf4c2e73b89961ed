//! Responsible for reading the user's configuration file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use condense_image::Compression;
use condense_oci::Mirror;
use condense_prefix::Mirrors;
use serde::Deserialize;

use crate::cli::registries::size;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};

/// Contents of the configuration file. All fields are empty if there is no file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Values for environment variables that are not set.
    pub(super) defaults: Vec<(&'static str, String)>,
    pub(super) mirrors: Mirrors,
    pub(super) registry_mirrors: Vec<Mirror>,
    pub(super) jobs: Option<u16>,
    pub(super) retries: Option<u32>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    base_image: Option<String>,
    site: Option<String>,
    cache_dir: Option<String>,
    cache_size: Option<String>,
    tmpdir: Option<String>,
    channels: Vec<String>,
    compression: Option<String>,
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
        let is_named = env_vars.get(env_vars::CONDENSE_CONFIG).is_some();
        let path = match path(env_vars) {
            Some(path) if is_named || path.is_file() => path,
            _ => return Ok(Self::default()),
        };
        let text = condense_input::read_to_string(&path, condense_input::TEXT_MOST)?;
        parse(&text, &path)
    }
}

/// Sets the values of the configuration file for variables that are not set.
///
/// # Errors
/// Returns an error if the file cannot be read or parsed.
pub(crate) fn set_defaults(env_vars: &mut EnvVars) -> anyhow::Result<()> {
    let config = Config::load(env_vars)?;
    env_vars.set_defaults(config.defaults);
    Ok(())
}

/// Returns the path of the configuration file, which need not exist.
pub(crate) fn path(env_vars: &EnvVars) -> Option<PathBuf> {
    if let Some(path) = env_vars.get(env_vars::CONDENSE_CONFIG) {
        return Some(env_vars.cwd.join(path));
    }
    env_vars
        .get(env_vars::XDG_CONFIG_HOME)
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| env_vars.home().map(|home| home.join(".config")))
        .map(|dir| dir.join("condense/config.toml"))
}

/// Parses the text of a configuration file. `path` is its name in errors.
///
/// # Errors
/// Returns an error if the text is not TOML, or if a key or a value is not valid.
pub(crate) fn parse(text: &str, path: &Path) -> anyhow::Result<Config> {
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
        defaults: defaults(&file, path)?,
        mirrors,
        registry_mirrors,
        jobs: file.concurrency.downloads.map(std::num::NonZeroU16::get),
        retries: file.network.retries,
        connect_timeout: file.network.connect_timeout.map(seconds),
        read_timeout: file.network.read_timeout.map(seconds),
    })
}

/// Returns the values of keys that stand for environment variables.
fn defaults(file: &File, path: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let refused = |key: &str, value: &str, expected: &str, hint: &str| {
        let path = path.display();
        let problem = format!("{path}: `{key}` cannot be `{value}`: {expected}");
        anyhow::Error::new(UserError::new(problem, hint))
    };
    for (key, dir) in [("cache-dir", &file.cache_dir), ("tmpdir", &file.tmpdir)] {
        if let Some(dir) = dir.as_ref().filter(|dir| !Path::new(dir).is_absolute()) {
            let hint = "write a path that begins with /";
            return Err(refused(key, dir, "it is not absolute", hint));
        }
    }
    if let Some(text) = &file.cache_size
        && size(text).is_none()
    {
        let hint = "write bytes, or a number with K, M or G: `20G`";
        return Err(refused("cache-size", text, "it is not a size", hint));
    }
    if let Some(text) = &file.compression
        && let Err(problem) = text.parse::<Compression>()
    {
        let hint = "write a codec with a level: zstd:3, gzip:6, xz, lz4 or none";
        return Err(refused("compression", text, &problem.to_string(), hint));
    }
    if let Some(channel) = file.channels.iter().find(|channel| channel.contains(',')) {
        let hint = "write the channels as a list";
        return Err(refused("channels", channel, "it has a comma", hint));
    }
    let channels = (!file.channels.is_empty()).then(|| file.channels.join(","));
    let pairs = [
        (env_vars::CONDENSE_BASE_IMAGE, file.base_image.clone()),
        (env_vars::CONDENSE_SITE, file.site.clone()),
        (env_vars::CONDENSE_CACHE_DIR, file.cache_dir.clone()),
        (env_vars::CONDENSE_CACHE_SIZE, file.cache_size.clone()),
        (env_vars::CW_BUILD_TMPDIR, file.tmpdir.clone()),
        (env_vars::CONDENSE_CHANNELS, channels),
        (env_vars::CONDENSE_COMPRESSION, file.compression.clone()),
    ];
    let set = pairs.into_iter();
    let set = set.filter_map(|(name, value)| Some((name, value?)));
    Ok(set.filter(|(_, value)| !value.is_empty()).collect())
}
