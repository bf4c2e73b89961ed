//! Responsible for the words behind `conda install`, `conda update` and `conda remove`.

use anyhow::{Context, bail};
use condense_prefix::{Change, ChannelPriority};

use condense_diagnostics::UserError;

/// The verbs whose words are read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Install,
    Update,
    Remove,
}

/// The request that the words make.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    verb: Verb,
    pub(super) packages: Vec<String>,
    channels: Vec<String>,
    /// The meaning of the order of channels for this request alone.
    pub(super) priority: Option<ChannelPriority>,
    /// Updates every package to the newest version.
    all: bool,
    /// Keeps the packages that depend on a removed one.
    pub(super) alone: bool,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Update => "update",
            Self::Remove => "remove",
        }
    }

    /// Returns the advice for an option that is not supported.
    fn instead(self, flag: &str) -> &'static str {
        match (self, flag) {
            (_, "--dry-run" | "-d") => {
                "leave it out: a build that fails or is ended leaves everything as it was"
            }
            (_, "--json") => "read `conda list --json` afterwards",
            (Self::Remove, "--all") => {
                "an environment goes with its installation: remove the directory"
            }
            (Self::Remove, _) => "remove packages by name: `conda remove -y NAME`",
            (Self::Update, _) => {
                "update packages by name, or everything: `conda update -y NAME`, `conda update -y --all`"
            }
            (Self::Install, _) => {
                "install packages by name, version and channel: `conda install -y -c CHANNEL NAME=VERSION`"
            }
        }
    }
}

impl Wish {
    /// Reads conda's own options. Those that change nothing here are accepted. Those that would
    /// change something are refused by name.
    pub(super) fn parse(verb: Verb, words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut wish = Self {
            verb,
            packages: Vec::new(),
            channels: Vec::new(),
            priority: None,
            all: false,
            alone: false,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) if word.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            match flag {
                "-y"
                | "--yes"
                | "-q"
                | "--quiet"
                | "-v"
                | "--verbose"
                | "-S"
                | "--satisfied-skip-solve"
                | "--freeze-installed"
                | "--no-update-deps"
                | "--no-update-dependencies"
                | "--no-pin"
                | "--no-default-packages"
                | "--copy"
                    if value.is_none() => {}
                "--strict-channel-priority" if value.is_none() => {
                    wish.priority = Some(ChannelPriority::Strict);
                }
                "--no-channel-priority" if value.is_none() => {
                    wish.priority = Some(ChannelPriority::Disabled);
                }
                "-c" | "--channel" => {
                    let channel = value.or_else(|| words.next());
                    wish.channels
                        .push(channel.with_context(|| format!("`{flag}` names no channel"))?);
                }
                "--solver" | "--experimental-solver" | "--repodata-fn" => {
                    // The solver is always the same, so the choice has no effect.
                    if value.is_none() {
                        words.next();
                    }
                }
                "--all" | "--update-all" if verb == Verb::Update && value.is_none() => {
                    wish.all = true;
                }
                "--force" | "--force-remove" | "--no-deps"
                    if verb == Verb::Remove && value.is_none() =>
                {
                    wish.alone = true;
                }
                _ if flag.starts_with("-c") && flag.len() > 2 && !flag.starts_with("--") => {
                    wish.channels.push(flag[2..].to_owned());
                }
                _ if flag.starts_with('-') => bail!(UserError::new(
                    format!("`conda {} {flag}` is not supported", verb.as_str()),
                    verb.instead(flag),
                )),
                _ => wish.packages.push(word),
            }
        }
        if wish.packages.is_empty() && !wish.all {
            bail!("`conda {}` names no package", verb.as_str());
        }
        Ok(wish)
    }

    pub(super) fn change(self) -> Change {
        Change {
            packages: self.packages,
            channels: self.channels,
            update: self.verb == Verb::Update,
            all: self.all,
            free: false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Wish> {
        Wish::parse(Verb::Install, line.split(' ').map(str::to_owned))
    }

    #[test]
    fn conda_s_options_are_taken_or_refused_by_name() {
        let wish =
            parse("-y numpy -c bioconda --channel=x -cy --solver classic pandas>=2 -q").unwrap();
        assert_eq!(wish.packages, ["numpy", "pandas>=2"]);
        assert_eq!(wish.channels, ["bioconda", "x", "y"]);
        assert_eq!(wish.priority, None);
        let wish = parse("-y x --strict-channel-priority").unwrap();
        assert_eq!(wish.priority, Some(ChannelPriority::Strict));
        for (line, words) in [
            (
                "--update-all -y",
                "`conda install --update-all` is not supported",
            ),
            ("--no-deps x", "`conda install --no-deps` is not supported"),
            ("-k x", "`conda install -k` is not supported"),
            (
                "--override-channels x",
                "`conda install --override-channels` is not supported",
            ),
            ("-y", "names no package"),
            ("x -c", "`-c` names no channel"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
