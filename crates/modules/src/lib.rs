//! Writes environment modules of images for Lmod and Environment Modules, and the directory of
//! commands that a module brings: wrappers, a virtual environment of the user, packing.
//!
//! [`ModuleFile`] describes a module, and [`ModuleFile::render`] returns its text in either
//! language. [`Recipe`] is a recipe with which EasyBuild installs it. [`Root`] is the directory
//! that the module calls `CONTAINERROOT`. [`Record`] is what a module file says about its image,
//! for a later comparison with a copy of the image elsewhere.
//!
//! ```
//! use condense_modules::{ModuleName, variable_suffix};
//! let name = ModuleName::new("PyTorch", "2.7.1")?;
//! assert_eq!(name.to_string(), "PyTorch/2.7.1");
//! assert_eq!(variable_suffix("aws-ofi-rccl"), "AWSMINOFIMINRCCL");
//! # Ok::<(), condense_modules::Error>(())
//! ```
//!
//! This crate starts no container, knows no names of sites, and does not print.

mod error;
mod file;
mod language;
mod lua;
mod name;
mod packages;
mod recipe;
mod record;
mod root;
mod tcl;
mod template;
mod user_software;
mod venv;

pub use error::{Error, Result};
pub use file::{ContainerModule, ModuleBind, ModuleFile, Named};
pub use language::Language;
pub use name::{ModuleName, variable_suffix};
pub use packages::{Distribution, distributions_below, merge, render_table, wanted};
pub use recipe::{Recipe, RecipeArchive, RecipeSources, pack_archive};
pub use record::{ImageDir, ImageRecord, Record};
pub use root::{Root, RootFiles};
pub use user_software::{UserSoftware, pack, unpack};
pub use venv::Venv;
