//! Responsible for the user's settings of the network: options, environment variables and the
//! configuration file.
//!
//! The file is in TOML. Its path is `CONDENSE_CONFIG`, else
//! `$XDG_CONFIG_HOME/condense/config.toml`, else `~/.config/condense/config.toml`. The tables
//! `[mirrors]` and `[concurrency]` have the same format as in pixi.

pub(crate) mod config;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use condense_oci::Mirror;
use condense_prefix::{Condarc, NetworkSettings, Proxies, Trust, condarc_files};

use super::build_env::BuildEnvArguments;
use crate::console::Console;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use config::Config;

/// Arguments of all verbs that download something.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct NetworkArguments {
    /// do not use the network; files that are not in the cache are an error
    #[arg(long)]
    pub offline: bool,
    /// number of parallel downloads; default: CONDENSE_JOBS, else that of the configuration file,
    /// else 12
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Arguments about build steps. All verbs that download packages run build steps as well.
    #[command(flatten)]
    pub build_env: BuildEnvArguments,
}

impl NetworkArguments {
    /// Returns the settings of the network. Options override variables, variables override the
    /// configuration file, and that overrides conda's configuration.
    ///
    /// # Errors
    /// Returns an error if the configuration file was named and does not exist, if it cannot be
    /// parsed, or if `CONDENSE_JOBS` is not a number.
    pub(crate) fn settings(
        &self,
        env_vars: &EnvVars,
        cache_dir: PathBuf,
        condarc: Option<&Condarc>,
    ) -> anyhow::Result<NetworkSettings> {
        let config = Config::load(env_vars)?;
        let jobs = match (self.jobs, env_vars.get(env_vars::CONDENSE_JOBS)) {
            (Some(jobs), _) => Some(jobs),
            (None, Some(text)) => match text.parse::<u16>() {
                Ok(jobs @ 1..) => Some(jobs),
                _ => bail!(UserError::new(
                    format!("CONDENSE_JOBS `{text}` is not a number of downloads at a time"),
                    "set it to a number from 1 on, or unset it",
                )),
            },
            (None, None) => config.jobs,
        };
        let mut settings = NetworkSettings::new(cache_dir);
        if let Some(condarc) = condarc {
            condarc.apply_network(&mut settings);
        }
        let trust = trust(env_vars);
        Ok(NetworkSettings {
            concurrent_downloads: jobs.map_or(settings.concurrent_downloads, usize::from),
            offline: settings.offline || self.offline,
            retries: config.retries.unwrap_or(settings.retries),
            connect_timeout: config.connect_timeout.unwrap_or(settings.connect_timeout),
            read_timeout: config.read_timeout.unwrap_or(settings.read_timeout),
            mirrors: config.mirrors,
            proxies: proxies(env_vars, settings.proxies),
            trust: Trust {
                extra: [trust.extra, settings.trust.extra].concat(),
                verify: settings.trust.verify,
                ..trust
            },
            auth_files: auth_files(env_vars),
            netrc: netrc(env_vars),
            ..settings
        })
    }
}

/// Reads conda's own configuration if `CW_ENABLE_CONDARC` is set. Otherwise it is ignored, as in
/// Tykky.
///
/// # Errors
/// Returns an error if a file cannot be read or parsed.
pub(crate) fn condarc(env_vars: &EnvVars, console: &Console) -> anyhow::Result<Option<Condarc>> {
    if env_vars.get(env_vars::CW_ENABLE_CONDARC).is_none() {
        return Ok(None);
    }
    let path = |name: &str| env_vars.get(name).map(|path| env_vars.cwd.join(path));
    let files = condarc_files(
        Path::new("/"),
        env_vars.home().as_deref(),
        path(env_vars::XDG_CONFIG_HOME).as_deref(),
        path(env_vars::CONDARC).as_deref(),
    );
    let condarc = Condarc::load(&files, |name| env_vars.get(name).map(str::to_owned))?;
    let not_followed: Vec<&str> = condarc.not_followed().collect();
    if !not_followed.is_empty() {
        console.warning(format!(
            "these keys of conda's configuration are not followed: {}",
            not_followed.join(", ")
        ));
    }
    Ok(Some(condarc))
}

/// Returns the mirrors of registries in the configuration file.
///
/// # Errors
/// Returns an error if the file was named and does not exist, or if it cannot be parsed.
pub(crate) fn registry_mirrors(env_vars: &EnvVars) -> anyhow::Result<Vec<Mirror>> {
    Ok(Config::load(env_vars)?.registry_mirrors)
}

/// Returns the value of the first of these variables that is set.
fn first<'a>(env_vars: &'a EnvVars, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| env_vars.get(name))
}

/// Returns the proxies. As in Python's requests, the variables override the configuration.
fn proxies(env_vars: &EnvVars, configured: Proxies) -> Proxies {
    let look = |names: &[&str]| first(env_vars, names).map(str::to_owned);
    Proxies {
        http: look(&env_vars::HTTP_PROXY).or(configured.http),
        https: look(&env_vars::HTTPS_PROXY).or(configured.https),
        all: look(&env_vars::ALL_PROXY),
        no_proxy: look(&env_vars::NO_PROXY),
    }
}

fn trust(env_vars: &EnvVars) -> Trust {
    let path = |name: &str| env_vars.get(name).map(|path| env_vars.cwd.join(path));
    let dirs = env_vars.get(env_vars::SSL_CERT_DIR).unwrap_or_default();
    Trust {
        files: path(env_vars::SSL_CERT_FILE).into_iter().collect(),
        // Directories that do not exist are skipped: the variable is a list like PATH, and its
        // directories need not exist on every node.
        dirs: std::env::split_paths(dirs)
            .filter(|dir| dir.is_dir())
            .collect(),
        extra: [env_vars::REQUESTS_CA_BUNDLE, env_vars::CURL_CA_BUNDLE]
            .into_iter()
            .filter_map(path)
            .collect(),
        verify: true,
    }
}

/// Returns the files of credentials. The file of `RATTLER_AUTH_FILE` must exist; the file in the
/// home directory is optional.
fn auth_files(env_vars: &EnvVars) -> Vec<PathBuf> {
    let named = env_vars.get(env_vars::RATTLER_AUTH_FILE);
    let usual = env_vars
        .home()
        .map(|home| home.join(".rattler/credentials.json"))
        .filter(|path| path.is_file());
    let named = named.map(|path| env_vars.cwd.join(path));
    named.into_iter().chain(usual).collect()
}

fn netrc(env_vars: &EnvVars) -> Option<PathBuf> {
    let named = env_vars.get(env_vars::NETRC);
    let usual = || env_vars.home().map(|home| home.join(".netrc"));
    named
        .map(|path| env_vars.cwd.join(path))
        .or_else(|| usual().filter(|path| path.is_file()))
}

#[cfg(test)]
mod tests;
