//! Responsible for the arguments of `condense verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::Context;
use crate::pipeline;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The installation
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Read and compare, but start nothing
    #[arg(long)]
    no_start: bool,
}

/// Prints nothing when all is well; exit 1 with the first thing that is not.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let dir = context.environment.cwd.join(&arguments.dir);
    pipeline::verify(&dir, !arguments.no_start, context.report)?;
    Ok(ExitCode::SUCCESS)
}
