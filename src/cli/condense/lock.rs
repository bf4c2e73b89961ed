//! Responsible for the verb `condense lock`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::Context;
use crate::cli::{
    base::choose_base,
    conda_containerize::ENVIRONMENT,
    network::NetworkArguments,
    run_settings::run_settings,
    site::{SiteArguments, environment_path},
};
use condense_build::{
    check_output,
    plan::{LockPlan, MountPoint},
};
use condense_env_vars as env_vars;
use condense_publish::Existing;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Environment file that is solved
    #[arg(value_name = "ENV_FILE")]
    env_file: PathBuf,
    /// Lock file that is written [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Base image for which the environment is solved and in which pip runs
    #[arg(long, value_name = "REF")]
    base_image: Option<String>,
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    network: NetworkArguments,
    /// Platform for which the environment is solved, if it is not this machine's: linux-64,
    /// linux-aarch64, linux-ppc64le
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Solves the environment, and writes the lock file or prints it.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let path = arguments
        .output
        .as_ref()
        .map(|file| env_vars.cwd.join(file));
    if let Some(file) = &path {
        check_output(file, Existing::Replace, None)?;
    }
    let (catalogue, site) = arguments.site.load(env_vars, context.console)?;
    let named = env_vars.get(env_vars::CONDENSE_BASE_IMAGE).is_some();
    let wanted = arguments.base_image.is_some()
        || (arguments.platform.is_none() && (named || site.container_src.is_some()));
    let base = wanted
        .then(|| {
            let named = arguments.base_image.clone();
            choose_base(named, &catalogue, &site, env_vars, context.console)
        })
        .transpose()?;
    let (settings, packages) = run_settings(
        &arguments.network,
        arguments.tmpdir.clone(),
        env_vars,
        &site,
        context.console,
    )?;
    let plan = LockPlan {
        settings,
        packages,
        spec_path: env_vars.cwd.join(&arguments.env_file),
        base,
        platform: arguments.platform.clone(),
        mount_point: MountPoint::Prefix(site.installation_path.clone().into()),
        env_path: environment_path(ENVIRONMENT, &site, env_vars)?,
    };
    let text = condense_build::lock(
        &plan,
        env_vars.get(env_vars::PATH).unwrap_or_default().as_ref(),
        context.report,
        context.interrupt,
    )?;
    match &path {
        Some(file) => {
            condense_publish::write(file, text.as_bytes())
                .map_err(condense_image::Error::from)
                .context("failed to write the lock")?;
        }
        None if !arguments.json => context.console.data(text.trim_end()),
        None => {}
    }
    if arguments.json {
        let value = json!({
            "path": path.as_ref().map(|path| path.to_string_lossy()),
            "bytes": text.len(),
            "lock": path.is_none().then_some(text),
        });
        context.console.json("lock", value);
    }
    Ok(ExitCode::SUCCESS)
}
