//! Responsible for channels as users write them: a name, a URL or a path,
//! which may contain variables.

use std::path::Path;

use rattler_conda_types::{Channel, ChannelConfig, NamedChannelOrUrl};
use url::Url;

use super::context::SpecContext;

/// URL of the server of Anaconda's own channels.
const ANACONDA: &str = "https://repo.anaconda.com/";
/// Channels that the name `defaults` stands for, in this order.
const DEFAULTS: [&str; 2] = ["pkgs/main", "pkgs/r"];

/// Returns the channels that one entry of `channels:` stands for. Relative paths start at `folder`.
pub(super) fn channels(
    text: &str,
    folder: &Path,
    context: &SpecContext,
) -> Result<Vec<Channel>, String> {
    let text = text.trim();
    let expanded = context.expand(text)?;
    match expanded.as_str() {
        // `nodefaults` is a keyword and not a channel. conda's default channels are never added by
        // this module.
        "nodefaults" => return Ok(Vec::new()),
        "defaults" => return DEFAULTS.iter().map(|name| anaconda_channel(name)).collect(),
        "local" => {
            return Err("`local` means conda-build's own output directory, which nobody but conda-build knows; expected its path or `file://` URL".to_owned());
        }
        _ => {}
    }
    channel(&expanded, folder)
        .map(|channel| vec![channel])
        // The message shows the text as written, because the value of a variable may be a secret.
        .map_err(|error| {
            if expanded == text {
                format!("`{text}` is not a channel: {error}")
            } else {
                format!("`{text}` is not a channel")
            }
        })
}

/// Returns one channel that is given by name, URL or path.
pub(super) fn channel(text: &str, folder: &Path) -> Result<Channel, String> {
    if text.is_empty() || text.contains(char::is_whitespace) && !text.contains('/') {
        return Err("expected a name, a URL or a path".to_owned());
    }
    if text == "defaults" || text.starts_with("pkgs/") {
        let name = if text == "defaults" {
            DEFAULTS[0]
        } else {
            text
        };
        return anaconda_channel(name);
    }
    let config = ChannelConfig::default_with_root_dir(folder.to_owned());
    let named: NamedChannelOrUrl = text.parse().map_err(describe)?;
    let channel = named.into_channel(&config).map_err(describe)?;
    let scheme = channel.base_url.url().scheme();
    if !matches!(scheme, "http" | "https" | "file") {
        return Err(format!(
            "channels are reached by http, https or file, not by `{scheme}`"
        ));
    }
    Ok(without_subdir(channel))
}

/// Removes a platform's directory from the end of a URL: `https://host/channel/linux-64` stands for
/// `https://host/channel`.
fn without_subdir(channel: Channel) -> Channel {
    let url: &Url = channel.base_url.url();
    let last = url.path().trim_end_matches('/').rsplit('/').next();
    let is_subdir = |name: &str| {
        name == "noarch"
            || name.starts_with("linux-")
            || name.starts_with("osx-")
            || name.starts_with("win-")
    };
    if !last.is_some_and(is_subdir) {
        return channel;
    }
    let mut above = url.clone();
    if let Ok(mut segments) = above.path_segments_mut() {
        segments.pop_if_empty().pop();
    }
    Channel::from_url(above)
}

fn anaconda_channel(name: &str) -> Result<Channel, String> {
    let url = Url::parse(&format!("{ANACONDA}{name}/")).map_err(describe)?;
    Ok(Channel::from_url(url))
}

fn describe(error: impl std::fmt::Display) -> String {
    error.to_string()
}
