//! Responsible for reading the description of an installation that Tykky has made, from its
//! `share/` directory.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use crate::bind::HostView;
use crate::error::{Error, Result};
use crate::mode::InstallationMode;

/// Tykky's description of one of its installations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tykky {
    /// Kind of the installation.
    pub mode: InstallationMode,
    /// Version of the Tykky that made it, for example `v0.4.2`.
    pub version: Option<String>,
    /// Time of the build, in Tykky's wording.
    pub built: Option<String>,
    /// Mount point of the image in the container.
    pub mount_point: PathBuf,
    /// Name of the environment.
    pub env_name: String,
    /// Name of the base as the user gave it.
    pub base: String,
    /// Path of the base's file.
    pub container: PathBuf,
    /// Path of the image, if there is one.
    pub image: Option<PathBuf>,
    /// Host view: which system directories the programs see.
    pub host_view: HostView,
    /// Further programs that got a wrapper, as the user named them.
    pub wrapper_paths: Vec<String>,
    /// Whether uv has installed the packages instead of pip.
    pub uv: bool,
    /// Whether `common.sh` has text of the user after Tykky's own text.
    pub extra_text: bool,
    /// Copies of the user's input files, as paths below `share`.
    pub inputs: Vec<PathBuf>,
}

impl Tykky {
    /// Reads `share/conf.yaml` and `share/VERSION.yml` of an installation's directory.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if `conf.yaml` or the inputs cannot be read, and
    /// [`Error::TykkyConfiguration`] if `conf.yaml` cannot be understood.
    pub fn read(dir: &Path) -> Result<Self> {
        let share = dir.join("share");
        let conf_path = share.join("conf.yaml");
        let conf = load(&conf_path)?;
        let version = load(&share.join("VERSION.yml")).unwrap_or_default();
        let missing = |key: &str| Error::TykkyConfiguration {
            path: conf_path.clone(),
            problem: format!("it does not say `{key}`"),
        };
        let text = |key: &str| word(&conf, key);
        let image = text("sqfs_image").unwrap_or_else(|| "img.sqfs".to_owned());
        let mode = InstallationMode::from(text("mode").ok_or_else(|| missing("mode"))?);
        let wrapper_paths = match conf.get("wrapper_paths") {
            Some(Value::Sequence(words)) => words.iter().filter_map(scalar).collect(),
            Some(other) => scalar(other).into_iter().collect(),
            None => Vec::new(),
        };
        Ok(Self {
            mount_point: text("installation_path")
                .ok_or_else(|| missing("installation_path"))?
                .into(),
            env_name: text("env_name").unwrap_or_else(|| "env1".to_owned()),
            base: text("container_src").unwrap_or_default(),
            container: dir
                .join(text("container_image").unwrap_or_else(|| "container.sif".to_owned())),
            image: (mode != InstallationMode::WrapContainer).then(|| dir.join(image)),
            host_view: if is_yes(text("isolate")) {
                HostView::Base
            } else {
                HostView::Host
            },
            uv: is_yes(text("use_uv")),
            wrapper_paths,
            extra_text: conf.get("extra_envs").is_some_and(|found| {
                !found.is_null() && found.as_sequence().is_none_or(|list| !list.is_empty())
            }),
            mode,
            version: word(&version, "tag"),
            built: word(&version, "build-time").or_else(|| word(&version, "build_time")),
            inputs: inputs(&share)?,
        })
    }
}

fn load(path: &Path) -> Result<Mapping> {
    let text =
        condense_input::read_to_string(path, condense_input::TEXT_MOST).map_err(Error::Io)?;
    serde_yaml::from_str(&text).map_err(|error| Error::TykkyConfiguration {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

fn word(mapping: &Mapping, key: &str) -> Option<String> {
    scalar(mapping.get(key)?).filter(|text| !text.is_empty())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Checks whether a word means "yes". YAML 1.1, which Tykky used, has more words for it than
/// serde's parser.
fn is_yes(word: Option<String>) -> bool {
    word.is_some_and(|word| matches!(word.to_lowercase().as_str(), "yes" | "true" | "on"))
}

/// Returns the files below `share/previous_input`, sorted.
fn inputs(share: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut pending) = (Vec::new(), vec![PathBuf::from("previous_input")]);
    while let Some(below) = pending.pop() {
        let path = share.join(&below);
        if path.is_dir() {
            for entry in fs_err::read_dir(&path).map_err(Error::Io)? {
                pending.push(below.join(entry.map_err(Error::Io)?.file_name()));
            }
        } else if path.is_file() {
            found.push(below);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn configurations_of_all_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let share = dir.path().join("share");
        fs_err::create_dir_all(share.join("previous_input/0")).unwrap();
        fs_err::write(share.join("previous_input/0/env.yml"), "x").unwrap();
        let conf = "mode: conda\ninstallation_path: /LUMI_TYKKY_ab12cd3\nenv_name: env1\ncontainer_image: my.sif\n\
            container_src: docker://opensuse/leap:15.5\nisolate: false\nwrapper_paths: [a/b, /c]\nnum_cpus: 8\nuse_uv: 'yes'\n\
            extra_envs: [{file: e.sh}]\n";
        fs_err::write(share.join("conf.yaml"), conf).unwrap();
        fs_err::write(
            share.join("VERSION.yml"),
            "tag: v0.4.2\nbuild-time: 2026-01-02\n",
        )
        .unwrap();
        let found = Tykky::read(dir.path()).unwrap();
        assert_eq!(
            found,
            Tykky {
                mode: InstallationMode::Conda,
                version: Some("v0.4.2".to_owned()),
                built: Some("2026-01-02".to_owned()),
                mount_point: "/LUMI_TYKKY_ab12cd3".into(),
                env_name: "env1".to_owned(),
                base: "docker://opensuse/leap:15.5".to_owned(),
                container: dir.path().join("my.sif"),
                image: Some(dir.path().join("img.sqfs")),
                host_view: HostView::Host,
                wrapper_paths: vec!["a/b".to_owned(), "/c".to_owned()],
                uv: true,
                extra_text: true,
                inputs: vec!["previous_input/0/env.yml".into()],
            }
        );
        fs_err::write(
            share.join("conf.yaml"),
            "mode: wrapcont\nisolate: yes\ninstallation_path: /X_1",
        )
        .unwrap();
        fs_err::remove_file(share.join("VERSION.yml")).unwrap();
        let found = Tykky::read(dir.path()).unwrap();
        assert_eq!(
            (found.image, found.host_view, found.version),
            (None, HostView::Base, None)
        );
        fs_err::write(share.join("conf.yaml"), "mode: conda\n").unwrap();
        let error = Tykky::read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("it does not say `installation_path`"),
            "{error}"
        );
    }
}
