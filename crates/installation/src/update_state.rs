//! Responsible for the settings of a build that the next update needs, besides the parts of a
//! receipt that people read.

use serde::{Deserialize, Serialize, Serializer};

use crate::wrapper::Launch;

/// Options of a build, and results of it that cannot be recovered from the image alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct UpdateState {
    /// Settings of the wrappers; `None` if they have no JSON form.
    #[serde(
        serialize_with = "if_expressible",
        skip_serializing_if = "Option::is_none"
    )]
    pub launch: Option<Box<Launch>>,
    /// Further programs that the user has named, as they were named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wrapper_paths: Vec<String>,
    /// Whether uv installs the packages instead of pip.
    pub uv: bool,
    /// Whether pip and uv work without a cache.
    pub no_cache: bool,
    /// Names of environment variables that look like credentials and were nevertheless visible to
    /// the steps of the build. Their values are never stored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub build_env: Vec<String>,
    /// Whether editable requirements stay links.
    pub keep_editable: bool,
    /// The site's own names of files of the installation.
    #[serde(rename = "other-names", skip_serializing_if = "Vec::is_empty")]
    pub file_aliases: Vec<FileAlias>,
    /// Codec and level as they were requested, for example `zstd:3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Names and versions of the packages that pip has installed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pip_packages: Vec<(String, String)>,
    /// Conda packages whose Python package pip has replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced_by_pip: Vec<String>,
}

/// The site's own name of a file of the installation. A receipt stores it as a pair of the own
/// name and the usual name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, AliasedFile)", into = "(String, AliasedFile)")]
pub struct FileAlias {
    /// The site's own name, a link to the file.
    pub name: String,
    /// File to which the name leads.
    pub file: AliasedFile,
}

impl From<(String, AliasedFile)> for FileAlias {
    fn from((name, file): (String, AliasedFile)) -> Self {
        Self { name, file }
    }
}

impl From<FileAlias> for (String, AliasedFile) {
    fn from(alias: FileAlias) -> Self {
        (alias.name, alias.file)
    }
}

/// A file of an installation that a site may give a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AliasedFile {
    /// The base image, `container.sif`.
    #[serde(rename = "container.sif")]
    Base,
    /// The SquashFS image, `img.sqfs`.
    #[serde(rename = "img.sqfs")]
    Image,
}

impl AliasedFile {
    /// Returns the usual name of the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "container.sif",
            Self::Image => "img.sqfs",
        }
    }
}

/// Serializes the settings of the wrappers, or nothing if they have no JSON form. A path that is
/// not UTF-8 has none, and a receipt must never fail a build.
#[allow(clippy::ref_option)] // Serde requires this signature.
fn if_expressible<S: Serializer>(
    launch: &Option<Box<Launch>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let value = launch
        .as_deref()
        .and_then(|launch| serde_json::to_value(launch).ok());
    value.serialize(serializer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;
    use condense_activation::{ActivationStep, ValuePart};

    use crate::{Bind, HostInterpreter, HostView, Shell};

    fn launch() -> Launch {
        Launch {
            mount_point: "/M".into(),
            has_image: true,
            container_marker: "/M/env1".into(),
            env_prefix: "/M/env1".into(),
            runtime: Some("/usr/bin/apptainer".into()),
            host_view: HostView::Base,
            binds: vec![Bind::path("/a", "/b").unwrap().read_only()],
            flags: vec!["--rocm".to_owned()],
            variables: Vec::new(),
            base_env_vars: [("LANG".to_owned(), "C".to_owned())].into(),
            interpreter: Some(HostInterpreter {
                path: "/opt/p/bin/python3".into(),
                version: "3.11.7".to_owned(),
            }),
            activation: vec![ActivationStep::Join {
                name: "PATH".to_owned(),
                parts: vec![ValuePart::Literal("x:".to_owned())],
            }],
            launcher: None,
            extra_text: Some("export A=1\n".to_owned()),
            hand_written: None,
            shell: Shell::Bash,
            no_user_site: true,
            host_mpi: None,
            hot_parts: Vec::new(),
        }
    }

    #[test]
    fn a_launch_is_read_back_or_left_out() {
        let mut update_state = UpdateState {
            launch: Some(Box::new(launch())),
            wrapper_paths: vec!["a/b".to_owned()],
            uv: true,
            ..UpdateState::default()
        };
        let text = serde_json::to_string(&update_state).unwrap();
        assert_eq!(
            serde_json::from_str::<UpdateState>(&text).unwrap(),
            update_state
        );
        let odd = OsStr::from_bytes(b"/\xff");
        update_state.launch.as_mut().unwrap().binds = vec![Bind::path(odd, "/b").unwrap()];
        let text = serde_json::to_string(&update_state).unwrap();
        update_state.launch = None;
        assert_eq!(
            serde_json::from_str::<UpdateState>(&text).unwrap(),
            update_state
        );
    }
}
