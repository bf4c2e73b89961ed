//! Responsible for the settings of a run that come from the user's environment variables and from
//! the site.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_check::{Gpu, HostPython};
use condense_diagnostics::UserError;
use condense_image::Compression;

use super::{
    block_cache,
    build::rules,
    condense::allowed_by_environment,
    network::{NetworkArguments, condarc},
    registries::{self, RegistryOptions},
    site::site_path,
};
use crate::console::Console;
use condense_build::plan::{Checks, Overrides, PackageSettings, Registries, RunSettings};
use condense_catalogue::{Site, expand};
use condense_env_vars::{self as env_vars, EnvVars};
use condense_prefix::SpecContext;

/// Returns the settings of a run and those for its packages. They come from the options, the user's
/// environment variables and the site.
///
/// # Errors
/// Returns an error if an option, a variable or a configuration file is invalid.
pub(super) fn run_settings(
    network: &NetworkArguments,
    tmpdir: Option<PathBuf>,
    env_vars: &EnvVars,
    site: &Site,
    console: &Console,
) -> anyhow::Result<(RunSettings, PackageSettings)> {
    let condarc = condarc(env_vars, console)?;
    let cache_dir = env_vars.cache_dir(site_path(site.cache_dir.as_ref(), env_vars));
    let scratch_parent = scratch_parent(tmpdir, env_vars, site)?;
    let registries = registries::read(
        RegistryOptions::default(),
        Some(cache_dir.clone()),
        env_vars,
    )?;
    let packages = PackageSettings {
        spec_context: spec_context(env_vars),
        network: network.settings(env_vars, cache_dir.clone(), condarc.as_ref())?,
        own_cache: env_vars.own_cache_dir(),
        condarc,
        pip_without_index: env_vars.get(env_vars::PIP_NO_INDEX).is_some(),
        overrides: overrides(env_vars, site),
    };
    let settings = RunSettings {
        scratch_parent,
        keep_scratch: keeps_scratch(env_vars),
        registries: Registries {
            offline: network.offline,
            ..registries
        },
        blocks: block_cache::read(env_vars, cache_dir)?,
        runtime: runtime(env_vars, site),
        build_env: network.build_env.read(env_vars)?,
        rules: rules(env_vars, site),
        checks: checks(env_vars, site)?,
    };
    Ok((settings, packages))
}

/// Returns the channels of packages that are named without a channel; none for conda-forge.
pub(super) fn default_channels(env_vars: &EnvVars) -> Vec<String> {
    let text = env_vars
        .get(env_vars::CONDENSE_CHANNELS)
        .unwrap_or_default();
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns the compression of images: that of the option, else that of the user's configuration,
/// else that of the site.
///
/// # Errors
/// Returns an error if the configured compression is invalid.
pub(super) fn compression(
    option: Option<Compression>,
    env_vars: &EnvVars,
    site: &Site,
) -> anyhow::Result<Option<Compression>> {
    if option.is_some() {
        return Ok(option);
    }
    let Some(text) = env_vars.get(env_vars::CONDENSE_COMPRESSION) else {
        return Ok(site.compressions().next());
    };
    let parsed = text.parse::<Compression>();
    parsed.map(Some).map_err(|problem| {
        anyhow::Error::new(UserError::new(
            format!("{} `{text}`: {problem}", env_vars::CONDENSE_COMPRESSION),
            "write a codec with a level: zstd:3, gzip:6, xz, lz4 or none",
        ))
    })
}

/// Checks whether the scratch directory stays after the run.
pub(super) fn keeps_scratch(env_vars: &EnvVars) -> bool {
    env_vars.get(env_vars::CW_DEBUG_KEEP_FILES).is_some()
}

/// Returns the runtime that the site has chosen, if any.
pub(super) fn runtime(env_vars: &EnvVars, site: &Site) -> Option<PathBuf> {
    let look = |name: &str| env_vars.get(name).map(str::to_owned);
    let path = site.singularity_executable_path.as_ref()?;
    Some(PathBuf::from(expand(path, look)))
}

/// Returns the values of conda's `CONDA_OVERRIDE_*` variables, else the values of the site's nodes.
/// The machine that builds may differ from the nodes.
fn overrides(env_vars: &EnvVars, site: &Site) -> Overrides {
    let look = |name: &str| env_vars.get(name).map(str::to_owned);
    Overrides {
        glibc: look(env_vars::CONDA_OVERRIDE_GLIBC),
        cuda: look(env_vars::CONDA_OVERRIDE_CUDA).or_else(|| cuda_of(site)),
        linux: look(env_vars::CONDA_OVERRIDE_LINUX),
        archspec: look(env_vars::CONDA_OVERRIDE_ARCHSPEC).or_else(|| site.cpu.clone()),
    }
}

/// Returns the version of CUDA that the site's driver supports. If the catalogue does not have it
/// and the GPUs of the site are from NVIDIA, returns the version of this machine's driver.
fn cuda_of(site: &Site) -> Option<String> {
    let here = || match site.machine().gpu {
        Some(Gpu::Nvidia) => condense_check::doctor::cuda_of_driver(Path::new("/")),
        _ => None,
    };
    site.cuda_driver
        .clone()
        .or_else(|| here().map(str::to_owned))
}

/// Returns the machine that jobs run on, and the findings that are allowed.
///
/// # Errors
/// Returns an error if `CONDENSE_ALLOW` has a word that is not a code.
pub(super) fn checks(env_vars: &EnvVars, site: &Site) -> anyhow::Result<Checks> {
    Ok(Checks {
        machine: site.machine(),
        allowed: allowed_by_environment(env_vars)?,
        host_python: host_python(env_vars),
    })
}

/// Returns the directories of Python packages of the user's account and shell.
pub(super) fn host_python(env_vars: &EnvVars) -> HostPython {
    let is_hidden = env_vars.get(env_vars::PYTHONNOUSERSITE).is_some()
        || env_vars
            .get(env_vars::CONDENSE_NO_USER_SITE)
            .is_some_and(|value| value != "0");
    let user_base = env_vars.get(env_vars::PYTHONUSERBASE).map(PathBuf::from);
    let user_base = user_base.or_else(|| Some(env_vars.home()?.join(".local")));
    let python_path = env_vars.get(env_vars::PYTHONPATH).unwrap_or_default();
    HostPython {
        user_base: user_base.filter(|_| !is_hidden),
        python_path: std::env::split_paths(python_path)
            .filter(|dir| !dir.as_os_str().is_empty())
            .map(|dir| env_vars.cwd.join(dir))
            .collect(),
    }
}

/// Returns the parent of the scratch directory: `--tmpdir`, else `CW_BUILD_TMPDIR`, else `TMPDIR`,
/// else the site's, else `/tmp`.
///
/// # Errors
/// Returns an error if the path in `CW_BUILD_TMPDIR` is not absolute.
pub(super) fn scratch_parent(
    flag: Option<PathBuf>,
    env_vars: &EnvVars,
    site: &Site,
) -> anyhow::Result<PathBuf> {
    if let Some(dir) = flag {
        return Ok(env_vars.cwd.join(dir));
    }
    if let Some(dir) = env_vars.get(env_vars::CW_BUILD_TMPDIR) {
        let dir = PathBuf::from(dir);
        if !dir.is_absolute() {
            bail!("CW_BUILD_TMPDIR: {} path is not absolute", dir.display());
        }
        return Ok(dir);
    }
    // TMPDIR is ignored if it is relative, or if it exists only on another node.
    if let Some(dir) = env_vars
        .get(env_vars::TMPDIR)
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.is_dir())
    {
        return Ok(dir);
    }
    let of_site = site_path(site.build_tmpdir_base.as_ref(), env_vars);
    Ok(of_site.unwrap_or_else(|| "/tmp".into()))
}

/// Returns the variables that an environment file may refer to.
pub(super) fn spec_context(env_vars: &EnvVars) -> SpecContext {
    SpecContext {
        variables: env_vars.all(),
        ..SpecContext::default()
    }
}
