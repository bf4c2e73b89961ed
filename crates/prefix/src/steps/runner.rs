//! Responsible for the interface through which the caller runs programs for build steps.

use std::ffi::OsString;

use super::batches::CodeKey;
use crate::{held::Held, target::Place};

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

impl<R: StepRunner + ?Sized> StepRunner for &R {
    fn run(
        &self,
        argv: &[OsString],
        line: &mut dyn FnMut(&str),
    ) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        (**self).run(argv, line)
    }
}

/// Container in which an image of an environment is at the mount point, although files of packages
/// are held back. Nothing can be written there.
pub trait HeldImage: StepRunner {
    /// Makes the image of the environment as it is now.
    ///
    /// # Errors
    /// Returns an error if scratch cannot be read or written.
    fn make(&self, held: &Held) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Returns a place whose directory of build steps the container shows, at the path that the
    /// directory has on this machine. The directory is the steps' own.
    fn place_of_steps(&self) -> &Place;

    /// Returns the container for pip: it shows the directory of build steps at
    /// [`crate::BUILD_DIR_BESIDE`], and the user's files that the lines for pip name.
    fn for_pip(&self) -> Box<dyn StepRunner + '_>;

    /// Takes note that the steps need files, and not the image any more.
    fn refuse(&self, refusal: &Refusal);
}

/// Reason why steps need what is held back as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The container with the image cannot run, for this reason.
    Mount(String),
    /// pip needs an environment that it can write, for this reason.
    Pip(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mount(reason) => {
                write!(f, "the runtime cannot mount an image of them: {reason}")
            }
            Self::Pip(reason) => write!(f, "pip needs files: {reason}"),
        }
    }
}

/// Byte code that earlier builds have compiled. An entry is what the interpreter has written for a
/// batch of sources, compressed.
pub trait CompiledCode: std::fmt::Debug + Send + Sync {
    /// Returns the entries with these keys, in their order; `None` for those that are not known. An
    /// entry is as it was kept, or not there.
    fn find(&self, keys: &[CodeKey]) -> Vec<Option<Vec<u8>>>;

    /// Keeps entries for later builds. What cannot be kept is compiled again.
    fn keep(&self, entries: &[(CodeKey, Vec<u8>)]);
}

/// Container or machine in which the steps run.
#[derive(Clone, Copy)]
pub enum Runner<'a> {
    /// The steps run in a container in which the prefix is at its mount point.
    Container(&'a dyn StepRunner),
    /// The steps run in a container with an image of what is held back, or in one with the prefix
    /// if the runtime cannot mount the image.
    Held {
        /// The container with the image.
        image: &'a dyn HeldImage,
        /// The container with the prefix.
        container: &'a dyn StepRunner,
    },
    /// The steps run directly on this machine, which is possible only for wheels of pip. Programs
    /// are started through the same trait.
    Host(&'a dyn StepRunner),
}

impl std::fmt::Debug for Runner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Container(_) => "Container",
            Self::Held { .. } => "Held",
            Self::Host(_) => "Host",
        })
    }
}
