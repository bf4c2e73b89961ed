//! Responsible for verifying an installation: its files are compared with its receipt, and one of
//! its wrappers is started.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, bail};
use condense_base::BaseImage;
use condense_installation::{Destination, ImageRecord, RECEIPT_NAME, Receipt, State};
use indicatif::HumanBytes;
use sha2::{Digest, Sha256};

use crate::generation::IMAGE;
use crate::report::Report;
use condense_diagnostics::UserError;

/// Number of bytes that are hashed at once.
const CHUNK_LEN: usize = 1 << 20;
/// Script that reports the first missing program, and starts Python. Its arguments are the
/// path of Python, or nothing, and the paths of all programs.
const START: &str = "python=$1; shift; for program; do test -x \"$program\" || { echo \"missing: $program\"; exit 1; }; done
            test -z \"$python\" || exec \"$python\" -c 'import sys'";

/// Repeats the checks of the build of `dir` on this machine. With `start`, runs one of its
/// wrappers.
///
/// # Errors
/// Returns the first difference from the receipt.
pub fn verify(dir: &Path, start: bool, report: &Arc<Report>) -> anyhow::Result<()> {
    let receipt = load(dir)?;
    if let Some(expected) = &receipt.image {
        verify_image(dir, expected, report)?;
    }

    let share = dir.join("share");
    for record in receipt.inputs.iter().chain(&receipt.lock) {
        let path = share.join(&record.path);
        same_digest(&path, &digest(&path)?, &record.sha256, dir)?;
    }

    let base = dir.join("container.sif");
    let found = BaseImage::open(&base)?;
    found.check_architecture()?;
    if let (Some(expected), Some(found)) = (&receipt.base.sha256, found.digest()?) {
        same_digest(&base, &found, expected, dir)?;
    }
    report.info(format!("{}: as it was", base.display()));

    let targets = targets(dir)?;
    if !start {
        return Ok(());
    }
    let python = fs_err::read_link(dir.join("_bin/python")).ok();
    let said = start_once(&dir.join("bin"), python.as_deref(), &targets)?;
    if let Some(said) = said {
        bail!("`{}` does not start here:\n{said}", dir.display());
    }
    report.info(format!("{} programs are there, and start", targets.len()));
    Ok(())
}

fn verify_image(dir: &Path, expected: &ImageRecord, report: &Report) -> anyhow::Result<()> {
    let image = dir.join(IMAGE);
    let size = fs_err::metadata(&image)?.len();
    if size != expected.size_bytes {
        bail!(damaged(
            format!(
                "`{}` has {size} bytes, its receipt says {}",
                image.display(),
                expected.size_bytes
            ),
            dir
        ));
    }
    same_digest(&image, &digest(&image)?, &expected.sha256, dir)?;
    report.info(format!("{}: {}", image.display(), HumanBytes(size)));
    Ok(())
}

fn load(dir: &Path) -> anyhow::Result<Receipt> {
    match Destination::inspect(dir)?.state() {
        State::Condense {
            receipt: Some(receipt),
            ..
        } => Ok(receipt.as_ref().clone()),
        State::Condense { .. } if dir.join("share").join(RECEIPT_NAME).exists() => {
            Ok(Receipt::load(dir)?)
        }
        // These are Tykky's own files, or the generation that was made of them.
        State::Tykky | State::Condense { .. } => bail!(UserError::new(
            format!(
                "`{}` was made by Tykky, which keeps no digests",
                dir.display()
            ),
            "build it anew with condense",
        )),
        State::Absent => bail!("`{}` does not exist", dir.display()),
        State::Empty | State::Foreign => bail!(
            "`{}` is not an installation: it has no .condense/current",
            dir.display()
        ),
    }
}

fn damaged(problem: String, dir: &Path) -> UserError {
    UserError::new(
        problem,
        format!(
            "copy it again from where it came, or build it anew with `new --force --prefix {}`",
            dir.display()
        ),
    )
}

fn same_digest(path: &Path, found: &str, expected: &str, dir: &Path) -> anyhow::Result<()> {
    if found == expected {
        return Ok(());
    }
    bail!(damaged(
        format!(
            "`{}` has changed: its sha256 is {found}, the receipt says {expected}",
            path.display()
        ),
        dir
    ));
}

pub(super) fn digest(path: &Path) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = condense_input::open(path)?;
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        match std::io::Read::read(&mut file, &mut chunk)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            len => hasher.update(&chunk[..len]),
        }
    }
}

/// Returns the programs of the wrappers. Each wrapper must have a link to its program.
fn targets(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let targets = link_targets(&dir.join("_bin"))?;
    for entry in fs_err::read_dir(dir.join("bin"))? {
        let name = entry?.file_name();
        let own = name.to_string_lossy().starts_with("_debug_");
        if !own && fs_err::symlink_metadata(dir.join("_bin").join(&name)).is_err() {
            bail!(damaged(
                format!("the wrapper `{}` has no link in _bin", name.display()),
                dir
            ));
        }
    }
    if targets.is_empty() {
        bail!(damaged(format!("`{}` has no wrappers", dir.display()), dir));
    }
    Ok(targets)
}

/// Returns the targets of all links in a directory, sorted.
pub(super) fn link_targets(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut targets = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        targets.push(fs_err::read_link(entry?.path())?);
    }
    targets.sort();
    Ok(targets)
}

/// Runs one of the wrappers in `bin`: every program must exist in the container, and `python` must
/// start. Returns the output if not.
///
/// # Errors
/// Returns an error if the wrapper cannot be started at all.
pub(super) fn start_once(
    bin: &Path,
    python: Option<&Path>,
    targets: &[PathBuf],
) -> anyhow::Result<Option<String>> {
    let mut command = Command::new(bin.join("_debug_exec"));
    condense_installation::remove_user_settings(&mut command);
    let output = command
        .args(["/bin/sh", "-c", START, "sh"])
        .arg(python.unwrap_or(Path::new("")))
        .args(targets)
        // The machine of a build need not have the MPI of the nodes.
        .env(condense_env_vars::CONDENSE_MPI, "image")
        .stdin(Stdio::null())
        .output()
        .context("failed to start a wrapper")?;
    if output.status.success() {
        return Ok(None);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(Some(format!("({}) {}", output.status, said.trim())))
}
