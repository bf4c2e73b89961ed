//! Responsible for what `update` of both commands that build environments takes, and for the plan that comes of it.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use condense_image::Compression;

use super::{
    Environment,
    build::{checks, clean, existing, given_text, overrides, runtime, scratch_parent, uv_on_path},
    network::{NetworkArguments, condarc},
    registries::Wishes,
    site::{SiteArguments, site_path},
    wrap,
};
use crate::{
    env_vars,
    plan::{Additions, Registries, UpdatePlan},
    report::Report,
};

/// What both take.
#[derive(Debug, Args)]
pub(super) struct UpdateArguments {
    #[command(flatten)]
    site: SiteArguments,
    /// parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// pack everything anew with this compression; default: what is unchanged is taken over as it is
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compression: Option<Compression>,
    /// show what would be done and stop
    #[arg(long)]
    dry_run: bool,
    /// neither pip nor uv uses a cache from now on
    #[arg(long)]
    nocache: bool,
    /// script that is run in the container when everything is installed, with the environment activated
    #[arg(long, value_name = "FILE")]
    post_install: Option<PathBuf>,
    /// script that is run in the container before pip installs anything
    #[arg(long, value_name = "FILE")]
    pre_install: Option<PathBuf>,
    /// file whose lines every wrapper runs on the host before the container starts, instead of those before
    #[arg(long, value_name = "FILE")]
    environ: Option<PathBuf>,
    /// further programs that get a wrapper, instead of those before: as with `new`
    #[arg(short = 'w', long, value_name = "LIST")]
    wrapper_paths: Option<String>,
    #[command(flatten)]
    network: NetworkArguments,
    /// the installation; everything that was said when it was built stays, unless it is said anew
    #[arg(value_name = "dir")]
    dir: PathBuf,
}

/// The plan of an update; `venv` tells `pip-containerize` from `conda-containerize`.
///
/// # Errors
/// When something was asked for that cannot be done.
pub(super) fn plan(
    arguments: UpdateArguments,
    requirements: Option<PathBuf>,
    venv: bool,
    program: &'static str,
    words: &[OsString],
    environment: &Environment,
    report: &Report,
) -> anyhow::Result<UpdatePlan> {
    let read = |path, what| given_text(path, what, environment);
    let additions = Additions {
        requirements: match requirements {
            Some(path) => Some(existing(&path, "Requirements file", environment)?),
            None => None,
        },
        pre_install: read(arguments.pre_install, "Pre-install script")?,
        post_install: read(arguments.post_install, "Post-install script")?,
        environ: read(arguments.environ, "Environ file")?,
        uv: false,
        uv_program: uv_on_path(environment),
        no_cache: arguments.nocache,
        work_dir: environment.cwd.clone(),
    };
    let (_, site) = arguments.site.load(environment, report)?;
    let condarc = condarc(environment, report)?;
    let cache_dir = environment.cache_dir(site_path(site.cache_dir.as_ref(), environment));
    Ok(UpdatePlan {
        dir: clean(&environment.cwd.join(arguments.dir)),
        venv,
        extra_text: additions.environ.as_ref().map(|given| given.text.clone()),
        additions,
        wrapper_paths: match arguments.wrapper_paths {
            Some(list) => Some(wrap::wrapper_paths(&list)?),
            None => None,
        },
        compression: arguments.compression,
        surroundings: environment.surroundings(),
        scratch_parent: scratch_parent(arguments.tmpdir, environment, &site)?,
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
        runtime: runtime(environment, &site),
        overrides: overrides(environment, &site),
        checks: checks(environment, &site)?,
        source_date_epoch: environment.source_date_epoch()?,
        dry_run: arguments.dry_run,
        command_line: std::iter::once(program.to_owned())
            .chain(words.iter().map(|word| word.to_string_lossy().into_owned()))
            .collect(),
    })
}
