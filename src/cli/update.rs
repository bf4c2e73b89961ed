//! Responsible for the arguments that `conda-containerize update` and `pip-containerize update`
//! share, and for making the plan of an update.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use condense_image::Compression;

use super::{
    build::{clean, existing, given_text, uv_on_path},
    dry_run::DryRunArguments,
    mpi::MpiArguments,
    network::NetworkArguments,
    os_packages::OsPackagesArguments,
    run_settings::run_settings,
    site::SiteArguments,
    warm::WarmArguments,
    wrap,
};
use crate::console::Console;
use condense_build::plan::{ExtraInputs, PackageChange, UpdatePlan, UpdatedKind};
use condense_env_vars::EnvVars;

/// Options of all commands that change an installation.
#[derive(Debug, Args)]
pub(super) struct UpdateOptions {
    #[command(flatten)]
    site: SiteArguments,
    /// parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// pack all files again with this compression; default: the compressed blocks of unchanged
    /// files are reused
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compression: Option<Compression>,
    #[command(flatten)]
    os: OsPackagesArguments,
    #[command(flatten)]
    dry_run: DryRunArguments,
    /// run pip and uv without a cache, in this and later updates
    #[arg(long)]
    nocache: bool,
    /// script that runs in the container after everything is installed, with the environment
    /// activated
    #[arg(long, value_name = "FILE")]
    post_install: Option<PathBuf>,
    /// script that runs in the container before pip installs anything
    #[arg(long, value_name = "FILE")]
    pre_install: Option<PathBuf>,
    /// file whose lines every wrapper runs on the host before the container starts; it replaces the
    /// previous file
    #[arg(long, value_name = "FILE")]
    environ: Option<PathBuf>,
    /// further programs that get a wrapper, as for `new`; they replace the previous list
    #[arg(short = 'w', long, value_name = "LIST")]
    wrapper_paths: Option<String>,
    /// programs do not see the user's own Python packages in ~/.local, in this and later
    /// generations; CONDENSE_NO_USER_SITE=0 at a start shows them again
    #[arg(long)]
    no_user_site: bool,
    #[command(flatten)]
    warm: WarmArguments,
    #[command(flatten)]
    mpi: MpiArguments,
    #[command(flatten)]
    network: NetworkArguments,
}

/// Arguments of both `update` verbs of Tykky's commands.
#[derive(Debug, Args)]
pub(super) struct UpdateArguments {
    #[command(flatten)]
    pub(super) options: UpdateOptions,
    /// directory of the installation; options of the previous build that are not given again stay
    /// in effect
    #[arg(value_name = "dir")]
    pub(super) dir: PathBuf,
}

/// Change of an installation that a command line asks for, besides the options of all commands.
pub(super) struct Asked {
    pub(super) program: &'static str,
    pub(super) kind: UpdatedKind,
    pub(super) dir: PathBuf,
    /// Requirements file as it was named.
    pub(super) requirements: Option<PathBuf>,
    /// Requirements for pip that are named without a file.
    pub(super) pip: Vec<String>,
    pub(super) change: PackageChange,
}

/// Makes the plan of an update.
///
/// # Errors
/// Returns an error if an argument, a variable or a file is invalid.
pub(super) fn plan(
    arguments: UpdateOptions,
    asked: Asked,
    words: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<UpdatePlan> {
    let dry_run = arguments.dry_run.apply(console);
    let read = |path, what| given_text(path, what, env_vars);
    let inputs = ExtraInputs {
        requirements: match asked.requirements {
            Some(path) => Some(existing(&path, "Requirements file", env_vars)?),
            None => None,
        },
        pip: asked.pip,
        pre_install: read(arguments.pre_install, "Pre-install script")?,
        post_install: read(arguments.post_install, "Post-install script")?,
        environ: read(arguments.environ, "Environ file")?,
        uv: false,
        uv_program: uv_on_path(env_vars),
        no_cache: arguments.nocache,
        keep_editable: false,
        warm: arguments.warm.choice(),
        os_packages: arguments.os.names()?,
        work_dir: env_vars.cwd.clone(),
    };
    let (_, site) = arguments.site.load(env_vars, console)?;
    let (mut settings, packages) = run_settings(
        &arguments.network,
        arguments.tmpdir,
        env_vars,
        &site,
        console,
    )?;
    settings.rules.no_user_site = arguments.no_user_site;
    let submission = arguments.dry_run.submit.submission(&site, env_vars)?;
    settings.rules.mpi.source = arguments.mpi.source();
    Ok(UpdatePlan {
        settings,
        packages,
        dir: clean(&env_vars.cwd.join(asked.dir)),
        kind: asked.kind,
        change: asked.change,
        extra_text: inputs.environ.as_ref().map(|given| given.text.clone()),
        extra: inputs,
        wrapper_paths: match arguments.wrapper_paths {
            Some(list) => Some(wrap::wrapper_paths(&list)?),
            None => None,
        },
        compression: arguments.compression,
        source_date_epoch: env_vars.source_date_epoch()?,
        dry_run,
        submission,
        command_line: std::iter::once(asked.program.to_owned())
            .chain(words.iter().map(|word| word.to_string_lossy().into_owned()))
            .collect(),
    })
}
