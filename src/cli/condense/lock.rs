//! Responsible for the arguments of `condense lock`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::Context;
use crate::{
    cli::{
        conda_containerize::ENVIRONMENT,
        means::means,
        network::NetworkArguments,
        site::{SiteArguments, choose_base, environment_path},
    },
    env_vars, pipeline,
    plan::LockPlan,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Environment file
    #[arg(value_name = "ENV_FILE")]
    env_file: PathBuf,
    /// Where the lock is written; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Base image that it is solved for, and in which pip is asked
    #[arg(long, value_name = "REF")]
    base_image: Option<String>,
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    network: NetworkArguments,
    /// Platform to solve for, when it is not this machine's: linux-64, linux-aarch64,
    /// linux-ppc64le
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
}

/// Solves, and prints the lock or writes it.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let environment = context.environment;
    let (catalogue, site) = arguments.site.load(environment, context.report)?;
    let named = environment.get(env_vars::CONDENSE_BASE_IMAGE).is_some();
    let wanted = arguments.base_image.is_some()
        || (arguments.platform.is_none() && (named || site.container_src.is_some()));
    let base = wanted
        .then(|| {
            let named = arguments.base_image.clone();
            choose_base(named, &catalogue, &site, environment, context.report)
        })
        .transpose()?;
    let means = means(
        &arguments.network,
        arguments.tmpdir.clone(),
        environment,
        &site,
        context.report,
    )?;
    let plan = LockPlan {
        means,
        spec_path: environment.cwd.join(&arguments.env_file),
        base,
        platform: arguments.platform.clone(),
        installation_path: site.installation_path.clone(),
        environment: environment_path(ENVIRONMENT, &site, environment)?,
    };
    let text = pipeline::lock(
        &plan,
        environment.get(env_vars::PATH).unwrap_or_default().as_ref(),
        context.report,
        context.interrupt,
    )?;
    match &arguments.output {
        Some(file) => {
            let file = environment.cwd.join(file);
            condense_publish::write(&file, text.as_bytes())
                .map_err(condense_image::Error::from)
                .context("failed to write the lock")?;
        }
        None => context.report.data(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
