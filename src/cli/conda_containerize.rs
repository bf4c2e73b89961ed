//! Responsible for `conda-containerize`: Tykky's command line for conda environments.
//!
//! argparse's habits are kept: unique prefixes of long options, options and positionals in any order, `-h` on standard
//! output with exit 0, usage errors on standard error with exit 2.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::bail;
use clap::{Args, CommandFactory, Parser, Subcommand};
use condense_image::{BlockSize, Compression};

use super::{
    Command, Environment,
    condense::Logging,
    network::{NetworkArguments, condarc},
    registries::Wishes,
    site::{SiteArguments, choose_base, site_bind, site_path},
    usage, wrap,
};
use crate::{
    base_images::{Site, expand},
    env_vars,
    plan::{Additions, Lock, Overrides, Plan, Registries},
    report::{Refusal, Report, Speech},
};

const PROGRAM: &str = "conda-containerize";
/// The environment below the mount point, where scripts of Tykky's users look for it.
pub(super) const ENVIRONMENT: &str = "miniforge/envs/env1";

#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    bin_name = PROGRAM,
    about = "Packs a conda environment into one file with wrappers that run it in a container",
    disable_help_flag = true,
    disable_help_subcommand = true,
    infer_long_args = true
)]
struct Cli {
    /// show this help message and exit
    #[arg(short, long, action = clap::ArgAction::Help, global = true)]
    help: Option<bool>,
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// make a new installation
    #[command(infer_long_args = true)]
    New(Box<New>),
    /// change an installation (not in this version)
    #[command(disable_help_flag = true)]
    Update(Anything),
    /// build from a configuration file (not in this version)
    #[command(disable_help_flag = true)]
    Advanced(Anything),
}

#[derive(Debug, Args)]
struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
struct New {
    /// where the installation goes; default: the current directory
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// base image: a .sif, a sandbox directory, docker://NAME, oras://NAME, oci:DIR, an archive, or an image of the
    /// catalogue (`condense base ls`)
    #[arg(long, value_name = "REF")]
    base_image: Option<String>,
    #[command(flatten)]
    site: SiteArguments,
    /// parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// compression of the image: zstd:1..22, gzip:1..12, lz4, lz4:hc, xz:0..9 or none; default: what the site prefers,
    /// else zstd:3
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compression: Option<Compression>,
    /// bytes of the image that are compressed together: 4K to 1M, a power of two; larger ones save space and make small
    /// reads slower
    #[arg(long, value_name = "SIZE", default_value_t = BlockSize::default())]
    block_size: BlockSize,
    /// replace an installation that is already there
    #[arg(long)]
    force: bool,
    /// give the installation its own copy of the base image
    #[arg(long)]
    copy_base: bool,
    /// show what would be done and stop
    #[arg(long)]
    dry_run: bool,
    /// accepted; the built-in solver is always used
    #[arg(long)]
    mamba: bool,
    /// uv installs what is meant for pip: the environment's own, that on PATH, or the newest of pip's index
    #[arg(long)]
    uv: bool,
    /// neither pip nor uv uses a cache, not even one of PIP_CACHE_DIR or UV_CACHE_DIR
    #[arg(long)]
    nocache: bool,
    /// script that is run in the container when everything is installed, with the environment activated
    #[arg(long, value_name = "FILE")]
    post_install: Option<PathBuf>,
    /// script that is run in the container before pip installs anything
    #[arg(long, value_name = "FILE")]
    pre_install: Option<PathBuf>,
    /// file whose lines every wrapper runs on the host before the container starts
    #[arg(long, value_name = "FILE")]
    environ: Option<PathBuf>,
    /// further programs that get a wrapper, between commas: files or directories, absolute in the container or below the
    /// installation's root
    #[arg(short = 'w', long, value_name = "LIST")]
    wrapper_paths: Option<String>,
    /// requirements file for pip, installed together with what the environment file lists under `pip:`
    #[arg(short = 'r', long, value_name = "FILE")]
    requirement: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArguments,
    /// build exactly what this lock says: a condense.lock, a pixi.lock or a conda-lock.yml
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// which environment of the lock; of a conda-lock.yml: a category besides `main`
    #[arg(long, value_name = "NAME", requires = "lock")]
    lock_environment: Option<String>,
    /// let editable pip requirements (`-e DIR`) stay links to DIR, which must be there whenever the environment is used
    #[arg(long)]
    keep_editable: bool,
    /// environment.yml, `@EXPLICIT` file or list of packages; with --lock it may be left out
    #[arg(value_name = "env_file", required_unless_present = "lock")]
    env_file: Option<PathBuf>,
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// When something was asked for that cannot be done; the dialect prints it and exits with 1.
pub(crate) fn parse(
    arguments: &[OsString],
    environment: &Environment,
    report: &Report,
) -> anyhow::Result<Command> {
    report.speak(Speech::Tykky);
    if arguments.is_empty() {
        let help = Cli::command().render_help().to_string();
        return Ok(Command::Print(usage::lower_usage(help.trim_end())));
    }
    let argv = std::iter::once(OsString::from(PROGRAM)).chain(arguments.iter().cloned());
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => return Ok(usage::command(PROGRAM, &error)),
    };
    cli.logging.apply(report);
    match cli.command {
        Verb::New(new) => Ok(Command::Build(Box::new(plan(
            *new,
            arguments,
            environment,
            report,
        )?))),
        Verb::Update(_) => bail!(not_yet("`update`", "build anew with `new --force`")),
        Verb::Advanced(_) => bail!(not_yet("`advanced`", "use `new`")),
    }
}

fn not_yet(what: &str, way_out: &str) -> Refusal {
    Refusal::new(
        format!("{what} is not supported by this version of condense"),
        way_out,
    )
}

fn plan(
    new: New,
    arguments: &[OsString],
    environment: &Environment,
    report: &Report,
) -> anyhow::Result<Plan> {
    let New {
        prefix,
        base_image,
        site,
        tmpdir,
        compression,
        block_size,
        force,
        copy_base,
        dry_run,
        mamba: _,
        uv,
        nocache,
        post_install,
        pre_install,
        environ,
        wrapper_paths,
        requirement,
        lock,
        lock_environment,
        keep_editable,
        env_file,
        network,
    } = new;
    let lock = lock.map(|path| Lock {
        path,
        environment: lock_environment,
        alone: env_file.is_none(),
    });
    let env_file = env_file
        .or_else(|| lock.as_ref().map(|lock| lock.path.clone()))
        .expect("clap asks for one of the two");
    let spec_path = environment.cwd.join(&env_file);
    if !spec_path.exists() {
        bail!("Env file {} does not exist", env_file.display());
    }
    let additions = Additions {
        requirements: requirement
            .map(|path| existing(&path, "Requirements file", environment))
            .transpose()?,
        pre_install: pre_install
            .map(|path| existing(&path, "Pre-install script", environment))
            .transpose()?,
        post_install: post_install
            .map(|path| existing(&path, "Post-install script", environment))
            .transpose()?,
        environ: environ
            .map(|path| existing(&path, "Environ file", environment))
            .transpose()?,
        uv,
        uv_program: if uv { uv_on_path(environment) } else { None },
        no_cache: nocache,
        work_dir: environment.cwd.clone(),
    };
    let (catalogue, site) = site.load(environment, report)?;
    let base = choose_base(base_image, &catalogue, &site, environment, report)?;
    let preferred = site.codecs.first().map(|codec| codec.parse()).transpose()?;
    let condarc = condarc(environment, report)?;
    let cache_dir = environment.cache_dir(site_path(site.cache_dir.as_ref(), environment));
    Ok(Plan {
        spec_path: env_file,
        lock,
        keep_editable,
        surroundings: environment.surroundings(),
        prefix_dir: clean(&environment.cwd.join(prefix.unwrap_or_default())),
        base,
        force,
        copy_base,
        scratch_parent: scratch_parent(tmpdir, environment, &site)?,
        keep_scratch: environment.get(env_vars::CW_DEBUG_KEEP_FILES).is_some(),
        registries: Registries {
            offline: network.offline,
            ..Registries::read(Wishes::default(), Some(cache_dir.clone()), environment)?
        },
        network: network.settings(environment, cache_dir, condarc.as_ref())?,
        condarc,
        pip_without_index: environment.get(env_vars::PIP_NO_INDEX).is_some(),
        installation_path: site.installation_path.clone(),
        environment: ENVIRONMENT.into(),
        runtime: runtime(environment, &site),
        binds: binds(environment, &site),
        runtime_flags: site.flags.clone(),
        wrapper_paths: match wrapper_paths {
            Some(list) => wrap::wrapper_paths(&list)?,
            None => Vec::new(),
        },
        extra_text: match &additions.environ {
            Some(path) => Some(fs_err::read_to_string(path)?),
            None => None,
        },
        additions,
        compression: compression.or(preferred).unwrap_or_default(),
        block_size,
        overrides: overrides(environment),
        source_date_epoch: environment.source_date_epoch()?,
        dry_run,
        command_line: std::iter::once(PROGRAM.to_owned())
            .chain(
                arguments
                    .iter()
                    .map(|word| word.to_string_lossy().into_owned()),
            )
            .collect(),
    })
}

/// A file that the user names, absolute.
///
/// # Errors
/// When it is not there.
pub(super) fn existing(
    path: &Path,
    what: &str,
    environment: &Environment,
) -> anyhow::Result<PathBuf> {
    let absolute = environment.cwd.join(path);
    if !absolute.is_file() {
        bail!("{what} {} does not exist", path.display());
    }
    Ok(absolute)
}

/// uv itself, no script in its place that a container could not start.
pub(super) fn uv_on_path(environment: &Environment) -> Option<PathBuf> {
    let search_path = environment.get(env_vars::PATH)?;
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("uv"))
        .find(|program| {
            let mut start = [0; 4];
            std::fs::File::open(program)
                .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
                .is_ok_and(|()| start == *b"\x7fELF")
        })
}

/// Without `.` and empty components; `..` stays, it may stand behind a link.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, std::path::Component::CurDir))
        .collect()
}

/// The runtime that the site names.
pub(super) fn runtime(environment: &Environment, site: &Site) -> Option<PathBuf> {
    let look = |name: &str| environment.get(name).map(str::to_owned);
    let path = site.singularity_executable_path.as_ref()?;
    Some(PathBuf::from(expand(path, look)))
}

/// The site's binds, expanded.
pub(super) fn binds(environment: &Environment, site: &Site) -> Vec<(PathBuf, PathBuf)> {
    let binds = site.binds.iter();
    binds.map(|text| site_bind(text, environment)).collect()
}

/// conda's CONDA_OVERRIDE_* variables.
pub(super) fn overrides(environment: &Environment) -> Overrides {
    let look = |name: &str| environment.get(name).map(str::to_owned);
    Overrides {
        glibc: look(env_vars::CONDA_OVERRIDE_GLIBC),
        cuda: look(env_vars::CONDA_OVERRIDE_CUDA),
        linux: look(env_vars::CONDA_OVERRIDE_LINUX),
        archspec: look(env_vars::CONDA_OVERRIDE_ARCHSPEC),
    }
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

#[cfg(test)]
mod tests;
