//! Responsible for what the user says about the network: flags, variables and the configuration file.
//!
//! The file is TOML: `CONDENSE_CONFIG`, else `$XDG_CONFIG_HOME/condense/config.toml`, else
//! `~/.config/condense/config.toml`. `[mirrors]` and `[concurrency]` have the form that pixi gives them.

mod config;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use condense_prefix::{NetworkSettings, Proxies, Trust};

use super::Environment;
use crate::{env_vars, report::Refusal};
use config::Config;

/// Arguments of every verb that fetches something.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct NetworkArguments {
    /// send nothing: what is not in the cache is named and missing
    #[arg(long)]
    pub offline: bool,
    /// downloads at a time; default: CONDENSE_JOBS, else the configuration's, else 12
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
}

impl NetworkArguments {
    /// Flags win over variables, variables over the configuration file.
    ///
    /// # Errors
    /// A file that was named and is not there or cannot be understood; a variable that is no number.
    pub(crate) fn settings(
        &self,
        environment: &Environment,
        cache_dir: PathBuf,
    ) -> anyhow::Result<NetworkSettings> {
        let config = Config::load(environment)?;
        let jobs = match (self.jobs, environment.get(env_vars::CONDENSE_JOBS)) {
            (Some(jobs), _) => Some(jobs),
            (None, Some(text)) => match text.parse::<u16>() {
                Ok(jobs @ 1..) => Some(jobs),
                _ => bail!(Refusal::new(
                    format!("CONDENSE_JOBS `{text}` is not a number of downloads at a time"),
                    "set it to a number from 1 on, or unset it",
                )),
            },
            (None, None) => config.jobs,
        };
        let defaults = NetworkSettings::new(cache_dir);
        Ok(NetworkSettings {
            concurrent_downloads: jobs.map_or(defaults.concurrent_downloads, usize::from),
            offline: self.offline,
            retries: config.retries.unwrap_or(defaults.retries),
            connect_timeout: config.connect_timeout.unwrap_or(defaults.connect_timeout),
            read_timeout: config.read_timeout.unwrap_or(defaults.read_timeout),
            mirrors: config.mirrors,
            proxies: proxies(environment),
            trust: trust(environment),
            auth_files: auth_files(environment),
            netrc: netrc(environment),
            ..defaults
        })
    }
}

/// The first of these that is set.
fn first<'a>(environment: &'a Environment, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| environment.get(name))
}

fn proxies(environment: &Environment) -> Proxies {
    let look = |names: &[&str]| first(environment, names).map(str::to_owned);
    Proxies {
        http: look(&env_vars::HTTP_PROXY),
        https: look(&env_vars::HTTPS_PROXY),
        all: look(&env_vars::ALL_PROXY),
        no_proxy: look(&env_vars::NO_PROXY),
    }
}

fn trust(environment: &Environment) -> Trust {
    let path = |name: &str| environment.get(name).map(|path| environment.cwd.join(path));
    let dirs = environment.get(env_vars::SSL_CERT_DIR).unwrap_or_default();
    Trust {
        files: path(env_vars::SSL_CERT_FILE).into_iter().collect(),
        // Like PATH; OpenSSL's users name directories that need not exist on every node.
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

/// What the variable names must be there; what lies at the usual place may.
fn auth_files(environment: &Environment) -> Vec<PathBuf> {
    let named = environment.get(env_vars::RATTLER_AUTH_FILE);
    let usual = environment
        .home()
        .map(|home| home.join(".rattler/credentials.json"))
        .filter(|path| path.is_file());
    let named = named.map(|path| environment.cwd.join(path));
    named.into_iter().chain(usual).collect()
}

fn netrc(environment: &Environment) -> Option<PathBuf> {
    let named = environment.get(env_vars::NETRC);
    let usual = || environment.home().map(|home| home.join(".netrc"));
    named
        .map(|path| environment.cwd.join(path))
        .or_else(|| usual().filter(|path| path.is_file()))
}

#[cfg(test)]
mod tests;
