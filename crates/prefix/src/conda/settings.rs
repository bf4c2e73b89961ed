//! Responsible for the settings that `conda config --show` prints: the values that condense
//! follows, under conda's names for them.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::{
    condarc::Condarc, network::NetworkSettings, secrets::without_secrets, spec::ChannelPriority,
};

/// The settings besides the environment's channels. Settings of the network are known only while
/// packages can be fetched; a finished environment has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CondaSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    default_channels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    custom_channels: Vec<(String, String)>,
    #[serde(skip)]
    network: Vec<(&'static str, String)>,
}

impl CondaSettings {
    /// Returns the settings of a finished environment.
    pub fn new(condarc: Option<&Condarc>) -> Self {
        let Some(condarc) = condarc else {
            return Self::default();
        };
        let clean = |text: &String| without_secrets(text).into_owned();
        Self {
            alias: condarc
                .alias()
                .map(|text| without_secrets(text).into_owned()),
            default_channels: condarc.default_channels().iter().map(clean).collect(),
            custom_channels: condarc
                .custom_channels()
                .map(|(name, url)| (name.clone(), clean(url)))
                .collect(),
            ..Self::default()
        }
    }

    /// Returns true if the values are those without a configuration of the user.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the settings of the network.
    #[must_use]
    pub fn with_network(mut self, network: &NetworkSettings) -> Self {
        let seconds = |time: std::time::Duration| format!("{:?}", time.as_secs_f64());
        let archives = network.cache_dir.join("archives");
        self.network = vec![
            ("fetch_threads", network.concurrent_downloads.to_string()),
            ("offline", python(network.offline)),
            ("pkgs_dirs", format!("\n  - {}", archives.display())),
            (
                "remote_connect_timeout_secs",
                seconds(network.connect_timeout),
            ),
            ("remote_max_retries", network.retries.to_string()),
            ("remote_read_timeout_secs", seconds(network.read_timeout)),
            ("ssl_verify", python(network.trust.verify)),
        ];
        self
    }

    /// Renders the settings as YAML the way conda prints it, with sorted keys.
    pub(super) fn render(
        &self,
        channels: &[String],
        priority: ChannelPriority,
        root: &str,
        platform: &str,
    ) -> String {
        let list = |items: &[String]| {
            items
                .iter()
                .fold(String::new(), |text, item| text + "\n  - " + item)
        };
        let custom = self
            .custom_channels
            .iter()
            .fold(String::new(), |text, (name, url)| {
                format!("{text}\n  {name}: {url}")
            });
        let own_defaults = crate::condarc::DEFAULTS.map(str::to_owned);
        let defaults = if self.default_channels.is_empty() {
            &own_defaults[..]
        } else {
            &self.default_channels
        };
        let mut pairs = vec![
            ("always_yes", "True".to_owned()),
            ("auto_activate_base", "False".to_owned()),
            (
                "channel_alias",
                self.alias
                    .clone()
                    .unwrap_or_else(|| crate::condarc::ALIAS.to_owned()),
            ),
            ("channel_priority", priority.as_str().to_owned()),
            ("channels", list(channels)),
            (
                "custom_channels",
                if custom.is_empty() {
                    "{}".to_owned()
                } else {
                    custom
                },
            ),
            ("default_channels", list(defaults)),
            ("envs_dirs", format!("\n  - {root}/envs")),
            ("root_prefix", root.to_owned()),
            ("solver", "rattler".to_owned()),
            ("subdir", platform.to_owned()),
        ];
        pairs.extend(self.network.iter().cloned());
        if self.network.is_empty() {
            pairs.push(("offline", python(false)));
            pairs.push(("pkgs_dirs", format!("\n  - {root}/pkgs")));
        }
        pairs.sort_by_key(|(key, _)| *key);
        let mut text = String::new();
        for (key, value) in pairs {
            let space = if value.starts_with('\n') { "" } else { " " };
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{key}:{space}{value}");
        }
        text
    }
}

fn python(value: bool) -> String {
    if value { "True" } else { "False" }.to_owned()
}
