//! Responsible for the verb `condense image verify`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use condense_image::{CheckOptions, check};
use serde_json::json;

use super::{Context, open};
use condense_build::Phase;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image, or a SIF, whose root file system is used
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Number of worker threads [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
}

/// Checks the image. Prints nothing if it is valid; otherwise the first problem is an error, with
/// exit status 1.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let reader = open(&arguments.path, context)?;
    let report = Arc::clone(context.report);
    report.begin(Phase::Check, Some(reader.superblock().bytes_used));
    let options = CheckOptions {
        threads: arguments.threads,
        progress: Some(Arc::new({
            let report = Arc::clone(&report);
            move |bytes| report.advance(Phase::Check, bytes)
        })),
        cancel: Some(report.cancel_flag()),
    };
    let checked = check(&reader, &options)?;
    report.end(Phase::Check);
    if arguments.json {
        let value = json!({
            "inodes": checked.inodes,
            "names": checked.names,
            "blocks": checked.blocks,
            "stored_bytes": checked.stored_bytes,
        });
        context.console.json("image-verify", value);
    }
    Ok(ExitCode::SUCCESS)
}
