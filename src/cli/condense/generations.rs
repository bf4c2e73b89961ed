//! Responsible for the verbs `condense info`, `condense rollback` and `condense gc`, which show and
//! change the generations of an installation.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Args;
use condense_diagnostics::counted;
use condense_installation::{
    Destination, Generation, History, Receipt, State, Tykky, quote_line, render_time,
};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Context, subject::existing};

#[derive(Debug, Args)]
pub(super) struct InfoArguments {
    /// Directory of the installation, or its name in a directory of TYKKY_PATH
    #[arg(value_name = "NAME|DIR")]
    dir: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

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

/// Prints the receipt of the visible generation, and the list of generations.
pub(super) fn info(arguments: &InfoArguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dir = existing(&arguments.dir, "installation", context.env_vars)?;
    let destination = Destination::inspect(&dir)?;
    if *destination.state() == State::Tykky {
        let found = Tykky::read(&dir)?;
        if arguments.json {
            let value = json!({"dir": dir, "tykky": {
                "mode": found.mode, "version": found.version, "built": found.built,
                "mount_point": found.mount_point, "env_name": found.env_name, "base": found.base,
                "wrapper_paths": found.wrapper_paths, "inputs": found.inputs,
            }});
            context.console.json("info", value);
        } else {
            let mut lines = vec![format!("installation: {}", dir.display())];
            lines.extend(describe_tykky(&found));
            context.console.data(&lines.join("\n"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let generations = History::open(&dir)?.generations()?;
    let current = generations
        .iter()
        .find(|generation| generation.is_current)
        .and_then(|generation| generation.receipt.as_deref());
    if arguments.json {
        let value = json!({
            "dir": dir,
            "receipt": current,
            "generations": generations.iter().map(as_json).collect::<Vec<_>>(),
        });
        context.console.json("info", value);
    } else {
        let mut lines = vec![format!("installation: {}", dir.display())];
        lines.extend(match (current, Tykky::read(&dir)) {
            (Some(receipt), _) => describe(receipt),
            // An installation of Tykky is visible again after a rollback of its first update.
            (None, Ok(found)) => describe_tykky(&found),
            (None, Err(_)) => {
                vec!["the receipt of the visible generation cannot be read".to_owned()]
            }
        });
        lines.push("generations:".to_owned());
        lines.extend(
            generations
                .iter()
                .map(|generation| format!("  {}", line(generation))),
        );
        context.console.data(&lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
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
fn line(generation: &Generation) -> String {
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

fn describe_tykky(found: &Tykky) -> Vec<String> {
    let mut lines = vec![
        format!("mode: {}", found.mode),
        format!(
            "built: {} by Tykky {}",
            found.built.as_deref().unwrap_or("?"),
            found.version.as_deref().unwrap_or("?")
        ),
        format!("base: {}", found.base),
        format!("mounted at: {}", found.mount_point.display()),
        format!("environment: {}", found.env_name),
    ];
    let inputs = found.inputs.iter();
    lines.extend(inputs.map(|path| format!("input: share/{}", path.display())));
    lines
}

fn describe(receipt: &Receipt) -> Vec<String> {
    let words: Vec<OsString> = receipt.arguments.iter().map(OsString::from).collect();
    let mut lines = vec![
        format!("mode: {}", receipt.mode),
        format!(
            "built: {} by condense {}",
            render_time(receipt.created),
            receipt.tool_version
        ),
        format!("command: {}", quote_line(&words).display()),
        format!("base: {}", receipt.base.reference),
    ];
    if receipt.base.path.as_os_str() != receipt.base.reference.as_str() {
        lines.push(format!("base file: {}", receipt.base.path.display()));
    }
    if let Some(digest) = &receipt.base.sha256 {
        lines.push(format!("base sha256: {digest}"));
    }
    if let Some(image) = &receipt.image {
        lines.push(format!(
            "image: {} files and directories in {} ({}), mounted at {}",
            image.entries,
            HumanBytes(image.size_bytes),
            image.compression,
            receipt.mount_point.display()
        ));
        lines.push(format!("image sha256: {}", image.sha256));
    }
    lines.push(format!("environment: {}", receipt.env_prefix.display()));
    for input in &receipt.inputs {
        lines.push(format!("input: share/{}", input.path.display()));
    }
    if let Some(lock) = &receipt.lock {
        lines.push(format!("lock: share/{}", lock.path.display()));
    }
    lines
}
