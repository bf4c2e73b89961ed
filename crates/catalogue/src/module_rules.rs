//! Responsible for a site's rules for modules of images.

use serde::{Deserialize, Serialize};

/// Rules of a site for modules of images.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ModuleRules {
    /// Modules that a module of an image cannot be loaded with.
    pub conflicts: Vec<String>,
    /// Directories with copies of images, by the name of the file. `${NAME:-DEFAULT}` at the start
    /// is the value of a variable where the module is loaded.
    pub image_dirs: Vec<String>,
    /// Whether modules set binds whose sources do not exist where the module is loaded.
    pub keeps_missing_binds: bool,
}

impl ModuleRules {
    /// Returns whether the site has no rules for modules.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
