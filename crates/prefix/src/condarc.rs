//! Responsible for conda's own configuration files (condarc), for users who ask condense to follow
//! them: the meaning of channels' names, and settings of the network.

mod files;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use condense_diagnostics::misspelt;
use rattler_conda_types::Channel;
use serde_yaml::{Mapping, Value};
use url::Url;

use crate::{
    error::Error,
    network::NetworkSettings,
    spec::{ChannelPriority, EnvironmentSpec},
    text, yaml_limits,
};

pub use files::condarc_files;

/// Combined settings of all condarc files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Condarc {
    channels: Vec<String>,
    channel_priority: Option<ChannelPriority>,
    alias: Option<String>,
    defaults: Option<Vec<String>>,
    custom: BTreeMap<String, String>,
    multi: BTreeMap<String, Vec<String>>,
    verify: Option<Verify>,
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    connect_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    retries: Option<u32>,
    threads: Option<usize>,
    offline: bool,
    not_followed: BTreeSet<String>,
}

/// Value of `ssl_verify`: the certificates that conda checks servers against.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verify {
    Off,
    System,
    File(PathBuf),
}

// Hides channels and proxies, since their URLs may contain passwords.
impl std::fmt::Debug for Condarc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condarc")
            .field("not_followed", &self.not_followed)
            .finish_non_exhaustive()
    }
}

/// URL that names of channels are appended to, unless the files set `channel_alias`.
pub(crate) const ALIAS: &str = "https://conda.anaconda.org";
/// Channels that the name `defaults` stands for, unless the files set `default_channels`.
pub(crate) const DEFAULTS: [&str; 2] = [
    "https://repo.anaconda.com/pkgs/main",
    "https://repo.anaconda.com/pkgs/r",
];
/// Keys that condense follows.
const FOLLOWED_KEYS: [&str; 14] = [
    "channel_alias",
    "channel_priority",
    "channels",
    "custom_channels",
    "custom_multichannels",
    "default_channels",
    "fetch_threads",
    "default_threads",
    "offline",
    "proxy_servers",
    "remote_connect_timeout_secs",
    "remote_max_retries",
    "remote_read_timeout_secs",
    "ssl_verify",
];
/// Keys that change the solution or the allowed packages and that condense does not follow. The
/// user is warned about them. All other unknown keys are about conda itself.
const NOT_FOLLOWED_KEYS: [&str; 12] = [
    "aggressive_update_packages",
    "allowlist_channels",
    "channel_settings",
    "client_ssl_cert",
    "client_ssl_cert_key",
    "create_default_packages",
    "denylist_channels",
    "disallowed_packages",
    "migrated_custom_channels",
    "pinned_packages",
    "track_features",
    "whitelist_channels",
];

impl Condarc {
    /// Reads `files`; later files have priority. `variable` returns the value for `$NAME` and
    /// `${NAME}` in them.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a file cannot be read, and [`Error::Spec`] if
    /// it cannot be understood.
    pub fn load(
        files: &[PathBuf],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        for file in files {
            let bytes = condense_input::read(file, condense_input::TEXT_MOST)
                .map_err(Error::io("read", file))?;
            let refused = |line: usize, column: usize, message: String| Error::Spec {
                file: file.clone(),
                line,
                column,
                message,
            };
            let text = text::decode(&bytes)
                .map_err(|decode_error| refused(decode_error.line, 0, decode_error.message))?;
            if let Some(message) = yaml_limits::exceeded(&text) {
                return Err(refused(0, 0, message.to_owned()));
            }
            let not_yaml = |error: serde_yaml::Error| {
                let place = error.location();
                let (line, column) = place.map_or((0, 0), |at| (at.line(), at.column()));
                refused(line, column, format!("is not YAML: {error}"))
            };
            let mut value: Value = serde_yaml::from_str(&text).map_err(not_yaml)?;
            value.apply_merge().map_err(not_yaml)?;
            let pairs = match value {
                Value::Null => continue,
                Value::Mapping(pairs) => pairs,
                _ => return Err(refused(0, 0, "expected keys and values".to_owned())),
            };
            found
                .read(&pairs, file, &|text| expand(text, &variable))
                .map_err(|(key, expected)| refused(0, 0, format!("`{key}:` must be {expected}")))?;
        }
        Ok(found)
    }

    fn read<'a>(
        &mut self,
        pairs: &'a Mapping,
        file: &Path,
        expand: &dyn Fn(&str) -> String,
    ) -> Result<(), (&'a str, &'static str)> {
        for (key, value) in pairs {
            let Some(key) = key.as_str() else { continue };
            let text = || value.as_str().map(expand).ok_or((key, "a text"));
            let list = || list(value, expand).ok_or((key, "a list of texts"));
            let seconds = || {
                let seconds = value.as_f64().filter(|seconds| *seconds > 0.0);
                seconds
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                    .ok_or((key, "a number of seconds"))
            };
            let number = || value.as_u64().ok_or((key, "a number"));
            let switch = || value.as_bool().ok_or((key, "true or false"));
            match key {
                "channels" | "channel" => {
                    // Channels of the file with the highest priority come first.
                    let mut channels = list()?;
                    channels.append(&mut self.channels);
                    self.channels = channels;
                }
                "channel_alias" => self.alias = Some(text()?),
                "default_channels" => self.defaults = Some(list()?),
                "custom_channels" => {
                    let pairs = value.as_mapping().ok_or((key, "names with URLs"))?;
                    for (name, url) in pairs {
                        let (Some(name), Some(url)) = (name.as_str(), url.as_str()) else {
                            return Err((key, "names with URLs"));
                        };
                        self.custom.insert(name.to_owned(), expand(url));
                    }
                }
                "custom_multichannels" => {
                    let pairs = value.as_mapping().ok_or((key, "names with lists"))?;
                    for (name, channels) in pairs {
                        let channels = self::list(channels, expand);
                        let (Some(name), Some(channels)) = (name.as_str(), channels) else {
                            return Err((key, "names with lists"));
                        };
                        self.multi.insert(name.to_owned(), channels);
                    }
                }
                "ssl_verify" | "verify_ssl" => {
                    self.verify = Some(match value {
                        Value::Bool(false) => Verify::Off,
                        Value::Bool(true) => Verify::System,
                        Value::String(text) if text == "truststore" => Verify::System,
                        Value::String(text) => {
                            let beside = file.parent().unwrap_or(Path::new("/"));
                            Verify::File(beside.join(expand(text)))
                        }
                        _ => return Err((key, "true, false or the path of a file")),
                    });
                }
                "proxy_servers" => self
                    .read_proxies(value, expand)
                    .ok_or((key, "schemes with URLs"))?,
                "remote_connect_timeout_secs" => self.connect_timeout = Some(seconds()?),
                "remote_read_timeout_secs" => self.read_timeout = Some(seconds()?),
                "remote_max_retries" => {
                    self.retries = Some(u32::try_from(number()?).map_err(|_| (key, "a number"))?);
                }
                "fetch_threads" | "default_threads" => {
                    let threads = usize::try_from(number()?).map_err(|_| (key, "a number"))?;
                    self.threads = Some(threads).filter(|threads| *threads > 0);
                }
                "offline" => self.offline = switch()?,
                "channel_priority" => {
                    let text = match value {
                        Value::Bool(is_on) => is_on.to_string(),
                        _ => text()?,
                    };
                    let priority = ChannelPriority::parse(&text);
                    let priority = priority.ok_or((key, "strict, flexible or disabled"))?;
                    self.channel_priority = Some(priority);
                }
                _ if NOT_FOLLOWED_KEYS.contains(&key) => {
                    self.not_followed.insert(key.to_owned());
                }
                _ => {
                    if let Some(meant) = misspelt(key, FOLLOWED_KEYS) {
                        let key = format!("{key} (did you mean `{meant}`?)");
                        self.not_followed.insert(key);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the proxies for `http` and `https`. Proxies for single hosts are not followed.
    fn read_proxies(&mut self, value: &Value, expand: &dyn Fn(&str) -> String) -> Option<()> {
        if value.is_null() {
            return Some(());
        }
        for (scheme, url) in value.as_mapping()? {
            let url = match url {
                Value::Null | Value::Bool(false) => None,
                other => Some(expand(other.as_str()?)),
            };
            match scheme.as_str()? {
                "http" => self.http_proxy = url,
                "https" => self.https_proxy = url,
                other => {
                    self.not_followed.insert(format!("proxy_servers: {other}"));
                }
            }
        }
        Some(())
    }

    /// Returns the keys in the files that condense does not follow although they matter.
    pub fn not_followed(&self) -> impl Iterator<Item = &str> {
        self.not_followed.iter().map(String::as_str)
    }

    /// Returns the URL that names of channels are appended to
    /// (`channel_alias`), if the files set it.
    pub(crate) fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// Returns the channels that `defaults` stands for; empty if the files do not set them.
    pub(crate) fn default_channels(&self) -> &[String] {
        self.defaults.as_deref().unwrap_or_default()
    }

    /// Returns names of channels with the URLs that the files give them (`custom_channels`).
    pub(crate) fn custom_channels(&self) -> impl Iterator<Item = (&String, &String)> {
        self.custom.iter()
    }

    /// Returns the URLs that a channel's name stands for. A URL stands for itself.
    ///
    /// # Errors
    /// Returns [`Error::NetworkSetting`] for a channel that is neither a name nor a URL.
    pub fn urls(&self, channel: &str) -> Result<Vec<String>, Error> {
        let channels = self.resolve(channel)?.into_iter();
        Ok(channels
            .map(|channel| channel.base_url.as_str().to_owned())
            .collect())
    }

    /// Writes the files' settings of the network into `settings`, which must
    /// still have their defaults.
    pub fn apply_network(&self, settings: &mut NetworkSettings) {
        let Self {
            verify,
            http_proxy,
            https_proxy,
            connect_timeout,
            read_timeout,
            retries,
            threads,
            offline,
            ..
        } = self;
        match verify {
            Some(Verify::Off) => settings.trust.verify = false,
            Some(Verify::File(path)) => settings.trust.extra.push(path.clone()),
            Some(Verify::System) | None => {}
        }
        settings.proxies.http.clone_from(http_proxy);
        settings.proxies.https.clone_from(https_proxy);
        settings.connect_timeout = connect_timeout.unwrap_or(settings.connect_timeout);
        settings.read_timeout = read_timeout.unwrap_or(settings.read_timeout);
        settings.retries = retries.unwrap_or(settings.retries);
        settings.concurrent_downloads = threads.unwrap_or(settings.concurrent_downloads);
        settings.offline |= offline;
    }

    /// Applies the files to an environment, as conda does: channels' names and their priority get
    /// the meaning that the files define. The channels of the files are added, too, unless the
    /// environment has `nodefaults`.
    ///
    /// # Errors
    /// Returns [`Error::NetworkSetting`] for a channel that is neither a name nor a URL.
    pub fn apply(&self, spec: &mut EnvironmentSpec) -> Result<(), Error> {
        let mut channels = Vec::new();
        let ours_alone = spec.names_no_channel() && !self.channels.is_empty();
        if !ours_alone {
            for channel in &spec.channels {
                channels.extend(self.channels_for(channel)?);
            }
        }
        if !spec.has_nodefaults() {
            for channel in &self.channels {
                channels.extend(self.resolve(channel)?);
            }
        }
        if ours_alone {
            spec.remove_no_channel_warning();
        }
        for requested in &mut spec.specs {
            if let Some(channel) = requested.spec.channel.as_deref() {
                let meant = self.channels_for(channel)?.into_iter().next();
                requested.spec.channel = meant.map(Into::into);
            }
        }
        if let Some(priority) = self.channel_priority {
            spec.set_channel_priority(priority);
        }
        let mut seen = BTreeSet::new();
        channels.retain(|channel: &Channel| seen.insert(channel.base_url.as_str().to_owned()));
        spec.channels = channels;
        Ok(())
    }

    /// Returns the channels for a channel that was read without these files. If its URL is below
    /// the default alias, the rest of the URL is a name, which the files may define differently.
    fn channels_for(&self, channel: &Channel) -> Result<Vec<Channel>, Error> {
        let url = channel.base_url.as_str().trim_end_matches('/');
        if DEFAULTS.contains(&url)
            && (self.defaults.is_some() || self.multi.contains_key("defaults"))
        {
            return self.resolve("defaults");
        }
        match url
            .strip_prefix(ALIAS)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(name) => self.resolve(name),
            None => Ok(vec![channel.clone()]),
        }
    }

    /// Returns the channels for a name or URL in a list of channels, as conda does.
    fn resolve(&self, text: &str) -> Result<Vec<Channel>, Error> {
        if let Some(members) = self.multi.get(text) {
            return members.iter().map(|member| self.single(member)).collect();
        }
        if text == "defaults" {
            return match &self.defaults {
                Some(members) => members.iter().map(|member| self.single(member)).collect(),
                None => DEFAULTS.iter().map(|member| self.single(member)).collect(),
            };
        }
        Ok(vec![self.single(text)?])
    }

    /// Returns the channel for a name or URL that does not stand for several channels.
    fn single(&self, text: &str) -> Result<Channel, Error> {
        let url = if text.contains("://") {
            text.to_owned()
        } else if let Some(base) = self.base_of(text) {
            format!("{}/{text}", base.trim_end_matches('/'))
        } else {
            let alias = self.alias.as_deref().unwrap_or(ALIAS);
            format!("{}/{text}", alias.trim_end_matches('/'))
        };
        let refused = || Error::NetworkSetting {
            what: "condarc".to_owned(),
            problem: format!(
                "`{}` is not a channel that is reached by http, https or file",
                crate::secrets::without_secrets(text)
            ),
        };
        let url = Url::parse(&url).map_err(|_| refused())?;
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(refused());
        }
        Ok(Channel::from_url(url))
    }

    /// Returns the base URL that `custom_channels` gives a name. It also holds for names below it:
    /// `name/label/rc`.
    fn base_of(&self, name: &str) -> Option<&String> {
        let mut above = name;
        loop {
            if let Some(base) = self.custom.get(above) {
                return Some(base);
            }
            above = above.rsplit_once('/')?.0;
        }
    }
}

fn list(value: &Value, expand: &dyn Fn(&str) -> String) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![expand(text)]),
        Value::Sequence(items) => items.iter().map(|item| item.as_str().map(expand)).collect(),
        _ => None,
    }
}

/// Expands environment variables like Python's `os.path.expandvars`: variables that are not set
/// stay as written.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let behind = &behind[1..];
        let (name, after) = match behind
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
        {
            Some(braced) => braced,
            None => behind.split_at(
                behind
                    .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                    .unwrap_or(behind.len()),
            ),
        };
        if let Some(value) = variable(name) {
            out.push_str(&value);
            rest = after;
        } else {
            out.push('$');
            rest = behind;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
