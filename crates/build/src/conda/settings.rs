//! Responsible for `conda config` in build steps. A setting holds for the rest of the build.

use anyhow::{Context, bail};
use condense_prefix::{ChannelPriority, EnvironmentSpec};

use condense_diagnostics::UserError;

/// Keys whose values change nothing in a build.
const WITHOUT_EFFECT: [&str; 18] = [
    "always_copy",
    "always_yes",
    "anaconda_upload",
    "auto_activate",
    "auto_activate_base",
    "auto_update_conda",
    "changeps1",
    "env_prompt",
    "experimental_solver",
    "extra_safety_checks",
    "notify_outdated_conda",
    "number_channel_notices",
    "quiet",
    "report_errors",
    "safety_checks",
    "show_channel_urls",
    "solver",
    "verbosity",
];

/// The settings of one command line in their order: what to do, to which key, with which value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Setting(Vec<(Deed, String, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    First,
    Last,
    Remove,
    Set,
}

impl Setting {
    /// Reads the words after `conda config`.
    ///
    /// # Errors
    /// Returns an error that names an option or a key that is not supported.
    pub(super) fn parse(words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let deed = match word.as_str() {
                // These options change which file conda writes, how much it says, or whether it
                // asks. The setting holds for this build in any case.
                "--env" | "--system" | "-y" | "--yes" | "-q" | "--quiet" | "-v" | "--verbose"
                | "--force" | "-f" => continue,
                "--file" => {
                    words.next();
                    continue;
                }
                "--add" | "--prepend" => Deed::First,
                "--append" => Deed::Last,
                "--remove" => Deed::Remove,
                "--set" => Deed::Set,
                _ if word.starts_with("--file=") => continue,
                _ => bail!(refused(&word)),
            };
            let mut next = || {
                let next = words.next();
                next.with_context(|| format!("`conda config {word}` names no key and value"))
            };
            let (key, value) = (next()?, next()?);
            match (deed, key.as_str()) {
                (Deed::Set, "channel_priority") if ChannelPriority::parse(&value).is_some() => {}
                (Deed::Set, "channel_priority") => bail!(UserError::new(
                    format!("`conda config`: `{value}` is no channel_priority"),
                    "one of strict, flexible, disabled",
                )),
                (Deed::Set, key) if WITHOUT_EFFECT.contains(&key) => {}
                (Deed::First | Deed::Last | Deed::Remove, "channels") => {}
                _ => bail!(refused(&format!("{word} {key}"))),
            }
            found.0.push((deed, key, value));
        }
        Ok(found)
    }

    /// Applies the settings to a request.
    ///
    /// # Errors
    /// Returns an error if a channel is invalid, or if a channel to remove is not in the list.
    pub(super) fn apply(
        &self,
        spec: &mut EnvironmentSpec,
        urls: &dyn Fn(&str) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<()> {
        for (deed, key, value) in &self.0 {
            match deed {
                Deed::Set => {
                    let priority = ChannelPriority::parse(value);
                    if let (Some(priority), "channel_priority") = (priority, key.as_str()) {
                        spec.set_channel_priority(priority);
                    }
                }
                Deed::First => {
                    for url in urls(value)?.iter().rev() {
                        spec.put_channel(url, true)?;
                    }
                }
                Deed::Last => {
                    for url in urls(value)? {
                        spec.put_channel(&url, false)?;
                    }
                }
                Deed::Remove => {
                    let mut gone = false;
                    for url in urls(value)? {
                        gone |= spec.remove_channel(&url)?;
                    }
                    if !gone {
                        bail!(
                            "CondaKeyError: 'channels': `{value}` is not in the list of channels"
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

fn refused(what: &str) -> UserError {
    UserError::new(
        format!("`conda config {what}` is not supported"),
        "in a build, `--add`, `--append`, `--prepend` and `--remove channels NAME` and `--set channel_priority` are followed; \
         the network is set outside: see `CW_ENABLE_CONDARC` and the configuration file in README",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    fn set(spec: &mut EnvironmentSpec, line: &str) -> String {
        let words = line.split(' ').map(str::to_owned);
        let done = Setting::parse(words)
            .and_then(|setting| setting.apply(spec, &|url| Ok(vec![url.to_owned()])));
        done.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn channels_and_their_priority_are_followed_and_all_else_is_refused_by_name() {
        let text = "channels: [conda-forge, https://a.org/c]\ndependencies: [x]\n";
        let mut spec = EnvironmentSpec::parse(text, Path::new("env.yml"), Path::new("/")).unwrap();
        for line in [
            "--add channels bioconda",
            "--env --append channels lab",
            "--add channels conda-forge --set always_yes yes",
            "--remove channels https://a.org/c",
            "--set channel_priority strict",
            "--set channel_priority True",
        ] {
            assert_eq!(set(&mut spec, line), "", "{line}");
        }
        let names: Vec<String> = spec.channels();
        let names: Vec<&str> = names
            .iter()
            .filter_map(|url| url.trim_end_matches('/').rsplit('/').next())
            .collect();
        assert_eq!(names, ["conda-forge", "bioconda", "lab"]);
        assert_eq!(spec.channel_priority(), ChannelPriority::Flexible);
        for (line, words) in [
            (
                "--set ssl_verify no",
                "`conda config --set ssl_verify` is not supported",
            ),
            (
                "--add pinned_packages x",
                "`conda config --add pinned_packages` is not",
            ),
            ("--set channel_priority x", "`x` is no channel_priority"),
            ("--remove channels defaults", "CondaKeyError"),
            ("--add channels", "names no key and value"),
            (
                "--remove-key channels",
                "`conda config --remove-key` is not supported",
            ),
        ] {
            let said = set(&mut spec, line);
            assert!(said.contains(words), "{line}: {said}");
        }
    }
}
