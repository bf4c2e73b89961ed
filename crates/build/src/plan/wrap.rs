//! Responsible for the description of a run that wraps programs that are there already.

use std::{fmt, path::PathBuf};

use super::{GivenText, WrapPlan, installation::describe};

/// Programs that are wrapped.
#[derive(Debug, Clone)]
pub struct WrapInput {
    /// The container or directory that has the programs.
    pub what: Wrapped,
    /// Scripts that change the directory before it is packed, run in the container in this order.
    pub scripts: Vec<GivenText>,
    /// The user's current directory, in which the scripts run.
    pub work_dir: PathBuf,
}

/// Container or directory whose programs are wrapped. The debug form is a part of the digest in
/// the mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapped {
    /// Programs of the base itself.
    Container,
    /// A directory on disk.
    Directory {
        /// Path of the directory, absolute and without links.
        dir: PathBuf,
        /// Whether the image is mounted over the directory itself.
        mask: bool,
    },
}

impl fmt::Display for WrapPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = &self.output.generation;
        match &self.input.what {
            Wrapped::Container => writeln!(f, "wraps         {}", self.base.reference())?,
            Wrapped::Directory { dir, .. } => {
                writeln!(f, "wraps         {}", dir.display())?;
                writeln!(f, "mount point   {}", self.output.mount_point)?;
                writeln!(f, "base image    {}", self.base.reference())?;
                let compression = describe(generation.compression);
                writeln!(f, "image         SquashFS, {compression}")?;
            }
        }
        let paths = generation.wrapper_paths.iter().map(|path| path.display());
        let paths: Vec<String> = paths.map(|path| path.to_string()).collect();
        writeln!(f, "programs of   {}", paths.join(", "))?;
        write!(f, "installation  {}", generation.dir.display())
    }
}
