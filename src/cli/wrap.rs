//! Responsible for `wrap-container` and `wrap-install`: Tykky's command lines for existing
//! containers and installed software.

use std::{ffi::OsString, path::PathBuf};

use anyhow::bail;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use condense_image::{BlockSize, Compression};

use super::{
    Command,
    base::choose_base,
    block_cache,
    build::{base_file, clean, given_text, rules},
    build_env::BuildEnvArguments,
    condense::Logging,
    dry_run::DryRunArguments,
    help,
    mpi::MpiArguments,
    registries::{self, RegistryOptions},
    run_settings::{checks, compression, keeps_scratch, runtime, scratch_parent},
    site::{SiteArguments, other_names, site_path},
    usage,
};
use crate::console::{Console, OutputStyle};
use condense_build::plan::{
    BaseChoice, Generation, Installation, MountPoint, RunSettings, WrapInput, WrapPlan, Wrapped,
};
use condense_catalogue::SiteRules;
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;

/// Arguments of both commands.
#[derive(Debug, Args)]
struct Common {
    /// show this help message and exit
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    logging: Logging,
    #[command(flatten)]
    site: SiteArguments,
    /// directory of the installation; default: the current directory
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// file whose lines every wrapper runs on the host before the container starts
    #[arg(long, value_name = "FILE")]
    environ: Option<PathBuf>,
    /// programs that get a wrapper, separated by commas: files, or directories of programs
    #[arg(short = 'w', long, value_name = "LIST", required = true)]
    wrapper_paths: String,
    /// configuration in Tykky's format, which overrides that of the site
    #[arg(short = 'y', long, value_name = "FILE")]
    yaml: Option<PathBuf>,
    /// parent of the scratch directory
    #[arg(long, value_name = "DIR")]
    tmpdir: Option<PathBuf>,
    /// replace an existing installation
    #[arg(long)]
    force: bool,
    /// give the installation its own copy of the base image
    #[arg(long)]
    copy_base: bool,
    /// programs do not see the user's own Python packages in ~/.local; CONDENSE_NO_USER_SITE=0 at a
    /// start shows them again
    #[arg(long)]
    no_user_site: bool,
    #[command(flatten)]
    mpi: MpiArguments,
    #[command(flatten)]
    dry_run: DryRunArguments,
}

#[derive(Debug, Parser)]
#[command(
    about = "Wraps programs of a container",
    disable_help_flag = true,
    infer_long_args = true,
    args_override_self = true
)]
struct Container {
    #[command(flatten)]
    common: Common,
    /// container: a local .sif file, a sandbox directory, docker://NAME, oras://NAME, oci:DIR, an
    /// archive, or an image of the catalogue (`condense base ls`)
    container: String,
}

#[derive(Debug, Parser)]
#[command(
    about = "Packs an installed directory into one file with wrappers that run its programs in a container",
    disable_help_flag = true,
    infer_long_args = true,
    args_override_self = true
)]
struct Directory {
    #[command(flatten)]
    common: Common,
    /// mount the image over the directory itself
    #[arg(long)]
    mask: bool,
    /// script that changes the packed copy of the directory, run in the container
    #[arg(long, value_name = "FILE")]
    post_install: Option<PathBuf>,
    /// script that changes the packed copy of the directory before `--post-install` runs
    #[arg(long, value_name = "FILE")]
    pre_install: Option<PathBuf>,
    /// base image: a local .sif file, a sandbox directory, or an image of the catalogue; default:
    /// the site's
    #[arg(long, value_name = "REF")]
    base_image: Option<String>,
    /// compression of the image: zstd:1..22, gzip:1..12, lz4, lz4:hc, xz:0..9 or none; default: the
    /// first codec of the site, else zstd:3, or gzip:6 if the runtime is not known to support zstd
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compression: Option<Compression>,
    #[command(flatten)]
    build_env: BuildEnvArguments,
    /// directory that is packed
    dir: PathBuf,
}

/// Command whose arguments are parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Tykky's `wrap-container`, which wraps programs of a container.
    Container,
    /// Tykky's `wrap-install`, which packs and wraps installed software.
    Install,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Container => "wrap-container",
            Self::Install => "wrap-install",
        }
    }

    /// Returns clap's definition of the command line.
    pub(crate) fn command(self) -> clap::Command {
        let command = match self {
            Self::Container => Container::command(),
            Self::Install => Directory::command(),
        };
        help::complete(
            command.name(self.name()).bin_name(self.name()),
            self.name(),
            &[],
        )
    }
}

/// Parses the arguments that follow the program's name.
///
/// # Errors
/// Returns an error if a valid command line asks for something that cannot be done. The program
/// prints the error and exits with 1.
pub(crate) fn parse(
    tool: Tool,
    arguments: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<Command> {
    console.set_style(OutputStyle::Tykky);
    let mut command = tool.command();
    if arguments.is_empty() {
        let help = command.render_help().to_string();
        return Ok(Command::Print(usage::lower_usage(help.trim_end())));
    }
    let dialect = usage::Dialect {
        program: tool.name(),
        verb: None,
        is_long_first: false,
        usages: &[],
    };
    let read = dialect.read(&command, arguments, console);
    let matches = match read.and_then(usage::Read::known) {
        Ok(matches) => matches,
        Err(told) => return Ok(told),
    };
    let command_line = std::iter::once(tool.name().to_owned())
        .chain(
            arguments
                .iter()
                .map(|word| word.to_string_lossy().into_owned()),
        )
        .collect();
    let plan = match tool {
        Tool::Container => {
            let Container { common, container } = Container::from_arg_matches(&matches)?;
            let asked = CommandOptions {
                base: Some(container),
                directory: None,
                scripts: Vec::new(),
                compression: None,
                build_env: BuildEnvArguments::default(),
            };
            plan(common, asked, command_line, env_vars, console)?
        }
        Tool::Install => {
            let install = Directory::from_arg_matches(&matches)?;
            let scripts = [install.pre_install, install.post_install];
            let asked = CommandOptions {
                base: install.base_image,
                directory: Some((install.dir, install.mask)),
                scripts: scripts.into_iter().flatten().collect(),
                compression: install.compression,
                build_env: install.build_env,
            };
            plan(install.common, asked, command_line, env_vars, console)?
        }
    };
    Ok(Command::Wrap(Box::new(plan)))
}

/// Options that only one of the two commands has.
struct CommandOptions {
    base: Option<String>,
    directory: Option<(PathBuf, bool)>,
    scripts: Vec<PathBuf>,
    compression: Option<Compression>,
    build_env: BuildEnvArguments,
}

fn plan(
    mut common: Common,
    asked: CommandOptions,
    command_line: Vec<String>,
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<WrapPlan> {
    common.logging.apply(console);
    let dry_run = common.dry_run.apply(console);
    if let Some(path) = common.yaml.take() {
        let text = condense_input::read_named_to_string(
            env_vars.cwd.join(&path),
            condense_input::TEXT_MOST,
        )?;
        common.site.configuration = Some((path, text));
    }
    let (catalogue, site) = common.site.load(env_vars, console)?;
    let submission = common.dry_run.submit.submission(&site, env_vars)?;
    let wrapper_paths = wrapper_paths(&common.wrapper_paths)?;
    let what = wrapped(asked.directory.as_ref(), &wrapper_paths, env_vars)?;
    let mut scripts = Vec::new();
    for script in asked.scripts {
        scripts.extend(given_text(Some(script), "Script", env_vars)?);
    }
    let base = choose_base(asked.base, &catalogue, &site, env_vars, console)?;
    let base = match (what.clone(), base) {
        // Programs of a wrapped container see the system directories of the container, not those of
        // the host.
        (Wrapped::Container, BaseChoice::Site(reference)) => BaseChoice::Named(reference),
        (_, base) => base,
    };
    let extra_text = match &common.environ {
        Some(path) => Some(condense_input::read_named_to_string(
            env_vars.cwd.join(path),
            condense_input::TEXT_MOST,
        )?),
        None => None,
    };
    let mount_point = match &what {
        Wrapped::Directory { dir, mask: true } => MountPoint::Fixed(dir.clone()),
        _ => MountPoint::Prefix(site.installation_path.clone().into()),
    };
    let scratch_parent = scratch_parent(common.tmpdir, env_vars, &site)?;
    let cache_dir = env_vars.cache_dir(site_path(site.cache_dir.as_ref(), env_vars));
    let registries = registries::read(
        RegistryOptions::default(),
        Some(cache_dir.clone()),
        env_vars,
    )?;
    let other_names = other_names(&site, env_vars)?;
    let mut rules = rules(env_vars, &site);
    rules.mpi.source = common.mpi.source();
    let settings = RunSettings {
        scratch_parent,
        keep_scratch: keeps_scratch(env_vars),
        registries,
        blocks: block_cache::read(env_vars, cache_dir)?,
        runtime: runtime(env_vars, &site),
        build_env: asked.build_env.read(env_vars)?,
        rules: SiteRules {
            no_user_site: common.no_user_site,
            ..rules
        },
        checks: checks(env_vars, &site)?,
    };
    let generation = Generation {
        dir: clean(&env_vars.cwd.join(common.prefix.unwrap_or_default())),
        wrapper_paths,
        extra_text,
        other_names,
        compression_is_default: asked.compression.is_none(),
        compression: compression(asked.compression, env_vars, &site)?,
        block_size: BlockSize::default(),
        source_date_epoch: env_vars.source_date_epoch()?,
        command_line,
    };
    Ok(WrapPlan {
        input: WrapInput {
            what,
            scripts,
            work_dir: env_vars.cwd.clone(),
        },
        output: Installation {
            generation,
            mount_point,
            force: common.force,
            base_file: base_file(common.copy_base, &site),
        },
        base,
        dry_run,
        submission,
        settings,
    })
}

/// Returns the container or the directory whose programs are wrapped.
fn wrapped(
    directory: Option<&(PathBuf, bool)>,
    wrapper_paths: &[PathBuf],
    env_vars: &EnvVars,
) -> anyhow::Result<Wrapped> {
    let what = match directory {
        None => Wrapped::Container,
        Some((dir, mask)) => {
            let path = env_vars.cwd.join(dir);
            if !path.is_dir() {
                bail!("{} is not a directory", dir.display());
            }
            Wrapped::Directory {
                dir: fs_err::canonicalize(path)?,
                mask: *mask,
            }
        }
    };
    if what == Wrapped::Container
        && let Some(relative) = wrapper_paths.iter().find(|path| path.is_relative())
    {
        bail!(UserError::new(
            format!("`-w {}` is not an absolute path", relative.display()),
            "programs of a container are named as they are in it: -w /usr/bin/python3",
        ));
    }
    Ok(what)
}

/// Splits Tykky's list of paths at its commas.
///
/// # Errors
/// Returns an error if the list has no path.
pub(crate) fn wrapper_paths(list: &str) -> anyhow::Result<Vec<PathBuf>> {
    let paths: Vec<PathBuf> = list
        .split(',')
        .map(str::trim)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect();
    if paths.is_empty() {
        let error = UserError::new(
            format!("`-w {list}` names no program"),
            "name files or directories of programs, between commas",
        );
        bail!(error.of_usage());
    }
    Ok(paths)
}
