//! Responsible for `condense image verify`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use condense_image::{CheckOptions, check};
use serde_json::json;

use super::{Context, open};
use condense_build::Phase;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The image, or a SIF whose root file system is meant
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Workers [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Print JSON: what was read
    #[arg(long)]
    json: bool,
}

/// Prints nothing when all is well; exit 1 with the first thing that is not.
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
        context.console.data(&serde_json::to_string_pretty(&value)?);
    }
    Ok(ExitCode::SUCCESS)
}
