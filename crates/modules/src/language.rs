//! Responsible for the two languages of module files.

use std::path::{Path, PathBuf};

use crate::name::ModuleName;

/// Language of a module file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Lua, which only Lmod reads.
    Lua,
    /// Tcl, which Environment Modules and Lmod read.
    Tcl,
}

impl Language {
    /// Returns the path of a module's file below a directory of modules.
    pub fn path(self, module_dir: &Path, module: &ModuleName) -> PathBuf {
        let end = match self {
            Self::Lua => ".lua",
            Self::Tcl => "",
        };
        let file = format!("{}{end}", module.version());
        module_dir.join(module.name()).join(file)
    }

    /// Returns the sign that begins a comment.
    pub(crate) fn comment(self) -> &'static str {
        match self {
            Self::Lua => "--",
            Self::Tcl => "#",
        }
    }
}
