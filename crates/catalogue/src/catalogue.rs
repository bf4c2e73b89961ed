//! Responsible for reading the files of the catalogue: their format, their layers, and errors that
//! name the line.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::{
    find::{Query, find},
    known::{self, KnownImages},
    site::{Machine, Site, SiteEntry},
};
use condense_diagnostics::{UserError, did_you_mean};
use condense_env_vars::{self as env_vars, EnvVars};

const BUILT_IN: &str = include_str!("../../../base-images.toml");
const KNOWN: &str = include_str!("../../../known-images.toml");
/// Version of the catalogue's format that this program reads.
const SCHEMA: u32 = 1;
/// Name of the site that is used when no site was detected or named.
const LOCAL: &str = "local";
/// Path of a site's own catalogue.
const SITE_WIDE: &str = "/etc/condense/base-images.toml";
/// Path of the user's own catalogue below the configuration directory.
const OF_USER: &str = "condense/base-images.toml";

/// All layers of the catalogue, merged.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Base images by their names in the catalogue.
    pub images: BTreeMap<String, ImageEntry>,
    /// Images that sites offer with their modules, by the names of the modules. They are known on
    /// each machine.
    pub known: BTreeMap<String, ImageEntry>,
    sites: BTreeMap<String, SiteEntry>,
    /// Layers that are configurations in Tykky's format: path and text of each.
    configurations: Vec<(PathBuf, String)>,
}

/// Base image of the catalogue.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// Description of the image for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Patterns of paths, or references such as `docker://NAME`.
    pub location: Vec<String>,
    /// Version of ROCm in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rocm: Option<String>,
    /// Version of CUDA in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// Version of Python in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Further software of the image: name and version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, String>,
    /// Architecture of the image, as `uname -m` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Version of the C library in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glibc: Option<String>,
    /// MPI library of the image: `mpich` or `openmpi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mpi: Option<String>,
    /// Day after which the image may be gone, as YYYY-MM-DD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether the site no longer offers the image, so that its file may be gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
    /// Name of the image to use after that day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "schema")]
    _schema: u32,
    #[serde(default)]
    site: BTreeMap<String, SiteEntry>,
    #[serde(default)]
    image: BTreeMap<String, ImageEntry>,
    #[serde(default)]
    known: BTreeMap<String, KnownImages>,
}

/// Schema of a file. It is read first, because a newer schema may have changed everything else.
#[derive(Debug, Deserialize)]
struct SchemaOnly {
    schema: u32,
}

impl Catalogue {
    /// Reads the built-in layer, `/etc/condense/base-images.toml`, the file of
    /// `CONDENSE_CATALOGUE`, the user's file, `more`, and Tykky's file of `CW_GLOBAL_YAML`, in this
    /// order. `more` is the file of `--catalogue`.
    ///
    /// # Errors
    /// Returns an error if a layer cannot be read or parsed. An error of parsing names the file and
    /// the line.
    pub fn load(env_vars: &EnvVars, more: Option<&Path>) -> anyhow::Result<Self> {
        let mut catalogue = Self::built_in()?;
        let named = env_vars.get(env_vars::CONDENSE_CATALOGUE);
        let named = named.map(|path| env_vars.cwd.join(path));
        let own = env_vars.config_dir().map(|dir| dir.join(OF_USER));
        let optional = [Some(PathBuf::from(SITE_WIDE)), own];
        let [site_wide, own] = optional.map(|path| path.filter(|path| path.exists()));
        let more = more.map(|path| env_vars.cwd.join(path));
        for path in [site_wide, named, own, more].into_iter().flatten() {
            catalogue.add(&path)?;
        }
        if let Some(path) = env_vars.get(env_vars::CW_GLOBAL_YAML) {
            catalogue.add_configuration(&env_vars.cwd.join(path))?;
        }
        Ok(catalogue)
    }

    /// Reads the built-in layer only.
    pub fn built_in() -> anyhow::Result<Self> {
        let mut catalogue = Self::default();
        catalogue.add_toml(KNOWN, Path::new("known-images.toml"))?;
        catalogue.add_toml(BUILT_IN, Path::new("base-images.toml"))?;
        Ok(catalogue)
    }

    fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => self.add_systems(path),
            Some("yml" | "yaml") => self.add_configuration(path),
            _ => self.add_toml(
                &condense_input::read_named_to_string(path, condense_input::TEXT_MOST)?,
                path,
            ),
        }
    }

    fn add_toml(&mut self, text: &str, path: &Path) -> anyhow::Result<()> {
        let refuse = |error: &toml::de::Error| {
            let before = text.get(..error.span().map_or(0, |span| span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let message = error.message().replace('\n', " ");
            let hint = hint_about_field(&message);
            anyhow::Error::new(UserError::in_file(path, line, message.trim(), hint))
        };
        let SchemaOnly { schema } = toml::from_str(text).map_err(|error| refuse(&error))?;
        if schema != SCHEMA {
            bail!(UserError::new(
                format!("{}: schema {schema} is not known", path.display()),
                format!("this version of condense reads schema {SCHEMA}"),
            ));
        }
        let document: Document = toml::from_str(text).map_err(|error| refuse(&error))?;
        for (name, entry) in document.site {
            let entry = entry
                .check()
                .with_context(|| format!("{}: [site.{name}]", path.display()))?;
            self.sites.entry(name).or_default().override_with(entry);
        }
        self.images.extend(document.image);
        let known = document.known.into_values();
        self.known.extend(known.flat_map(KnownImages::into_entries));
        Ok(())
    }

    /// Adds the systems of cotainr's `systems.json` as images. The format is `{"NAME":
    /// {"base-image": "REF"}}`.
    fn add_systems(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = condense_input::read_named_to_string(path, condense_input::TEXT_MOST)?;
        let systems: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
            serde_json::from_str(&text)
                .map_err(|error| UserError::in_file(path, error.line(), &error, None))?;
        for (name, values) in systems {
            let reference = values.get("base-image").and_then(|value| value.as_str());
            let Some(reference) = reference else {
                bail!(
                    "{}: `{name}` is missing the argument base-image",
                    path.display()
                );
            };
            let entry = ImageEntry {
                description: Some(format!("of {}", path.display())),
                location: vec![reference.to_owned()],
                ..ImageEntry::default()
            };
            self.images.insert(name, entry);
        }
        Ok(())
    }

    /// Reads a configuration in Tykky's format as one more layer, which overrides all layers before
    /// it.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn add_configuration(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = condense_input::read_named_to_string(path, condense_input::TEXT_MOST)?;
        self.add_configuration_text(path, text);
        Ok(())
    }

    /// Adds `text` as one more layer in Tykky's format. `path` is the file of the text and is named
    /// in errors.
    pub fn add_configuration_text(&mut self, path: &Path, text: String) {
        self.configurations.push((path.to_owned(), text));
    }

    /// Returns the site with the name `named`; without a name, the site that is detected on this
    /// machine, else `local`.
    ///
    /// # Errors
    /// Returns an error if the catalogue has no site of this name, or if a configuration of the
    /// site is invalid.
    pub fn site(&self, named: Option<&str>, machine: &Machine) -> anyhow::Result<Site> {
        let name = match named {
            Some(name) if self.sites.contains_key(name) => name.to_owned(),
            Some(name) => {
                let known = format!("known sites: {}", self.site_names().join(", "));
                let similar = did_you_mean(name, self.site_names());
                bail!(UserError::new(
                    format!("`{name}` is not a site of the catalogue"),
                    similar.map_or(known.clone(), |similar| format!("{similar} {known}")),
                ))
            }
            None => self.detect(machine),
        };
        let entry = self.resolve(&name)?;
        let mut site = entry.into_site(&name)?;
        for force in [false, true] {
            for (path, text) in &self.configurations {
                site.apply(text, force).with_context(|| {
                    format!("cannot use `{}` as a site's configuration", path.display())
                })?;
            }
        }
        Ok(site)
    }

    /// Resolves the user's name of a base image. The name of an image of the catalogue becomes the
    /// path of its newest file, or its reference; any other text is returned unchanged. The second
    /// value is a note for the user if the image may be gone after a certain day.
    ///
    /// # Errors
    /// Returns an error if an image of the catalogue has neither a file on this machine nor a
    /// reference.
    pub fn resolve_image(
        &self,
        words: &str,
        site: &Site,
        env_vars: &EnvVars,
    ) -> anyhow::Result<(String, Option<String>)> {
        // A file with this name takes precedence over an image of the catalogue.
        if env_vars.cwd.join(words).exists() {
            return Ok((words.to_owned(), None));
        }
        let named = self.images.get(words);
        let Some(entry) = named.or_else(|| known::named(&self.known, words)) else {
            return Ok((words.to_owned(), None));
        };
        let all = find(self, site, &Query::default(), env_vars);
        let file = known::file_name(entry).filter(|_| named.is_none());
        let mut candidates = all.iter().filter(|found| match file {
            Some(file) => Path::new(&found.reference).ends_with(file),
            None => found.name == words,
        });
        let chosen = candidates.find(|found| found.here || found.reference.contains("://"));
        let instead = entry.replacement.as_ref();
        let Some(found) = chosen else {
            let hint = match instead {
                Some(name) => format!("take `{name}` instead"),
                None => "`condense base ls` shows the images that are here".to_owned(),
            };
            bail!(UserError::new(
                format!(
                    "the base image `{words}` of the catalogue is not here: there is no {}",
                    entry.location.join(", ")
                ),
                hint,
            ));
        };
        let note = entry.until.as_ref().map(|day| match instead {
            Some(name) => format!("`{words}` may be gone after {day}; `{name}` replaces it"),
            None => format!("`{words}` may be gone after {day}: `--copy-base` keeps a copy"),
        });
        Ok((found.reference.clone(), note))
    }

    /// Returns the path of a known image by one of its names: its module, or its file.
    pub fn known_location(&self, words: &str) -> Option<&str> {
        let entry = known::named(&self.known, words)?;
        entry.location.first().map(String::as_str)
    }

    /// Returns the names and descriptions of all sites.
    pub fn sites(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sites
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.description.as_deref().unwrap_or("")))
    }

    fn site_names(&self) -> Vec<&str> {
        self.sites.keys().map(String::as_str).collect()
    }

    fn detect(&self, machine: &Machine) -> String {
        self.sites
            .iter()
            .filter_map(|(name, entry)| Some((entry.matching_words(machine)?, name)))
            .max_by_key(|(words, _)| *words)
            .map_or_else(|| LOCAL.to_owned(), |(_, name)| name.clone())
    }

    /// Returns the entry of a site, with the values that it inherits from the site in its key
    /// `like`.
    fn resolve(&self, name: &str) -> anyhow::Result<SiteEntry> {
        let mut chain = vec![name];
        while let Some(like) = self
            .sites
            .get(chain[chain.len() - 1])
            .and_then(|entry| entry.like.as_deref())
        {
            if chain.contains(&like) || !self.sites.contains_key(like) {
                bail!("[site.{name}] is like `{like}`, which leads nowhere");
            }
            chain.push(like);
        }
        let mut entry = SiteEntry::default();
        for name in chain.into_iter().rev() {
            entry.override_with(self.sites.get(name).cloned().unwrap_or_default());
        }
        Ok(entry)
    }
}

/// Returns the hint about the key that is most similar to an unknown one, from serde's message
/// "unknown field `a`, expected one of `b`, `c`".
fn hint_about_field(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field `")?;
    let mut quoted = rest.split('`').step_by(2);
    let given = quoted.next()?;
    did_you_mean(given, quoted)
}

#[cfg(test)]
mod tests;
