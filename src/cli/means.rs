//! Responsible for what the user's environment and the site give to a run, whatever the run makes.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_check::Gpu;

use super::{
    Environment,
    condense::allowed_by_environment,
    network::{NetworkArguments, condarc},
    registries::Wishes,
    site::site_path,
};
use crate::{
    base_images::{Site, expand},
    env_vars,
    plan::{Checks, Means, Overrides, Registries},
    report::Report,
};

/// What the user's environment and the site give to a run.
///
/// # Errors
/// When one of them says what cannot be.
pub(super) fn means(
    network: &NetworkArguments,
    tmpdir: Option<PathBuf>,
    environment: &Environment,
    site: &Site,
    report: &Report,
) -> anyhow::Result<Means> {
    let condarc = condarc(environment, report)?;
    let cache_dir = environment.cache_dir(site_path(site.cache_dir.as_ref(), environment));
    Ok(Means {
        surroundings: environment.surroundings(),
        scratch_parent: scratch_parent(tmpdir, environment, site)?,
        keep_scratch: environment.get(env_vars::CW_DEBUG_KEEP_FILES).is_some(),
        registries: Registries {
            offline: network.offline,
            ..Registries::read(Wishes::default(), Some(cache_dir.clone()), environment)?
        },
        network: network.settings(environment, cache_dir, condarc.as_ref())?,
        own_cache: environment.own_cache_dir(),
        condarc,
        pip_without_index: environment.get(env_vars::PIP_NO_INDEX).is_some(),
        runtime: runtime(environment, site),
        build_env: network.build_env.read(environment)?,
        overrides: overrides(environment, site),
        checks: checks(environment, site)?,
    })
}

/// The runtime that the site names.
pub(super) fn runtime(environment: &Environment, site: &Site) -> Option<PathBuf> {
    let look = |name: &str| environment.get(name).map(str::to_owned);
    let path = site.singularity_executable_path.as_ref()?;
    Some(PathBuf::from(expand(path, look)))
}

/// conda's CONDA_OVERRIDE_* variables, else what the site says of its nodes: they are not the
/// machine that builds.
fn overrides(environment: &Environment, site: &Site) -> Overrides {
    let look = |name: &str| environment.get(name).map(str::to_owned);
    Overrides {
        glibc: look(env_vars::CONDA_OVERRIDE_GLIBC),
        cuda: look(env_vars::CONDA_OVERRIDE_CUDA).or_else(|| cuda_of(site)),
        linux: look(env_vars::CONDA_OVERRIDE_LINUX),
        archspec: look(env_vars::CONDA_OVERRIDE_ARCHSPEC).or_else(|| site.cpu.clone()),
    }
}

/// The CUDA that the site's driver runs; where the site does not say, but has such GPUs, that of
/// this machine's driver.
fn cuda_of(site: &Site) -> Option<String> {
    let here = || match site.machine().gpu {
        Some(Gpu::Nvidia) => condense_check::doctor::cuda_of_driver(Path::new("/")),
        _ => None,
    };
    site.cuda_driver
        .clone()
        .or_else(|| here().map(str::to_owned))
}

/// What the findings of a build are judged by.
///
/// # Errors
/// A word in `CONDENSE_ALLOW` that is no code.
pub(super) fn checks(environment: &Environment, site: &Site) -> anyhow::Result<Checks> {
    Ok(Checks {
        machine: site.machine(),
        allowed: allowed_by_environment(environment)?,
    })
}

/// `--tmpdir`, `CW_BUILD_TMPDIR`, TMPDIR, the site's, in that order.
///
/// # Errors
/// A variable with a path that is not absolute.
pub(super) fn scratch_parent(
    flag: Option<PathBuf>,
    environment: &Environment,
    site: &Site,
) -> anyhow::Result<PathBuf> {
    if let Some(dir) = flag {
        return Ok(environment.cwd.join(dir));
    }
    if let Some(dir) = environment.get(env_vars::CW_BUILD_TMPDIR) {
        let dir = PathBuf::from(dir);
        if !dir.is_absolute() {
            bail!("CW_BUILD_TMPDIR: {} path is not absolute", dir.display());
        }
        return Ok(dir);
    }
    // A TMPDIR of another node, or a relative one, is no place to build in.
    if let Some(dir) = environment
        .get(env_vars::TMPDIR)
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.is_dir())
    {
        return Ok(dir);
    }
    let of_site = site_path(site.build_tmpdir_base.as_ref(), environment);
    Ok(of_site.unwrap_or_else(|| "/tmp".into()))
}
