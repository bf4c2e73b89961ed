//! Reads definition files, from which container images are built, as apptainer 1.4 and
//! SingularityCE read them.
//!
//! [`Definition::parse`] makes stages of a text: each has a source image, headers, and sections
//! with the places of their lines. Arguments are substituted before, see [`Arguments`]. The crate
//! opens no file and runs nothing.
//!
//! ```
//! use std::path::Path;
//! use condense_definition::{Agent, Arguments, Definition};
//! # fn main() -> Result<(), condense_definition::Error> {
//! let text = b"Bootstrap: docker\nFrom: debian:12\n%labels\n    maker me\n";
//! let definition = Definition::parse(Path::new("my.def"), text, &Arguments::default())?;
//! let stage = &definition.stages[0];
//! assert_eq!((stage.agent, stage.from()), (Agent::Docker, "debian:12"));
//! assert_eq!(stage.labels, [("maker".to_owned(), "me".to_owned())]);
//! # Ok(())
//! # }
//! ```

mod agent;
mod arguments;
mod error;
mod files;
mod header;
mod script;
mod section;
mod stage;
mod text;

#[cfg(test)]
mod tests;

pub use agent::Agent;
pub use arguments::Arguments;
pub use error::{Error, Problem, Result};
pub use files::{Files, Transfer};
pub use header::Header;
pub use script::{App, Part, Script};
pub use stage::{Definition, Note, Stage};
