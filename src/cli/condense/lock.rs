//! Responsible for the arguments of `condense lock`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::Context;
use crate::{
    cli::{
        build,
        conda_containerize::ENVIRONMENT,
        network::{NetworkArguments, condarc},
        registries::Wishes,
        site::{SiteArguments, choose_base, environment_path, site_path},
    },
    env_vars, pipeline,
    plan::{LockPlan, Registries},
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
    /// Platform to solve for, when it is not this machine's: linux-64, linux-aarch64, linux-ppc64le
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
    let condarc = condarc(environment, context.report)?;
    let cache_dir = environment.cache_dir(site_path(site.cache_dir.as_ref(), environment));
    let plan = LockPlan {
        spec_path: environment.cwd.join(&arguments.env_file),
        surroundings: environment.surroundings(),
        base,
        platform: arguments.platform.clone(),
        scratch_parent: build::scratch_parent(arguments.tmpdir.clone(), environment, &site)?,
        keep_scratch: environment.get(env_vars::CW_DEBUG_KEEP_FILES).is_some(),
        registries: Registries {
            offline: arguments.network.offline,
            ..Registries::read(Wishes::default(), Some(cache_dir.clone()), environment)?
        },
        network: arguments
            .network
            .settings(environment, cache_dir, condarc.as_ref())?,
        condarc,
        pip_without_index: environment.get(env_vars::PIP_NO_INDEX).is_some(),
        installation_path: site.installation_path.clone(),
        environment: environment_path(ENVIRONMENT, &site, environment)?,
        runtime: build::runtime(environment, &site),
        overrides: build::overrides(environment, &site),
        checks: build::checks(environment, &site)?,
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
            fs_err::write(&file, text).context("failed to write the lock")?;
        }
        None => context.report.data(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
