//! Responsible for the Python packages of the host that programs of an installation or an image
//! see.

use std::{ffi::OsStr, path::Component};

use condense_activation::ActivationStep;
use condense_check::HostPython;
use condense_image::{Reader, reader::Node};
use condense_installation::{HostView, Launch};

/// Variable that hides the user's own packages.
const NO_USER_SITE: &str = "PYTHONNOUSERSITE";
/// Directory of the scripts that set variables in an image.
const SCRIPTS: &str = ".singularity.d/env";
/// Maximum size of such a script, in bytes.
const SCRIPT_LEN_MAX: u64 = 1 << 20;

/// Returns the part of the host's packages that programs see under this view. `hides` says whether
/// the user's own packages are hidden.
pub(super) fn seen(host: &HostPython, view: HostView, hides: bool) -> HostPython {
    let is_seen = |dir: &std::path::PathBuf| {
        let top = dir.components().find_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        top.is_some_and(|top| top == OsStr::new("tmp") || view.shows(top))
    };
    HostPython {
        user_base: host.user_base.clone().filter(|_| !hides),
        python_path: host
            .python_path
            .iter()
            .filter(|dir| is_seen(dir))
            .cloned()
            .collect(),
    }
}

/// Returns whether the wrappers hide the user's own packages.
pub(super) fn is_hidden_by(launch: &Launch) -> bool {
    let is_set = |step: &ActivationStep| match step {
        ActivationStep::Set { name, value } => name == NO_USER_SITE && !value.is_empty(),
        _ => false,
    };
    launch.no_user_site || launch.activation.iter().any(is_set)
}

/// Returns whether an image hides the user's own packages by one of its scripts.
///
/// # Errors
/// Returns an error if the image is damaged.
pub(super) fn hides_user_site(reader: &Reader) -> anyhow::Result<bool> {
    let Some(dir) = reader.lookup(SCRIPTS)?.filter(Node::is_directory) else {
        return Ok(false);
    };
    for entry in reader.list(&dir)? {
        let node = reader.node(&entry)?;
        if node.is_file() && node.size <= SCRIPT_LEN_MAX {
            let bytes = reader.read(&node, SCRIPT_LEN_MAX)?;
            if String::from_utf8_lossy(&bytes).contains(&format!("export {NO_USER_SITE}=")) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
