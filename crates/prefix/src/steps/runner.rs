//! Responsible for the interface through which the caller runs programs for build steps.

use std::ffi::OsString;

/// Runs programs in a container in which the prefix is at its mount point.
pub trait StepRunner {
    /// Runs `argv` in the container without standard input. Standard output and standard error are
    /// combined and passed to `line` line by line. Returns the exit status, which is 128 + n for
    /// signal n.
    ///
    /// # Errors
    /// Returns an error if the container itself cannot run.
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>>;
}

/// Container or machine in which the steps run.
#[derive(Clone, Copy)]
pub enum Runner<'a> {
    /// The steps run in a container in which the prefix is at its mount point.
    Container(&'a dyn StepRunner),
    /// The steps run directly on this machine, which is possible only for wheels of pip. Programs
    /// are started through the same trait.
    Host(&'a dyn StepRunner),
}

impl std::fmt::Debug for Runner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Container(_) => "Container",
            Self::Host(_) => "Host",
        })
    }
}
