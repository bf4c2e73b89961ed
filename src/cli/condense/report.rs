//! Responsible for the verb `condense report`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::cli::run_settings::{host_python, spec_context};

use super::{Context, subject::existing};
use crate::cli::{build::rules, site::SiteArguments};
use condense_build::{CheckTarget, check_output};
use condense_publish::Existing;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Installation: a name in TYKKY_PATH or a directory; or a .sif
    #[arg(value_name = "NAME|DIR|SIF")]
    dir: PathBuf,
    /// HTML file that is written [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArguments,
}

/// Writes the page about an installation or a SIF.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let output = arguments.output.as_ref();
    let output = output.map(|file| env_vars.cwd.join(file));
    if let Some(file) = &output {
        check_output(file, Existing::Replace, None)?;
    }
    let (_, site) = arguments.site.load(env_vars, context.console)?;
    let page = condense_build::html_report(
        &existing(&arguments.dir, "installation", env_vars)?,
        CheckTarget {
            machine: &site.machine(),
            rules: &rules(env_vars, &site),
            spec_context: &spec_context(env_vars),
            host_python: &host_python(env_vars),
        },
    )?;
    match &output {
        Some(file) => {
            condense_publish::write(file, page.as_bytes()).map_err(condense_image::Error::from)?;
        }
        None => context.console.data(page.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
