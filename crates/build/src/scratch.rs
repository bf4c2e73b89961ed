//! Responsible for the scratch directory of a run: making it, and removing it at the end.

use std::{
    io::{ErrorKind, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use condense_publish::Staging;
use rustix::fs::Access;

use crate::{interrupt::Interrupt, report::Report};
use condense_diagnostics::UserError;

/// `f_type` of a file system in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// Number of names that are tried. One is enough unless another user takes names on purpose.
const NAMES_TRIED: u32 = 100;

/// Hint for a scratch directory that cannot be made.
const ANOTHER_PLACE: &str = "name another one with `--tmpdir DIR` or CW_BUILD_TMPDIR";

/// A directory of one build, which is removed when dropped. If the build is killed, the next one
/// that looks there removes it.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: PathBuf,
    /// The handle that removes the directory; none if the directory is to stay.
    _staging: Option<Staging>,
}

impl Scratch {
    /// Makes a directory that only this user can enter.
    ///
    /// # Errors
    /// Returns an error if the parent cannot be created or written.
    pub(super) fn create(
        parent: &Path,
        keep: bool,
        report: &Report,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        if !parent.is_dir() {
            report.info(format!(
                "{} does not exist, creating it for you",
                parent.display()
            ));
            if let Err(error) = fs_err::create_dir_all(parent) {
                bail!(
                    "Could not create build directory {}: {error}",
                    parent.display()
                );
            }
        }
        // Package managers and interpreters want the real path.
        let parent = fs_err::canonicalize(parent)?;
        let made = if keep {
            kept(&parent).map(|dir| (dir, None))
        } else {
            locked(&parent).map(|staging| (staging.path().to_owned(), Some(staging)))
        };
        let (dir, staging) = made.map_err(|error| {
            UserError::new(
                format!(
                    "Could not create build directory in {}: {error}",
                    parent.display()
                ),
                ANOTHER_PLACE,
            )
        })?;
        let scratch = Self::made(dir, staging, interrupt);
        let dir = &scratch.dir;
        report.info(format!("Using {} as temporary directory", dir.display()));
        if in_memory(dir) {
            report.warning(format!(
                "{} is a file system in memory: what is unpacked there counts as memory",
                parent.display()
            ));
        }
        Ok(scratch)
    }

    /// Makes a directory for the notes of a dry run: below `parent` if it exists, otherwise below
    /// `/tmp`. A parent that does not exist is not created.
    ///
    /// # Errors
    /// Returns an error if a build could not make its scratch directory, or if no directory can be
    /// made.
    pub(super) fn for_notes(parent: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let there = parent.ancestors().find(|dir| dir.exists());
        let there = there.unwrap_or(Path::new("/"));
        let access = Access::WRITE_OK | Access::EXEC_OK;
        if !there.is_dir() || rustix::fs::access(there, access).is_err() {
            let how = if there == parent { "in " } else { "" };
            bail!(UserError::new(
                format!(
                    "Could not create build directory {how}{}: `{}` cannot be written",
                    parent.display(),
                    there.display()
                ),
                ANOTHER_PLACE,
            ));
        }
        let parent = if there == parent {
            parent
        } else {
            Path::new("/tmp")
        };
        let staging = locked(&fs_err::canonicalize(parent)?)?;
        let dir = staging.path().to_owned();
        Ok(Self::made(dir, Some(staging), interrupt))
    }

    fn made(dir: PathBuf, staging: Option<Staging>, interrupt: &Interrupt) -> Self {
        interrupt.remove_on_exit(dir.clone());
        Self {
            dir,
            _staging: staging,
        }
    }

    /// Returns the path of the directory, absolute and without links.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

/// Makes a directory that stays. No later build takes it for one that a killed build has left.
fn kept(parent: &Path) -> anyhow::Result<PathBuf> {
    for _ in 0..NAMES_TRIED {
        let dir = parent.join(format!("cw-{}", random_word()?));
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("all names are taken")
}

fn locked(parent: &Path) -> anyhow::Result<Staging> {
    let mut staging = Staging::create(parent).map_err(|error| error.into_parts().2)?;
    for _ in 0..NAMES_TRIED {
        if staging.rename(format!("cw-{}", random_word()?))? {
            return Ok(staging);
        }
    }
    bail!("all names are taken")
}

fn in_memory(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|found| found.f_type == TMPFS_MAGIC)
}

/// Six characters of A-Z and 0-9, which scripts of Tykky's users look for.
fn random_word() -> anyhow::Result<String> {
    const ALPHABET: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut bytes = [0_u8; 6];
    let mut source = fs_err::File::open("/dev/urandom")?;
    source
        .read_exact(&mut bytes)
        .context("failed to read `/dev/urandom`")?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % 36]))
        .collect())
}
