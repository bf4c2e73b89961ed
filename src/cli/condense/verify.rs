//! Responsible for the arguments of `condense verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Context, installations::find};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The installation: its directory, or its name in a directory of TYKKY_PATH
    #[arg(value_name = "NAME|DIR")]
    dir: PathBuf,
    /// Read and compare, but start nothing
    #[arg(long)]
    no_start: bool,
}

/// Prints nothing when all is well; exit 1 with the first thing that is not.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dir = find(&arguments.dir, context.env_vars);
    condense_build::verify(&dir, !arguments.no_start, context.report)?;
    Ok(ExitCode::SUCCESS)
}
