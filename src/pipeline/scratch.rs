//! Responsible for the scratch directory: where it lies, what it is made of, and that it goes.

use std::{
    io::Read,
    num::NonZeroUsize,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, bail};

use crate::{
    interrupt::Interrupt,
    plan::Means,
    report::{Refusal, Report},
};

/// What statfs says of a file system that lives in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// Subtrees that are enough to keep all cores busy.
const REMOVED_SIDE_BY_SIDE: usize = 64;
/// Names tried before giving up; one is enough unless somebody plays tricks.
const NAMES_TRIED: u32 = 100;

/// A directory of one build, removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Where the means of a run say.
    ///
    /// # Errors
    /// Those of [`Scratch::create`].
    pub(super) fn of(
        means: &Means,
        report: &Report,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        Self::create(&means.scratch_parent, means.keep_scratch, report, interrupt)
    }

    /// Makes a directory that only this user can enter.
    ///
    /// # Errors
    /// When the parent cannot be created or written.
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
        for _ in 0..NAMES_TRIED {
            let dir = parent.join(format!("cw-{}", random_word()?));
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => {
                    interrupt.remove_on_exit(dir.clone());
                    report.info(format!("Using {} as temporary directory", dir.display()));
                    if in_memory(&dir) {
                        report.warning(format!("{} is a file system in memory: what is unpacked there counts as memory", parent.display()));
                    }
                    return Ok(Self { dir, keep });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => bail!(Refusal::new(
                    format!(
                        "Could not create build directory in {}: {error}",
                        parent.display()
                    ),
                    "name another one with `--tmpdir DIR` or CW_BUILD_TMPDIR",
                )),
            }
        }
        bail!("Could not create build directory in {}", parent.display())
    }

    /// Where it lies: absolute, links resolved.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            remove_tree(&self.dir);
        }
    }
}

/// Removes a tree whatever modes its directories were given; what cannot be removed stays.
pub(super) fn remove_tree(dir: &Path) {
    remove_parts(dir);
    if std::fs::remove_dir_all(dir).is_ok() || !dir.exists() {
        return;
    }
    make_enterable(dir);
    let _ = std::fs::remove_dir_all(dir);
}

/// Removes subtrees side by side; what is left is little, and is removed by the caller.
fn remove_parts(dir: &Path) {
    let mut parts = vec![dir.to_owned()];
    while parts.len() < REMOVED_SIDE_BY_SIDE {
        let below: Vec<PathBuf> = parts
            .iter()
            .filter_map(|part| std::fs::read_dir(part).ok())
            .flat_map(Iterator::flatten)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        if below.is_empty() {
            break;
        }
        parts = below;
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism()
            .map_or(1, NonZeroUsize::get)
            .min(8)
        {
            scope.spawn(|| {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _ = std::fs::remove_dir_all(part);
                }
            });
        }
    });
}

fn make_enterable(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_enterable(&entry.path());
        }
    }
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
