//! Responsible for the verb `condense verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{Context, subject::existing};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory of the installation, or its name in a directory of TYKKY_PATH
    #[arg(value_name = "NAME|DIR")]
    dir: PathBuf,
    /// Check the files only, and start no program
    #[arg(long)]
    no_start: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Checks an installation. The first difference from the receipt is an error, with exit status 1.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dir = existing(&arguments.dir, "installation", context.env_vars)?;
    condense_build::verify(&dir, !arguments.no_start, context.report)?;
    if arguments.json {
        let value = json!({"dir": dir, "started": !arguments.no_start});
        context.console.json("verify", value);
    }
    Ok(ExitCode::SUCCESS)
}
