//! Responsible for uv, which installs requirements instead of pip.

use std::path::PathBuf;

use crate::error::Error;
use condense_within::Within;

/// Source of uv if the environment does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uv {
    /// Program at this path on this machine.
    Program(PathBuf),
    /// Package on pip's index.
    OfIndex,
}

impl Uv {
    /// Copies uv of this machine to the directory in which the container finds it.
    pub(crate) fn copy_to(&self, build_dir: &Within) -> Result<(), Error> {
        if let Self::Program(program) = self {
            let bytes = fs_err::read(program).map_err(Error::io("read", program))?;
            build_dir.write_program("uv", bytes)?;
        }
        Ok(())
    }
}
