//! Responsible for the arguments of `condense report`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::Context;
use crate::{
    cli::{build::rules, site::SiteArguments},
    pipeline,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The installation
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the page is written; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArguments,
}

/// Writes the page.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let environment = context.environment;
    let (_, site) = arguments.site.load(environment, context.report)?;
    let page = pipeline::picture(
        &environment.cwd.join(&arguments.dir),
        (&site.machine(), &rules(environment, &site)),
        &environment.surroundings(),
    )?;
    match &arguments.output {
        Some(file) => condense_publish::write(&environment.cwd.join(file), page.as_bytes())
            .map_err(condense_image::Error::from)?,
        None => context.report.data(page.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
