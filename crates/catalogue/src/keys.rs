//! Responsible for the keys of Tykky's configuration: which keys are followed, and which keys have
//! no effect here, and for the names that it may set.

/// Names that a configuration in Tykky's format may set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Name of the environment, instead of `env1`.
    pub environment: Option<String>,
    /// Second name of the base image, besides `container.sif`.
    pub container: Option<String>,
    /// Second name of the image, besides `img.sqfs`.
    pub image: Option<String>,
}

/// Keys of Tykky's configuration that are followed.
pub(super) const FOLLOWED: [&str; 10] = [
    "container_image",
    "env_name",
    "sqfs_image",
    "container_src",
    "installation_path",
    "build_tmpdir_base",
    "singularity_executable_path",
    "isolate",
    "mount_points",
    "share_container",
];

/// Sections of a configuration in Tykky's format.
pub(super) const SECTIONS: [&str; 4] = ["defaults", "prepends", "appends", "force"];

/// Returns an unknown key with the key that was evidently meant, if there is one.
pub(super) fn with_suggestion(key: &str, known: &[&str]) -> String {
    match condense_diagnostics::misspelt(key, known.iter().copied()) {
        Some(meant) => format!("{key} (did you mean `{meant}`?)"),
        None => key.to_owned(),
    }
}

/// Keys about the internals of Tykky. They have no effect in this program.
pub(super) const WITHOUT_MEANING: [&str; 14] = [
    "add_ld",
    "composable",
    "conda_arch",
    "conda_version",
    "create_wrappers",
    "log_level",
    "max_num_cpus",
    "mode",
    "num_cpus",
    "source_mount_point",
    "sqfs_options",
    "template_script",
    "workdir",
    "wrap_all",
];

/// Keys without effect here, each with the one value that asks for something else than the
/// behaviour of this program. The user is warned that this value is not followed.
pub(super) const UNUSUAL: [(&str, bool); 3] = [
    ("composable", false),
    ("create_wrappers", false),
    ("wrap_all", true),
];

/// Parses a boolean. These files are written in YAML 1.1, which has more words for booleans than
/// `serde_yaml` accepts.
pub fn yes_or_no(value: &serde_yaml::Value) -> Option<bool> {
    match (value.as_bool(), value.as_str()) {
        (Some(known), _) => Some(known),
        (None, Some("yes" | "Yes" | "YES" | "on")) => Some(true),
        (None, Some("no" | "No" | "NO" | "off")) => Some(false),
        _ => None,
    }
}

/// Returns the keys of Tykky's configuration that are followed.
pub fn site_keys() -> impl Iterator<Item = &'static str> {
    FOLLOWED.into_iter()
}

/// Returns whether a key of this name is a key of a site's configuration in Tykky.
pub fn is_of_site(key: &str) -> bool {
    FOLLOWED.contains(&key) || WITHOUT_MEANING.contains(&key)
}

/// Returns whether the value of a key that is not followed is the same as the behaviour of this
/// program.
pub fn is_default(key: &str, value: &serde_yaml::Value) -> bool {
    let is_empty = value.is_null() || value.as_sequence().is_some_and(Vec::is_empty);
    match key {
        "installation_prefix" => matches!(value.as_str(), Some("$PWD" | "${PWD}" | ".")),
        "mamba"
        | "use_uv"
        | "enable_site_packages"
        | "mask_wrap_install"
        | "update_installation" => yes_or_no(value) == Some(false),
        "pipcache" => yes_or_no(value) == Some(true),
        _ => is_empty,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_misspelt_key_is_told_with_the_one_that_is_meant() {
        for (key, known, expected) in [
            (
                "mount_point",
                &FOLLOWED[..],
                "mount_point (did you mean `mount_points`?)",
            ),
            ("default", &SECTIONS, "default (did you mean `defaults`?)"),
            ("odd", &FOLLOWED, "odd"),
        ] {
            assert_eq!(with_suggestion(key, known), expected);
        }
    }

    #[test]
    fn what_is_done_anyway_is_told_from_what_is_not() {
        for (text, expected) in [
            ("installation_prefix: $PWD", true),
            ("installation_prefix: /appl", false),
            ("mamba: no", true),
            ("use_uv: yes", false),
            ("pipcache: yes", true),
            ("pipcache: no", false),
            ("excluded_mount_points: []", true),
            ("excluded_mount_points: [/a]", false),
            ("pre_install:", true),
            ("odd: 1", false),
        ] {
            let root: serde_yaml::Mapping = serde_yaml::from_str(text).unwrap();
            let (key, value) = root.iter().next().unwrap();
            assert_eq!(is_default(key.as_str().unwrap(), value), expected, "{text}");
        }
    }
}
