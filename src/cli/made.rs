//! Responsible for the JSON of the commands that make an installation, a generation or a SIF.

use std::{path::Path, process::ExitCode, time::Instant};

use condense_base::BaseImage;
use condense_build::{
    Submission,
    contents::{Contents, Subject},
};
use condense_installation::{Generation, History};
use serde_json::{Value, json};

use super::{Context, submit};

/// Installation or SIF that a command makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made<'a> {
    /// Name of the command in the schema of its result.
    pub(super) command: &'a str,
    /// Directory of the installation, or path of the SIF.
    pub(super) path: &'a Path,
    /// Whether nothing is made. The dry run writes its own result.
    pub(super) is_dry_run: bool,
    /// Job that does the work. It writes the result itself.
    pub(super) submission: Option<&'a Submission>,
}

/// Runs a build of an installation. With `--json`, its result is written at the end.
pub(super) fn installation(
    made: Made,
    build: impl FnOnce() -> anyhow::Result<ExitCode>,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    if let Some(submission) = made.submission {
        return submit::run(submission, made.is_dry_run, context);
    }
    let dir = made.path;
    let before = visible(dir).map(|generation| generation.number);
    let started = Instant::now();
    let code = build()?;
    if made.is_dry_run || !context.console.wants_json() {
        return Ok(code);
    }
    let generation = visible(dir);
    let receipt = generation.as_ref().and_then(|one| one.receipt.as_deref());
    let number = generation.as_ref().map(|one| one.number);
    let value = json!({
        "dir": dir,
        "generation": number,
        "changed": number != before,
        "bytes": generation.as_ref().map(|one| one.bytes),
        "base": receipt.map(|receipt| &receipt.base.reference),
        "image": receipt.and_then(|receipt| receipt.image.as_ref()),
        "packages": packages(dir),
        "findings": context.report.findings(),
        "seconds": seconds(started),
    });
    context.console.json(made.command, value);
    Ok(code)
}

/// Runs a build of a SIF. With `--json`, its result is written at the end.
pub(super) fn sif(
    made: Made,
    build: impl FnOnce() -> anyhow::Result<ExitCode>,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    if let Some(submission) = made.submission {
        return submit::run(submission, made.is_dry_run, context);
    }
    let started = Instant::now();
    let code = build()?;
    if made.is_dry_run || !context.console.wants_json() {
        return Ok(code);
    }
    let path = made.path;
    let value = json!({
        "path": path,
        "bytes": fs_err::metadata(path)?.len(),
        "sha256": BaseImage::open(path)?.digest()?,
        "packages": packages(path),
        "findings": context.report.findings(),
        "seconds": seconds(started),
    });
    context.console.json(made.command, value);
    Ok(code)
}

/// Returns the visible generation, or `None` if there is no installation.
fn visible(dir: &Path) -> Option<Generation> {
    let generations = History::open(dir).ok()?.generations().ok()?;
    generations.into_iter().find(|one| one.is_current)
}

/// Returns the number of packages in an installation or a SIF, or `None` if it has no records of
/// packages, as a wrapped directory.
fn packages(path: &Path) -> Option<usize> {
    let subject = Subject::open(path, None).ok()?;
    Some(Contents::load(&subject).ok()?.packages.len())
}

fn seconds(started: Instant) -> Value {
    let seconds = started.elapsed().as_secs_f64();
    ((seconds * 1000.0).round() / 1000.0).into()
}
