//! Responsible for the keys of the configuration file: their names, their variables and the values
//! that they take.

use anyhow::bail;
use condense_catalogue::{Machine, Site};
use condense_diagnostics::{UserError, closest};
use condense_env_vars::{self as env_vars, EnvVars};
use condense_image::Compression;
use condense_oci::Reference;
use condense_prefix::{EnvironmentSpec, NetworkSettings, SpecContext};
use toml_edit::{Array, Value};

use super::Settings;
use crate::cli::{build::clean, registries::size, site::site_path};

/// Table of mirrors, whose keys are addresses of channels.
const MIRRORS: &str = "mirrors";

/// Entry of the table of keys.
pub(super) struct Entry {
    name: &'static str,
    variable: Option<&'static str>,
    kind: Kind,
    about: &'static str,
}

/// Values that a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    BaseImage,
    Site,
    Directory,
    Size,
    Channels,
    Compression,
    /// Number, with the smallest one that is valid.
    Number(u16),
    Mirrors,
}

impl Entry {
    /// Returns the name of the key and its explanation.
    pub(super) fn described(&self) -> (&'static str, &'static str) {
        (self.name, self.about)
    }
}

const fn entry(
    name: &'static str,
    variable: Option<&'static str>,
    kind: Kind,
    about: &'static str,
) -> Entry {
    Entry {
        name,
        variable,
        kind,
        about,
    }
}

/// All keys but those of mirrors.
pub(super) const KEYS: [Entry; 11] = [
    entry(
        "base-image",
        Some(env_vars::CONDENSE_BASE_IMAGE),
        Kind::BaseImage,
        "base image if `--base-image` is not given",
    ),
    entry(
        "site",
        Some(env_vars::CONDENSE_SITE),
        Kind::Site,
        "site whose rules are followed, instead of the detected one",
    ),
    entry(
        "cache-dir",
        Some(env_vars::CONDENSE_CACHE_DIR),
        Kind::Directory,
        "directory of package archives, indices and base images",
    ),
    entry(
        "cache-size",
        Some(env_vars::CONDENSE_CACHE_SIZE),
        Kind::Size,
        "maximum size of the cache of base images",
    ),
    entry(
        "tmpdir",
        Some(env_vars::CW_BUILD_TMPDIR),
        Kind::Directory,
        "parent of the scratch directories of builds",
    ),
    entry(
        "channels",
        Some(env_vars::CONDENSE_CHANNELS),
        Kind::Channels,
        "channels of packages that are named without a channel",
    ),
    entry(
        "compression",
        Some(env_vars::CONDENSE_COMPRESSION),
        Kind::Compression,
        "compression of images if `--compression` is not given",
    ),
    entry(
        "concurrency.downloads",
        Some(env_vars::CONDENSE_JOBS),
        Kind::Number(1),
        "number of parallel downloads",
    ),
    entry(
        "network.retries",
        None,
        Kind::Number(0),
        "number of times that a failed request is repeated",
    ),
    entry(
        "network.connect-timeout",
        None,
        Kind::Number(1),
        "seconds that a connection may take",
    ),
    entry(
        "network.read-timeout",
        None,
        Kind::Number(1),
        "seconds without data after which a request is repeated",
    ),
];

/// Key of the configuration file.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Name with dots between its parts.
    pub(super) name: String,
    /// Parts of the name: tables, then the key in the last of them.
    pub(super) path: Vec<String>,
    /// Environment variable that counts before the file.
    pub(super) variable: Option<&'static str>,
    /// Meaning of the value.
    pub(super) about: &'static str,
    kind: Kind,
}

impl From<&Entry> for Key {
    fn from(entry: &Entry) -> Self {
        Self {
            name: entry.name.to_owned(),
            path: entry.name.split('.').map(str::to_owned).collect(),
            variable: entry.variable,
            about: entry.about,
            kind: entry.kind,
        }
    }
}

/// Parses the name of a key, for clap.
pub(super) fn known_key(text: &str) -> Result<Key, String> {
    let url = text
        .strip_prefix(MIRRORS)
        .and_then(|rest| rest.strip_prefix('.'));
    if let Some(url) = url.filter(|url| !url.is_empty()) {
        return Ok(Key::mirrors_of(url.trim_matches('"')));
    }
    if let Some(entry) = KEYS.iter().find(|entry| entry.name == text) {
        return Ok(entry.into());
    }
    let mut names = KEYS.iter().map(|entry| entry.name);
    // The last part of a name is what users remember: `retries` for `network.retries`.
    let by_end = names
        .clone()
        .find(|name| name.rsplit('.').next() == Some(text));
    let similar = by_end.or_else(|| closest(text, names.by_ref()));
    Err(match similar {
        Some(similar) => format!("there is no such key; did you mean `{similar}`?"),
        None => "there is no such key; `condense config list` shows all".to_owned(),
    })
}

impl Key {
    /// Returns the key of a channel's mirrors.
    pub(super) fn mirrors_of(url: &str) -> Self {
        Self {
            name: format!("{MIRRORS}.{url}"),
            path: vec![MIRRORS.to_owned(), url.to_owned()],
            variable: None,
            about: "mirrors of the channel, in the order in which they are tried",
            kind: Kind::Mirrors,
        }
    }

    /// Returns whether the key takes several values.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Channels | Kind::Mirrors)
    }

    /// Checks the values, and returns them as they are written into the file.
    ///
    /// # Errors
    /// Returns an error if there are too many values, or if one is not valid.
    pub(super) fn checked(
        &self,
        values: &[String],
        settings: &Settings,
        env_vars: &EnvVars,
    ) -> anyhow::Result<Vec<String>> {
        if values.len() > 1 && !self.is_list() {
            bail!(UserError::new(
                format!("`{}` takes one value", self.name),
                "write a value with blanks in quotes",
            ));
        }
        let first = &values[0];
        match self.kind {
            Kind::BaseImage => return Ok(vec![base_image(first, settings, env_vars)?]),
            Kind::Site => {
                let machine = Machine::this(env_vars);
                settings.catalogue.site(Some(first), &machine)?;
            }
            Kind::Directory => {
                let path = match (first.strip_prefix("~/"), env_vars.home()) {
                    (Some(below), Some(home)) => home.join(below),
                    _ => env_vars.cwd.join(first),
                };
                return Ok(vec![clean(&path).display().to_string()]);
            }
            Kind::Size if size(first).is_none() => {
                let hint = "write bytes, or a number with K, M or G: `20G`";
                bail!(self.refuse(first, "it is not a size", hint));
            }
            Kind::Channels => {
                let context = SpecContext::default();
                EnvironmentSpec::of_channels(values, &env_vars.cwd, &context)?;
            }
            Kind::Compression => {
                if let Err(problem) = first.parse::<Compression>() {
                    let hint = "write a codec with a level: zstd:3, gzip:6, xz, lz4 or none";
                    bail!(self.refuse(first, &problem.to_string(), hint));
                }
            }
            Kind::Number(least) if first.parse().is_ok_and(|number: u16| number >= least) => {}
            Kind::Number(least) => {
                let hint = format!("write a number from {least} to {}", u16::MAX);
                bail!(self.refuse(first, "it is not such a number", &hint));
            }
            // The addresses are checked with the whole file.
            Kind::Size | Kind::Mirrors => {}
        }
        Ok(values.to_vec())
    }

    fn refuse(&self, value: &str, problem: &str, hint: &str) -> UserError {
        let text = format!("`{}` cannot be `{value}`: {problem}", self.name);
        UserError::new(text, hint)
    }

    /// Returns checked values in TOML.
    pub(super) fn as_toml(&self, values: &[String]) -> Value {
        match self.kind {
            Kind::Channels | Kind::Mirrors => {
                let list: Array = values.iter().map(String::as_str).collect();
                Value::Array(list)
            }
            Kind::Number(_) => values[0].parse::<i64>().unwrap_or_default().into(),
            _ => values[0].clone().into(),
        }
    }

    /// Returns the value that the site gives.
    pub(super) fn of_site(&self, site: &Site) -> Option<String> {
        match self.name.as_str() {
            "base-image" => site.container_src.clone(),
            "tmpdir" => site.build_tmpdir_base.clone(),
            "cache-dir" => site.cache_dir.clone(),
            "compression" => site.compressions().next().map(|one| one.to_string()),
            _ => None,
        }
    }

    /// Returns the value that counts if nothing else gives one.
    pub(super) fn built_in(&self, env_vars: &EnvVars, site: &Site) -> Option<String> {
        let network = NetworkSettings::new("/");
        Some(match self.name.as_str() {
            "site" => site.name.clone(),
            "cache-dir" => {
                let of_site = site_path(site.cache_dir.as_ref(), env_vars);
                env_vars.cache_dir(of_site).display().to_string()
            }
            "cache-size" => "20G".to_owned(),
            "tmpdir" => env_vars.get(env_vars::TMPDIR).unwrap_or("/tmp").to_owned(),
            "channels" => "conda-forge".to_owned(),
            "compression" => Compression::default().to_string(),
            "concurrency.downloads" => NetworkSettings::DOWNLOADS.to_string(),
            "network.retries" => NetworkSettings::RETRIES.to_string(),
            "network.connect-timeout" => network.connect_timeout.as_secs().to_string(),
            "network.read-timeout" => network.read_timeout.as_secs().to_string(),
            _ => return None,
        })
    }
}

/// Returns a base image as it is written into the file: a path becomes absolute.
fn base_image(words: &str, settings: &Settings, env_vars: &EnvVars) -> anyhow::Result<String> {
    if let Reference::Image(source) = Reference::parse(words)? {
        return Ok(Reference::Image(source).absolute(&env_vars.cwd).to_string());
    }
    let path = env_vars.cwd.join(words);
    if path.exists() {
        // The name itself may be a link that a site moves to newer images, so it stays.
        let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
        let path = dir
            .zip(path.file_name())
            .map_or(path.clone(), |(dir, name)| dir.join(name));
        return Ok(path.display().to_string());
    }
    if words.contains('/') {
        bail!(UserError::new(
            format!("there is no base image `{words}`"),
            "name a .sif file, docker://NAME, or an image of the catalogue (`condense base ls`)",
        ));
    }
    let catalogue = &settings.catalogue;
    catalogue.resolve_image(words, &settings.site, env_vars)?;
    Ok(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::known_key;

    #[test]
    fn keys_are_found_or_suggested() {
        for name in ["base-image", "network.retries", "mirrors.https://x/y"] {
            assert_eq!(known_key(name).expect(name).name, name);
        }
        for (name, meant) in [
            ("base_image", "base-image"),
            ("retries", "network.retries"),
            ("chanels", "channels"),
        ] {
            let said = known_key(name).expect_err(name);
            assert!(
                said.ends_with(&format!("did you mean `{meant}`?")),
                "{said}"
            );
        }
        let said = known_key("zzz").expect_err("zzz");
        assert!(said.contains("condense config list"), "{said}");
    }
}
