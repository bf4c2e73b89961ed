//! Responsible for the verb `condense verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Context, installations::find};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory of the installation, or its name in a directory of TYKKY_PATH
    #[arg(value_name = "NAME|DIR")]
    dir: PathBuf,
    /// Check the files only, and start no program
    #[arg(long)]
    no_start: bool,
}

/// Checks an installation. The first difference from the receipt is an error, with exit status 1.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dir = find(&arguments.dir, context.env_vars);
    condense_build::verify(&dir, !arguments.no_start, context.report)?;
    Ok(ExitCode::SUCCESS)
}
