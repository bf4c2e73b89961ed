//! Responsible for what an update needs to know of the build before it, besides what a receipt says
//! to people.

use serde::{Deserialize, Serialize, Serializer};

use crate::wrapper::Launch;

/// The options of a build, and what came of it that nobody could find out again from the image
/// alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Remembered {
    /// What the wrappers know; none where it could not be written down.
    #[serde(
        serialize_with = "if_expressible",
        skip_serializing_if = "Option::is_none"
    )]
    pub launch: Option<Box<Launch>>,
    /// Further programs that the user has named, as they were named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wrapper_paths: Vec<String>,
    /// uv installs what pip would have.
    pub uv: bool,
    /// pip and uv have no cache.
    pub no_cache: bool,
    /// The names of variables that look like credentials and were nevertheless visible to the
    /// steps of the build. Their values are never stored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub build_env: Vec<String>,
    /// Editable requirements stay links.
    pub keep_editable: bool,
    /// What else files of the installation are called: the site's own names of `container.sif` and
    /// `img.sqfs`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_names: Vec<(String, String)>,
    /// Codec and level, as they are asked for: `zstd:3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Names and versions of pip's packages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pip_packages: Vec<(String, String)>,
    /// conda packages whose Python package pip has replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced_by_pip: Vec<String>,
}

/// A path that is not UTF-8 has no place in JSON, and a receipt must never fail a build.
#[allow(clippy::ref_option)] // The form that serde asks for.
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
    use crate::{ActivationStep, Bind, HostView, Part, Shell};

    fn launch() -> Launch {
        Launch {
            mount_point: "/M".into(),
            has_image: true,
            inside: "/M/env1".into(),
            env_prefix: "/M/env1".into(),
            runtime: Some("/usr/bin/apptainer".into()),
            host_view: HostView::Base,
            binds: vec![Bind::path("/a", "/b").unwrap().read_only()],
            flags: vec!["--rocm".to_owned()],
            variables: Vec::new(),
            base_environment: [("LANG".to_owned(), "C".to_owned())].into(),
            interpreter: Some(("/opt/p/bin/python3".into(), "3.11.7".to_owned())),
            activation: vec![ActivationStep::Join {
                name: "PATH".to_owned(),
                parts: vec![Part::Literal("x:".to_owned())],
            }],
            launcher: None,
            extra_text: Some("export A=1\n".to_owned()),
            by_hand: None,
            shell: Shell::Bash,
        }
    }

    #[test]
    fn a_launch_is_read_back_or_left_out() {
        let mut remembered = Remembered {
            launch: Some(Box::new(launch())),
            wrapper_paths: vec!["a/b".to_owned()],
            uv: true,
            ..Remembered::default()
        };
        let text = serde_json::to_string(&remembered).unwrap();
        assert_eq!(
            serde_json::from_str::<Remembered>(&text).unwrap(),
            remembered
        );
        let odd = OsStr::from_bytes(b"/\xff");
        remembered.launch.as_mut().unwrap().binds = vec![Bind::path(odd, "/b").unwrap()];
        let text = serde_json::to_string(&remembered).unwrap();
        remembered.launch = None;
        assert_eq!(
            serde_json::from_str::<Remembered>(&text).unwrap(),
            remembered
        );
    }
}
