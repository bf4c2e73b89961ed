//! Responsible for the verb `condense image extract`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::bail;
use clap::Args;
use condense_image::{ExtractOptions, extract};
use serde_json::json;

use super::{Context, open};
use condense_build::{Phase, check_output};
use condense_diagnostics::UserError;
use condense_publish::Existing;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Image, or a SIF, whose root file system is used
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Directory that is created; it must not exist
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Number of worker threads [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Do not unpack extended attributes
    #[arg(long)]
    no_xattrs: bool,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let target = context.env_vars.cwd.join(&arguments.target);
    if target.symlink_metadata().is_ok() {
        bail!(UserError::new(
            format!("`{}` is there already", target.display()),
            "remove it first, or choose another name",
        ));
    }
    check_output(&target, Existing::Refuse, None)?;
    let reader = open(&arguments.path, context)?;
    let report = Arc::clone(context.report);
    report.begin(Phase::Unpack, None);
    let options = ExtractOptions {
        threads: arguments.threads,
        xattrs: !arguments.no_xattrs,
        progress: Some(Arc::new({
            let report = Arc::clone(&report);
            move |bytes| report.advance(Phase::Unpack, bytes)
        })),
        cancel: Some(report.cancel_flag()),
        ..ExtractOptions::default()
    };
    let done = extract(&reader, &target, &options)?;
    report.end(Phase::Unpack);
    for skipped in &done.skipped {
        report.warning(format!("`{}`: {}", skipped.path.display(), skipped.what));
    }
    let more = done.skipped_count - done.skipped.len() as u64;
    if more > 0 {
        report.warning(format!("and {more} more of these"));
    }
    if arguments.json {
        let skipped: Vec<_> = done
            .skipped
            .iter()
            .map(|skipped| json!({"path": skipped.path.to_string_lossy(), "what": skipped.what}))
            .collect();
        let value = json!({
            "path": target.to_string_lossy(),
            "files": done.files,
            "directories": done.directories,
            "symlinks": done.symlinks,
            "others": done.others,
            "hard_links": done.hard_links,
            "bytes": done.bytes,
            "skipped": skipped,
            "skipped_count": done.skipped_count,
        });
        context.console.json("image-extract", value);
    }
    Ok(ExitCode::SUCCESS)
}
