//! Responsible for what is known of sites: the built-in catalogue, and a site's own file in Tykky's form over it.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use serde::Deserialize;

const BUILT_IN: &str = include_str!("../base-images.toml");
/// Form of the catalogue that this program reads.
const SCHEMA: u32 = 1;
/// The site when none was detected or named.
const LOCAL: &str = "local";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    schema: u32,
    site: BTreeMap<String, Site>,
}

/// What a site decides for its users.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    /// Start of the mount point, absolute.
    pub installation_path: String,
    /// Default base image.
    pub container_src: Option<String>,
    /// Default scratch directory.
    pub build_tmpdir_base: Option<String>,
    /// Default cache directory.
    pub cache_dir: Option<String>,
    /// The runtime's executable, a path or a name.
    #[serde(skip)]
    pub singularity_executable_path: Option<String>,
    /// Keys of the site's own file that this version does not follow.
    #[serde(skip)]
    pub not_followed: Vec<String>,
}

/// Keys of Tykky's configuration that are followed.
const FOLLOWED: [&str; 4] = [
    "container_src",
    "installation_path",
    "build_tmpdir_base",
    "singularity_executable_path",
];

impl Site {
    /// The built-in site, with `overrides` (the file that `CW_GLOBAL_YAML` names) over it.
    ///
    /// # Errors
    /// When the file cannot be read or is not a mapping of sections.
    pub(crate) fn load(overrides: Option<&Path>) -> anyhow::Result<Self> {
        let mut site = built_in()?;
        if let Some(path) = overrides {
            let text = fs_err::read_to_string(path)?;
            site.apply(&text).with_context(|| {
                format!("cannot use `{}` as a site's configuration", path.display())
            })?;
        }
        Ok(site)
    }

    /// Sections in Tykky's order of strength: `force` wins over `defaults`. Values are data, never shell.
    fn apply(&mut self, text: &str) -> anyhow::Result<()> {
        let root: serde_yaml::Value = serde_yaml::from_str(text)?;
        let Some(root) = root.as_mapping() else {
            bail!("expected a mapping with `defaults:` or `force:`")
        };
        for section in ["defaults", "force"] {
            let Some(values) = root.get(section).filter(|value| !value.is_null()) else {
                continue;
            };
            let Some(values) = values.as_mapping() else {
                bail!("`{section}:` is not a mapping")
            };
            for (key, value) in values {
                let Some(key) = key.as_str() else { continue };
                if !FOLLOWED.contains(&key) {
                    self.not_followed.push(key.to_owned());
                    continue;
                }
                let Some(text) = value.as_str() else {
                    bail!("`{key}:` is not a text")
                };
                let text = text.to_owned();
                match key {
                    "container_src" => self.container_src = Some(text),
                    "installation_path" => self.installation_path = text,
                    "build_tmpdir_base" => self.build_tmpdir_base = Some(text),
                    _ => self.singularity_executable_path = Some(text),
                }
            }
        }
        for key in root.keys().filter_map(serde_yaml::Value::as_str) {
            if !matches!(key, "defaults" | "force") {
                self.not_followed.push(key.to_owned());
            }
        }
        if !self.installation_path.starts_with('/') || self.installation_path.len() < 2 {
            bail!(
                "`installation_path: {}` is not an absolute path",
                self.installation_path
            );
        }
        Ok(())
    }
}

fn built_in() -> anyhow::Result<Site> {
    let catalogue: Catalogue = toml::from_str(BUILT_IN).context("base-images.toml is not valid")?;
    if catalogue.schema != SCHEMA {
        bail!(
            "base-images.toml has schema {}, this program reads {SCHEMA}",
            catalogue.schema
        );
    }
    catalogue
        .site
        .get(LOCAL)
        .cloned()
        .with_context(|| format!("base-images.toml has no [site.{LOCAL}]"))
}

/// Replaces `${NAME}` and `$NAME` by the environment's values; unknown names vanish.
pub(crate) fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = if let Some(inner) = rest.strip_prefix('{') {
            inner.split_once('}').unwrap_or((inner, ""))
        } else {
            let end = rest
                .find(|c: char| !(c == '_' || c.is_ascii_alphanumeric()))
                .unwrap_or(rest.len());
            rest.split_at(end)
        };
        out.push_str(&variable(name).unwrap_or_default());
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_valid() {
        assert_eq!(built_in().unwrap().installation_path, "/LOCAL_TYKKY");
    }

    #[test]
    fn force_wins_over_defaults_and_unknown_keys_are_told() {
        let mut site = built_in().unwrap();
        site.apply("defaults:\n  container_src: /a.sif\n  num_cpus: 8\nforce:\n  container_src: /b.sif\nappends: {}\n").unwrap();
        assert_eq!(site.container_src.as_deref(), Some("/b.sif"));
        assert_eq!(site.not_followed, ["num_cpus", "appends"]);
    }

    #[test]
    fn a_file_that_is_no_configuration_is_refused() {
        let mut site = built_in().unwrap();
        for (text, why) in [
            ("just text", "expected a mapping"),
            ("defaults: [a]", "is not a mapping"),
            ("defaults: {container_src: [1]}", "is not a text"),
            (
                "force: {installation_path: relative}",
                "is not an absolute path",
            ),
        ] {
            let error = site.apply(text).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn variables_are_expanded_as_data() {
        let look = |name: &str| (name == "USER").then(|| "$(me)".to_owned());
        assert_eq!(
            expand("/tmp/$USER/${USER}x/$NONE.", look),
            "/tmp/$(me)/$(me)x/."
        );
        assert_eq!(expand("plain", look), "plain");
    }
}
