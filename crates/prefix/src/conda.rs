//! Responsible for the `conda` command of an environment: its scripts, and the files from which it
//! answers.

mod settings;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    error::Error,
    secrets::{url_without_secrets, without_secrets},
    solve::Solution,
    spec::EnvironmentSpec,
    target::Place,
};
use condense_within::Within;

pub use settings::CondaSettings;

const CONDA_SH: &str = include_str!("conda/conda.sh");
const HOOK_SH: &str = include_str!("conda/hook.sh");

/// Contents of an environment that its `conda` command reports.
#[derive(Debug)]
pub struct CondaFacts<'a> {
    /// Packages installed by conda.
    pub solution: &'a Solution,
    /// Requested packages and channels.
    pub spec: &'a EnvironmentSpec,
    /// Names and versions of the packages installed by pip.
    pub pip_packages: &'a [(String, String)],
    /// Names of conda packages whose Python package pip has replaced.
    pub replaced_by_pip: &'a [String],
    /// Settings that the build follows.
    pub settings: &'a CondaSettings,
}

impl CondaFacts<'_> {
    /// Writes `conda` and `mamba` to their paths in a Miniforge, and the files from which they
    /// answer. Earlier files are replaced.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a file cannot be written, and [`Error::LeadsOut`] if a link leads
    /// out of the environment.
    pub fn write(&self, place: &Place) -> Result<(), Error> {
        let Some(root) = root_of(place) else {
            return Ok(());
        };
        let mounted = place.mount_point.join(&root);
        let within = place.open_root()?;
        within.make_dir(&root)?;
        let within = within.dir(&root)?;
        for dir in ["bin", "condabin", "etc/profile.d", ".condense"] {
            within.make_dir(dir)?;
        }
        // An environment with a conda of its own, such as one made by Tykky, keeps its conda.
        if !within.is_dir("conda-meta") {
            write_scripts(&within, place)?;
        }
        for (name, text) in self.texts(&mounted, &place.mounted_env()) {
            if !text.is_empty() {
                // A process that reads the file at the same time gets either the old or the new
                // text.
                within.write(Path::new(".condense").join(name), text)?;
            }
        }
        Ok(())
    }

    fn texts(&self, root: &Path, environment: &Path) -> Vec<(&'static str, String)> {
        let name = environment.file_name().unwrap_or_default();
        let (name, environment) = (name.to_string_lossy(), environment.display());
        let listing = self
            .solution
            .listing(self.pip_packages, self.replaced_by_pip);
        let rows: Vec<Vec<&str>> = listing
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let rows = || rows.iter().filter(|row| row.len() >= 3);
        let channel = |row: &[&str]| row.get(3).copied().unwrap_or_default().to_owned();
        let of_pip = |row: &&Vec<&str>| row.get(3) == Some(&"pypi");
        let platform = self.solution.subdir.as_str();
        let explicit = |md5: bool| {
            let mut text = format!(
                "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n# platform: {platform}\n@EXPLICIT\n"
            );
            for record in &self.solution.records {
                text.push_str(&url_without_secrets(&record.url));
                if let (true, Some(digest)) = (md5, &record.package_record.md5) {
                    text.push_str(&format!("#{}", hex::encode(digest)));
                }
                text.push('\n');
            }
            text
        };
        let channels = self.channels();
        let list_of = |items: &[String]| -> String {
            items
                .iter()
                .fold(String::new(), |text, item| text + "  - " + item + "\n")
        };
        let exported = |builds: bool| {
            let mut text = format!(
                "name: {name}\nchannels:\n{}dependencies:\n",
                list_of(&channels)
            );
            for row in rows().filter(|row| !of_pip(row)) {
                let build = if builds {
                    format!("={}", row[2])
                } else {
                    String::new()
                };
                text.push_str(&format!("  - {}={}{build}\n", row[0], row[1]));
            }
            let mut pip = rows().filter(of_pip).peekable();
            if pip.peek().is_some() {
                text.push_str("  - pip:\n");
            }
            for row in pip {
                text.push_str(&format!("      - {}=={}\n", row[0], row[1]));
            }
            text + &format!("prefix: {environment}\n")
        };
        let asked: Vec<String> = self
            .spec
            .conda_specs()
            .map(|written| without_secrets(written).into_owned())
            .collect();
        let history = format!(
            "name: {name}\nchannels:\n{}dependencies:\n{}prefix: {environment}\n",
            list_of(&channels),
            list_of(&asked)
        );
        let json_rows: Vec<_> = rows()
            .map(|row| {
                json!({"name": row[0], "version": row[1], "build_string": row[2], "channel": channel(row),
                    "dist_name": format!("{}-{}-{}", row[0], row[1], row[2]), "platform": platform})
            })
            .collect();
        let root = root.display();
        let info = BTreeMap::from([
            ("active_prefix", json!(environment.to_string())),
            ("active_prefix_name", json!(name)),
            ("channels", json!(channels)),
            ("conda_prefix", json!(root.to_string())),
            ("conda_version", json!("24.11.0")),
            ("default_prefix", json!(environment.to_string())),
            ("envs", json!([root.to_string(), environment.to_string()])),
            ("envs_dirs", json!([format!("{root}/envs")])),
            ("pkgs_dirs", json!([format!("{root}/pkgs")])),
            ("platform", json!(platform)),
            ("root_prefix", json!(root.to_string())),
        ]);
        let pretty = |value: &serde_json::Value| format!("{value:#}\n");
        let exported_rows: Vec<String> = rows().map(|row| row[..3].join("=") + "\n").collect();
        let exported_rows = exported_rows.concat();
        vec![
            (
                "list",
                format!("# packages in environment at {environment}:\n#\n{listing}"),
            ),
            ("explicit", explicit(false)),
            ("explicit-md5", explicit(true)),
            (
                "export",
                format!(
                    "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n# platform: {platform}\n{exported_rows}"
                ),
            ),
            ("json", pretty(&json!(json_rows))),
            ("environment", exported(true)),
            ("environment-no-builds", exported(false)),
            ("environment-from-history", history),
            (
                "config",
                self.settings.render(
                    &channels,
                    self.spec.channel_priority(),
                    &root.to_string(),
                    platform,
                ),
            ),
            ("activate-variables", self.variables("export ", true)),
            ("deactivate-variables", self.variables("unset ", false)),
            (
                "info",
                format!(
                    "\n     active environment : {name}\n    active env location : {environment}\n          conda version : 24.11.0 (condense)\n       base environment : {root}  (read only)\n           channel URLs : {}\n          package cache : {root}/pkgs\n       envs directories : {root}/envs\n               platform : {platform}\n\n",
                    channels.join("\n                          ")
                ),
            ),
            ("info-json", pretty(&json!(info))),
        ]
    }

    /// Renders one line of shell for each of the environment's own variables.
    fn variables(&self, verb: &str, with_value: bool) -> String {
        let lines = self.spec.variables().iter().map(|(name, value)| {
            if with_value {
                format!("{verb}{name}={}\n", quote(Path::new(value)))
            } else {
                format!("{verb}{name}\n")
            }
        });
        lines.collect()
    }

    /// Returns the channels of the environment file or, if it names none, those of the packages.
    fn channels(&self) -> Vec<String> {
        let asked = self.spec.channels();
        if !asked.is_empty() {
            return asked;
        }
        let mut found = Vec::new();
        for record in &self.solution.records {
            let channel = record
                .channel
                .as_deref()
                .map(|text| without_secrets(text).into_owned());
            found.extend(channel.filter(|channel| !found.contains(channel)));
        }
        found
    }
}

/// Returns the directory of a conda below the root of a place: `miniforge` for
/// `miniforge/envs/env1`, and the root itself for `envs/NAME`. Returns `None` for environments that
/// are not in an `envs` directory.
pub(crate) fn root_of(place: &Place) -> Option<PathBuf> {
    let environments = place.environment.parent()?;
    let root = environments.parent()?;
    environments.ends_with("envs").then(|| root.to_owned())
}

impl Place {
    /// Returns the path of the environment's `conda` command in the container, or `None` for an
    /// environment that is not in an `envs` directory.
    pub fn conda_command(&self) -> Option<PathBuf> {
        Some(self.mount_point.join(root_of(self)?).join("bin/conda"))
    }
}

/// Writes `conda` and `mamba`, the file that shells source, and the files that older scripts
/// source.
fn write_scripts(within: &Within, place: &Place) -> Result<(), Error> {
    let hook = hook_for(place);
    let source = |verb: &str| {
        format!("# Sourced, as conda's own; written by condense.\n{hook}conda {verb} \"$@\"\n")
    };
    for (name, text) in [
        ("bin/conda", script_for(place)),
        ("bin/activate", source("activate")),
        ("bin/deactivate", source("deactivate")),
    ] {
        within.write_program(name, text)?;
    }
    within.write("etc/profile.d/conda.sh", &hook)?;
    for (name, target) in [
        ("bin/mamba", "conda"),
        ("condabin/conda", "../bin/conda"),
        ("condabin/mamba", "../bin/conda"),
        ("condabin/activate", "../bin/activate"),
        ("condabin/deactivate", "../bin/deactivate"),
        ("etc/profile.d/mamba.sh", "conda.sh"),
    ] {
        // The scripts are written again when packages have changed. The links stay the same.
        if !within.has(name) {
            within.link(target, name)?;
        }
    }
    Ok(())
}

fn hook_for(place: &Place) -> String {
    let root = place.mount_point.join(root_of(place).unwrap_or_default());
    let name = place.environment.file_name().unwrap_or_default();
    HOOK_SH
        .replace("@ROOT@", &quote(&root))
        .replace("@NAME@", &quote(Path::new(name)))
}

fn script_for(place: &Place) -> String {
    let name = place.environment.file_name().unwrap_or_default();
    CONDA_SH
        .replace("@NAME@", &quote(Path::new(name)))
        .replace("@QUEUE@", &quote(&place.mounted_build_dir().join("conda")))
}

fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_environments_where_conda_has_them_have_a_conda() {
        let place = |environment: &str| Place {
            root: "/scratch".into(),
            mount_point: "/M".into(),
            environment: environment.into(),
            packages: "/scratch/packages".into(),
        };
        assert_eq!(
            root_of(&place("miniforge/envs/env1")),
            Some("miniforge".into())
        );
        assert_eq!(root_of(&place("envs/other")), Some("".into()));
        assert_eq!(
            place("envs/other").conda_command(),
            Some("/M/bin/conda".into())
        );
        for other in ["env1", "miniforge/env1", "venvs/other"] {
            assert_eq!(root_of(&place(other)), None);
        }
        assert_eq!(root_of(&place("")), None);
        let script = script_for(&place("envs/it's"));
        assert!(script.contains("name='it'\\''s' queue='/M/.condense-build/conda'\n"));
        assert!(!script.contains("@NAME") && !script.contains("@QUEUE"));
    }
}
