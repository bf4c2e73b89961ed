//! Responsible for the arguments about sites that all dialects have, and for choosing the site and
//! the names of files in an installation.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use condense_installation::{AliasedFile, FileAlias};

use crate::console::Console;
use condense_catalogue::{Catalogue, Machine, Site, expand};
use condense_env_vars::{self as env_vars, EnvVars};

#[derive(Debug, Default, Clone, Args)]
pub(crate) struct SiteArguments {
    /// site whose rules are followed; default: CONDENSE_SITE, else the detected site
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// file with a catalogue of base images and sites, which overrides the built-in one
    #[arg(long, value_name = "FILE")]
    pub catalogue: Option<PathBuf>,
    /// Configuration in Tykky's format as one more layer of the catalogue: its path and its text.
    #[arg(skip)]
    pub configuration: Option<(PathBuf, String)>,
}

impl SiteArguments {
    /// Reads the catalogue with all its layers, and chooses the site.
    ///
    /// # Errors
    /// Returns an error if a layer cannot be read, or if the named site is not known.
    pub(crate) fn load(
        &self,
        env_vars: &EnvVars,
        console: &Console,
    ) -> anyhow::Result<(Catalogue, Site)> {
        let mut catalogue = Catalogue::load(env_vars, self.catalogue.as_deref())?;
        if let Some((path, text)) = &self.configuration {
            catalogue.add_configuration_text(path, text.clone());
        }
        let named = env_vars.get(env_vars::CONDENSE_SITE);
        let named = self.site.as_deref().or(named);
        let site = catalogue.site(named, &Machine::this(env_vars))?;
        if !site.not_followed.is_empty() {
            console.warning(format!(
                "these keys of the site's configuration are not followed by this version: {}",
                site.not_followed.join(", ")
            ));
        }
        Ok((catalogue, site))
    }
}

/// Returns a path of the site with its variables expanded, or `None` if the path is not absolute
/// then.
pub(crate) fn site_path(text: Option<&String>, env_vars: &EnvVars) -> Option<PathBuf> {
    let path = expand(text?, |name| env_vars.get(name).map(str::to_owned));
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

/// Returns the site's additional names of the base and of the image of an installation, each with
/// the usual name.
///
/// # Errors
/// Returns an error if a name is not a plain file name, or if another part of an installation has
/// this name.
pub(crate) fn other_names(site: &Site, env_vars: &EnvVars) -> anyhow::Result<Vec<FileAlias>> {
    let mut names: Vec<FileAlias> = Vec::new();
    for (key, name, file) in [
        ("container_image", &site.names.container, AliasedFile::Base),
        ("sqfs_image", &site.names.image, AliasedFile::Image),
    ] {
        let Some(name) = name else { continue };
        let name = plain_name(key, name, env_vars)?;
        if name == file.as_str() {
            continue;
        }
        let is_taken = condense_installation::is_reserved_name(&name)
            || names.iter().any(|other| other.name == name);
        if is_taken {
            bail!("`{key}: {name}`: an installation has something else of this name");
        }
        names.push(FileAlias { name, file });
    }
    Ok(names)
}

/// Returns the path of the environment below the mount point, with the site's name of the
/// environment if it has one.
///
/// # Errors
/// Returns an error if the name is not a plain file name.
pub(crate) fn environment_path(
    usual: &str,
    site: &Site,
    env_vars: &EnvVars,
) -> anyhow::Result<PathBuf> {
    let usual = PathBuf::from(usual);
    match &site.names.environment {
        Some(name) => Ok(usual.with_file_name(plain_name("env_name", name, env_vars)?)),
        None => Ok(usual),
    }
}

/// Returns a file name with its variables expanded.
fn plain_name(key: &str, text: &str, env_vars: &EnvVars) -> anyhow::Result<String> {
    let name = expand(text, |name| env_vars.get(name).map(str::to_owned));
    if name.is_empty() || name.starts_with(['.', '-']) || name.contains(['/', '\0', '\n']) {
        bail!("`{key}: {text}` is not a plain name of a file");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use condense_catalogue::Names;

    #[test]
    fn a_site_names_what_lies_beside_bin() {
        let env_vars = EnvVars::of(&[("USER", "me")]);
        let site = |container: &str, image: &str| Site {
            names: Names {
                environment: Some("mine".to_owned()),
                container: Some(container.to_owned()),
                image: Some(image.to_owned()),
            },
            ..Site::default()
        };
        let names =
            |container: &str, image: &str| match other_names(&site(container, image), &env_vars) {
                Ok(names) => {
                    let names = names.iter().map(|alias| (&alias.name, alias.file.as_str()));
                    format!("{:?}", names.collect::<Vec<_>>())
                }
                Err(error) => error.to_string(),
            };
        assert_eq!(names("container.sif", "img.sqfs"), "[]");
        assert_eq!(
            names("${USER}.sif", "img.sqfs"),
            r#"[("me.sif", "container.sif")]"#
        );
        for (container, image, said) in [
            (
                "a/b",
                "img.sqfs",
                "`container_image: a/b` is not a plain name",
            ),
            (
                "bin",
                "img.sqfs",
                "`container_image: bin`: an installation has",
            ),
            (
                "x",
                "container.sif",
                "`sqfs_image: container.sif`: an install",
            ),
            ("x", "x", "`sqfs_image: x`: an installation has"),
        ] {
            assert!(names(container, image).starts_with(said), "{said}");
        }
        let path = environment_path("miniforge/envs/env1", &site("a", "b"), &env_vars);
        assert_eq!(path.unwrap(), PathBuf::from("miniforge/envs/mine"));
    }

    #[test]
    fn paths_of_a_site_are_expanded() {
        let env_vars = EnvVars::of(&[("USER", "me")]);
        let path = |text: &str| site_path(Some(&text.to_owned()), &env_vars);
        assert_eq!(path("/tmp/${USER}"), Some("/tmp/me".into()));
        assert_eq!(path("${TMPDIR}"), None);
    }
}
