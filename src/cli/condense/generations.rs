//! Responsible for the verbs `condense rollback` and `condense gc`, which change the generations of
//! an installation.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use condense_diagnostics::counted;
use condense_installation::{Generation, History, render_time};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Context, subject::existing};

#[derive(Debug, Args)]
pub(super) struct RollbackArguments {
    /// Directory of the installation, or its name in a directory of TYKKY_PATH
    #[arg(value_name = "NAME|DIR")]
    dir: PathBuf,
    /// Number of the generation [default: the newest one older than the visible generation]
    #[arg(long, value_name = "NUMBER")]
    to: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct GcArguments {
    /// Directory of the installation, or its name in a directory of TYKKY_PATH
    #[arg(value_name = "NAME|DIR")]
    dir: PathBuf,
    /// Number of generations that are kept besides the visible one; jobs that still run from a
    /// removed generation may fail
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    keep: usize,
    /// Only show which generations would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Makes an older generation visible and reports its number.
pub(super) fn rollback(
    arguments: &RollbackArguments,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let dir = existing(&arguments.dir, "installation", context.env_vars)?;
    let generation = History::open(&dir)?.roll_back(arguments.to)?;
    if arguments.json {
        let value = json!({"dir": dir, "generation": as_json(&generation)});
        context.console.json("rollback", value);
        return Ok(ExitCode::SUCCESS);
    }
    context.report.info(format!(
        "generation {} is visible now; jobs that run keep the one they began with",
        unmarked(&generation)
    ));
    Ok(ExitCode::SUCCESS)
}

/// Removes older generations and reports their numbers and sizes.
pub(super) fn gc(arguments: &GcArguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dir = existing(&arguments.dir, "installation", context.env_vars)?;
    let removed = History::open(&dir)?.collect(arguments.keep, arguments.dry_run)?;
    let bytes: u64 = removed.iter().map(|generation| generation.bytes).sum();
    if arguments.json {
        let value = json!({
            "dir": dir,
            "dry_run": arguments.dry_run,
            "removed": removed.iter().map(as_json).collect::<Vec<_>>(),
            "bytes": bytes,
        });
        context.console.json("gc", value);
        return Ok(ExitCode::SUCCESS);
    }
    let verb = if arguments.dry_run {
        "would remove"
    } else {
        "removed"
    };
    for generation in &removed {
        context
            .report
            .info(format!("{verb} generation {}", line(generation)));
    }
    context.report.info(format!(
        "{verb} {}, {}",
        counted(removed.len() as u64, "generation"),
        HumanBytes(bytes)
    ));
    Ok(ExitCode::SUCCESS)
}

/// Returns the JSON object about a generation.
fn as_json(generation: &Generation) -> Value {
    json!({
        "number": generation.number,
        "current": generation.is_current,
        "created": generation.receipt.as_ref().map(|receipt| receipt.created),
        "bytes": generation.bytes,
    })
}

/// Returns the line of a generation: `2, 2026-11-21T10:00:00Z, 30.00 MiB (visible)`.
pub(super) fn line(generation: &Generation) -> String {
    let mark = if generation.is_current {
        " (visible)"
    } else {
        ""
    };
    format!("{}{mark}", unmarked(generation))
}

/// Returns the line of a generation without the mark of the visible one.
fn unmarked(generation: &Generation) -> String {
    let created = generation.receipt.as_ref().map_or_else(
        || "no receipt".to_owned(),
        |receipt| render_time(receipt.created),
    );
    let bytes = HumanBytes(generation.bytes);
    format!("{}, {created}, {bytes}", generation.number)
}
