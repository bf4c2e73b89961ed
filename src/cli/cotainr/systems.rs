//! Responsible for reading `systems.json`, which has the names of systems and their base images.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use condense_catalogue::Catalogue;
use condense_diagnostics::{UserError, did_you_mean};
use condense_env_vars::{self as env_vars, EnvVars};

const NAME: &str = "systems.json";
/// Path of a site's own file.
const SITE_WIDE: &str = "/etc/condense/systems.json";

/// Systems that `--system` accepts, and the file that lists them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Systems {
    /// Path of the file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// Names and images in the order of the file. The site lists the system that it prefers first.
    images: Vec<(String, String)>,
}

impl Systems {
    /// Reads the first of these files: `CONDENSE_SYSTEMS`, `systems.json` beside the program,
    /// `systems.json` in the directory above, the site's file. Without any file, the base images of
    /// the catalogue are the systems. `catalogue` is the file of `--catalogue`.
    ///
    /// # Errors
    /// Returns an error if the file of `CONDENSE_SYSTEMS` does not exist, or if a file cannot be
    /// read or parsed.
    pub(super) fn load(env_vars: &EnvVars, catalogue: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(named) = env_vars.get(env_vars::CONDENSE_SYSTEMS) {
            return Self::read(&env_vars.cwd.join(named));
        }
        let program = std::env::current_exe().ok();
        match candidates(program.as_deref()).find(|path| path.is_file()) {
            Some(path) => Self::read(&path),
            None => Ok(Self::of_catalogue(&Catalogue::load(env_vars, catalogue)?)),
        }
    }

    /// Returns the base images of the catalogue as systems: `--base-image` takes the same names.
    fn of_catalogue(catalogue: &Catalogue) -> Self {
        let names = catalogue.images.keys();
        Self {
            file: None,
            images: names.map(|name| (name.clone(), name.clone())).collect(),
        }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = condense_input::read_to_string(path, condense_input::TEXT_MOST)?;
        let images =
            parse(&text).with_context(|| format!("failed to read `{}`", path.display()))?;
        Ok(Self {
            file: Some(path.to_owned()),
            images,
        })
    }

    /// Returns the names of the systems in the order of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the base image of a system.
    ///
    /// # Errors
    /// Returns an error if the file has no system of this name.
    pub(super) fn base_image(&self, name: &str) -> anyhow::Result<String> {
        if let Some((_, image)) = self.images.iter().find(|(known, _)| known == name) {
            return Ok(image.clone());
        }
        let names: Vec<&str> = self.names().collect();
        let known = match &self.file {
            Some(file) => format!("`{}` has: {}", file.display(), names.join(", ")),
            None => format!(
                "no {NAME} was found, and the catalogue has: {}; CONDENSE_SYSTEMS names a file, `--base-image` an image",
                names.join(", ")
            ),
        };
        let hint = match did_you_mean(name, names.iter().copied()) {
            Some(question) => format!("{question} {known}"),
            None => known,
        };
        bail!(UserError::new(
            format!("System does not exist: `{name}`"),
            hint
        ));
    }
}

/// Returns the possible paths of the file: beside the installed program, one directory above, as in
/// cotainr, and the site's path.
fn candidates(program: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let dir = program.and_then(Path::parent);
    let above = dir.and_then(Path::parent);
    [dir, above]
        .into_iter()
        .flatten()
        .map(|dir| dir.join(NAME))
        .chain([PathBuf::from(SITE_WIDE)])
        .collect::<Vec<_>>()
        .into_iter()
}

fn parse(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document: Value = serde_json::from_str(text)?;
    let Some(systems) = document.as_object() else {
        bail!("it is not an object of systems");
    };
    let mut images = Vec::new();
    for (name, system) in systems {
        let Some(image) = system.get("base-image").and_then(Value::as_str) else {
            bail!(UserError::new(
                format!("Error in {NAME}: {name} missing argument base-image"),
                "every system is {\"base-image\": \"SPEC\"}",
            ));
        };
        images.push((name.clone(), image.to_owned()));
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn b63_files_as_they_are() {
        let two =
            r#"{"b": {"base-image": "/b.sif"}, "a": {"base-image": "docker://x", "more": 1}}"#;
        assert_eq!(
            parse(two).unwrap(),
            [("b", "/b.sif"), ("a", "docker://x")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        for text in ["", "{}", " \n"] {
            assert!(parse(text).unwrap().is_empty(), "{text:?}");
        }
        let error = parse(r#"{"a": {}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Error in systems.json: a missing argument base-image"
        );
        assert!(parse("[1]").is_err() && parse("{").is_err());
    }

    /// Usability row A5: without a file, `--system` takes what `condense base show` promises.
    #[test]
    fn the_catalogue_has_the_systems_if_no_file_has() {
        let systems = Systems::of_catalogue(&Catalogue::built_in().unwrap());
        assert_eq!(systems.base_image("lumi-g").unwrap(), "lumi-g");
        let error = systems.base_image("lumi-q").unwrap_err();
        assert_eq!(error.to_string(), "System does not exist: `lumi-q`");
        let hint = condense_build::hint(&error).unwrap();
        assert!(hint.starts_with("did you mean `lumi-"), "{hint}");
    }

    #[test]
    fn the_program_s_own_file_comes_first() {
        let found: Vec<PathBuf> = candidates(Some(Path::new("/opt/c/bin/condense"))).collect();
        assert_eq!(
            found,
            [
                "/opt/c/bin/systems.json",
                "/opt/c/systems.json",
                "/etc/condense/systems.json"
            ]
            .map(PathBuf::from)
        );
    }
}
