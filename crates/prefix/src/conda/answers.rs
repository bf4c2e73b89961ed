//! Responsible for the files from which `conda` answers: lists, exports and information about an
//! environment.

use std::{collections::BTreeMap, path::Path};

use serde_json::json;

use super::CondaFacts;
use crate::{
    secrets::{url_without_secrets, without_secrets},
    shell::quote,
};

/// Beginning of files that `conda create --file` reads.
const EXPLICIT_HEADER: &str = "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n";
/// Version of conda that `conda info` reports.
const CONDA_VERSION: &str = "24.11.0";

/// Composes the texts of the files for one environment.
pub(super) struct Answers<'a> {
    facts: &'a CondaFacts<'a>,
    /// Path of the conda's root after mounting.
    root: String,
    /// Path of the environment after mounting.
    environment: String,
    name: String,
    platform: &'static str,
    channels: Vec<String>,
    /// Text that `list-packages` prints.
    listing: String,
}

/// Line of the list of packages.
struct Row<'a> {
    name: &'a str,
    version: &'a str,
    build: &'a str,
    /// Name of the channel; empty if it is not known.
    channel: &'a str,
}

impl Row<'_> {
    fn is_of_pip(&self) -> bool {
        self.channel == "pypi"
    }
}

impl<'a> Answers<'a> {
    pub(super) fn new(facts: &'a CondaFacts<'a>, root: &Path, environment: &Path) -> Self {
        let name = environment.file_name().unwrap_or_default();
        Self {
            facts,
            root: root.display().to_string(),
            environment: environment.display().to_string(),
            name: name.to_string_lossy().into_owned(),
            platform: facts.solution.subdir.as_str(),
            channels: channels(facts),
            listing: facts
                .solution
                .listing(facts.pip_packages, facts.replaced_by_pip),
        }
    }

    /// Returns the names of all files with their texts.
    pub(super) fn texts(&self) -> Vec<(&'static str, String)> {
        let environment = &self.environment;
        vec![
            (
                "list",
                format!(
                    "# packages in environment at {environment}:\n#\n{}",
                    self.listing
                ),
            ),
            ("explicit", self.explicit(false)),
            ("explicit-md5", self.explicit(true)),
            ("export", self.export()),
            ("json", self.list_json()),
            ("environment", self.environment_file(true)),
            ("environment-no-builds", self.environment_file(false)),
            ("environment-from-history", self.requests()),
            (
                "config",
                self.facts.settings.render(
                    &self.channels,
                    self.facts.spec.channel_priority(),
                    &self.root,
                    self.platform,
                ),
            ),
            ("activate-variables", self.variables("export ", true)),
            ("deactivate-variables", self.variables("unset ", false)),
            ("info", self.info()),
            ("info-json", self.info_json()),
        ]
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let lines = self.listing.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(Row {
                name: words.next()?,
                version: words.next()?,
                build: words.next()?,
                channel: words.next().unwrap_or_default(),
            })
        })
    }

    fn explicit(&self, md5: bool) -> String {
        let mut text = format!(
            "{EXPLICIT_HEADER}# platform: {}\n@EXPLICIT\n",
            self.platform
        );
        for record in &self.facts.solution.records {
            text.push_str(&url_without_secrets(&record.url));
            if let (true, Some(digest)) = (md5, &record.package_record.md5) {
                text.push_str(&format!("#{}", hex::encode(digest)));
            }
            text.push('\n');
        }
        text
    }

    fn export(&self) -> String {
        let mut text = format!("{EXPLICIT_HEADER}# platform: {}\n", self.platform);
        for row in self.rows() {
            text.push_str(&format!("{}={}={}\n", row.name, row.version, row.build));
        }
        text
    }

    fn list_json(&self) -> String {
        let rows = self.rows().map(|row| {
            json!({"name": row.name, "version": row.version, "build_string": row.build,
                "channel": row.channel,
                "dist_name": format!("{}-{}-{}", row.name, row.version, row.build),
                "platform": self.platform})
        });
        pretty(&json!(rows.collect::<Vec<_>>()))
    }

    /// Returns the text up to the dependencies of an environment file.
    fn environment_header(&self) -> String {
        format!(
            "name: {}\nchannels:\n{}dependencies:\n",
            self.name,
            items(&self.channels)
        )
    }

    fn environment_file(&self, builds: bool) -> String {
        let mut text = self.environment_header();
        for row in self.rows().filter(|row| !row.is_of_pip()) {
            let build = if builds {
                format!("={}", row.build)
            } else {
                String::new()
            };
            text.push_str(&format!("  - {}={}{build}\n", row.name, row.version));
        }
        let mut pip = self.rows().filter(Row::is_of_pip).peekable();
        if pip.peek().is_some() {
            text.push_str("  - pip:\n");
        }
        for row in pip {
            text.push_str(&format!("      - {}=={}\n", row.name, row.version));
        }
        text + &format!("prefix: {}\n", self.environment)
    }

    /// Returns an environment file with the packages that were requested.
    fn requests(&self) -> String {
        let asked = self.facts.spec.conda_specs();
        let asked: Vec<String> = asked
            .map(|written| without_secrets(written).into_owned())
            .collect();
        format!(
            "{}{}prefix: {}\n",
            self.environment_header(),
            items(&asked),
            self.environment
        )
    }

    /// Renders one line of shell for each of the environment's own variables.
    fn variables(&self, verb: &str, with_value: bool) -> String {
        let lines = self.facts.spec.variables().iter().map(|(name, value)| {
            if with_value {
                format!("{verb}{name}={}\n", quote(value))
            } else {
                format!("{verb}{name}\n")
            }
        });
        lines.collect()
    }

    fn info(&self) -> String {
        let Self {
            root,
            environment,
            name,
            platform,
            ..
        } = self;
        format!(
            "\n     active environment : {name}\n    active env location : {environment}\n          conda version : {CONDA_VERSION} (condense)\n       base environment : {root}  (read only)\n           channel URLs : {}\n          package cache : {root}/pkgs\n       envs directories : {root}/envs\n               platform : {platform}\n\n",
            self.channels.join("\n                          ")
        )
    }

    fn info_json(&self) -> String {
        let Self {
            root, environment, ..
        } = self;
        let info = BTreeMap::from([
            ("active_prefix", json!(environment)),
            ("active_prefix_name", json!(self.name)),
            ("channels", json!(self.channels)),
            ("conda_prefix", json!(root)),
            ("conda_version", json!(CONDA_VERSION)),
            ("default_prefix", json!(environment)),
            ("envs", json!([root, environment])),
            ("envs_dirs", json!([format!("{root}/envs")])),
            ("pkgs_dirs", json!([format!("{root}/pkgs")])),
            ("platform", json!(self.platform)),
            ("root_prefix", json!(root)),
        ]);
        pretty(&json!(info))
    }
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Writes the items of a list in YAML.
fn items(items: &[String]) -> String {
    let lines = items.iter().map(|item| format!("  - {item}\n"));
    lines.collect()
}

/// Returns the channels of the environment file or, if it names none, those of the packages.
fn channels(facts: &CondaFacts<'_>) -> Vec<String> {
    let asked = facts.spec.channels();
    if !asked.is_empty() {
        return asked;
    }
    let mut found = Vec::new();
    for record in &facts.solution.records {
        let channel = record
            .channel
            .as_deref()
            .map(|text| without_secrets(text).into_owned());
        found.extend(channel.filter(|channel| !found.contains(channel)));
    }
    found
}
