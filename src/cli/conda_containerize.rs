//! Responsible for `conda-containerize`: Tykky's command line for conda environments.
//!
//! The behaviour of argparse is kept: unique prefixes of long options are accepted, options and
//! positional arguments may be in any order, `-h` prints on standard output and exits with 0, and
//! usage errors are printed on standard error with exit status 2.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{
    Command,
    advanced::{self, AdvancedArguments, TargetCommand},
    build::{self, BuildArguments, CommandOptions, PackagesOption},
    condense::{
        Logging,
        inputs::{FileKind, Inputs, kind_of, refuse_empty},
    },
    help,
    update::{self, Asked, UpdateArguments},
    usage,
};
use crate::console::{Console, OutputStyle};
use condense_build::plan::{
    CondaInput, InstallationPlan, Lock, PackageChange, PackageRequest, UpdatedKind,
};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;

const PROGRAM: &str = "conda-containerize";
const DIALECT: usage::Dialect = usage::Dialect {
    program: PROGRAM,
    verb: Some("command"),
    is_long_first: false,
    usages: &[],
};
/// Path of the environment below the mount point. Scripts of Tykky's users expect this path.
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
    #[command(infer_long_args = true, args_override_self = true)]
    New(Box<New>),
    /// install more into an installation, in a new generation of it
    #[command(infer_long_args = true, args_override_self = true)]
    Update(Box<Update>),
    /// make a new installation as a configuration file says
    #[command(infer_long_args = true, args_override_self = true)]
    Advanced(AdvancedArguments),
}

#[derive(Debug, Args)]
struct New {
    /// accepted; the built-in solver is always used
    #[arg(long)]
    mamba: bool,
    #[command(flatten)]
    conda: CondaOptions,
    /// environment.yml, `@EXPLICIT` file or list of packages; with --lock it may be left out
    #[arg(value_name = "env_file", required_unless_present = "lock")]
    env_file: Option<PathBuf>,
    #[command(flatten)]
    common: BuildArguments,
}

/// Options of all commands that make conda environments.
#[derive(Debug, Args)]
pub(super) struct CondaOptions {
    /// install pip requirements with uv: the uv of the environment, the uv on PATH, or the newest
    /// uv of pip's index
    #[arg(long)]
    pub(super) uv: bool,
    /// requirements file for pip, installed together with what the environment file lists under
    /// `pip:`
    #[arg(short = 'r', long, value_name = "FILE")]
    pub(super) requirement: Option<PathBuf>,
    /// install exactly the packages of this lock file: a condense.lock, a pixi.lock or a
    /// conda-lock.yml
    #[arg(long, value_name = "FILE")]
    pub(super) lock: Option<PathBuf>,
    /// environment of the lock file; for a conda-lock.yml, a category besides `main`
    #[arg(long, value_name = "NAME", requires = "lock")]
    pub(super) lock_environment: Option<String>,
    /// let editable pip requirements (`-e DIR`) stay links to DIR, which must be there whenever
    /// the environment is used
    #[arg(long)]
    pub(super) keep_editable: bool,
}

impl CondaOptions {
    /// Returns the lock that the options name, if they name one.
    pub(super) fn lock(&self) -> Option<Lock> {
        Some(Lock {
            path: self.lock.clone()?,
            environment: self.lock_environment.clone(),
        })
    }
}

#[derive(Debug, Args)]
struct Update {
    #[command(flatten)]
    common: UpdateArguments,
    /// requirements file for pip
    #[arg(short = 'r', long, value_name = "FILE")]
    requirement: Option<PathBuf>,
    /// environment file whose packages are added; and packages that are added or get another
    /// version, such as numpy=2
    #[arg(value_name = "spec")]
    inputs: Vec<OsString>,
    /// package that is removed: one of conda, with what only it needed, or one of pip; may be given
    /// several times
    #[arg(long, value_name = "PKG")]
    remove: Vec<String>,
    /// let every conda package move to the newest version that the requests allow; without it,
    /// installed packages stay as they are where the change allows it
    #[arg(long = "update-all")]
    moves_all: bool,
    /// channel, which comes after those of the environment; may be given several times
    #[arg(short, long, value_name = "CHANNEL")]
    channel: Vec<String>,
}

/// Returns clap's definition of the command line, for completion.
pub(crate) fn command() -> clap::Command {
    help::complete(Cli::command(), PROGRAM, &[])
}

/// Parses the arguments that follow the program's name.
///
/// # Errors
/// Returns an error if a valid command line asks for something that cannot be done. The program
/// prints the error and exits with 1.
pub(crate) fn parse(
    arguments: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<Command> {
    console.set_style(OutputStyle::Tykky);
    if arguments.is_empty() {
        let help = command().render_help().to_string();
        return Ok(Command::Print(usage::lower_usage(help.trim_end())));
    }
    let read = DIALECT.read(&command(), arguments, console);
    let cli = match read.and_then(usage::Read::known) {
        Ok(matches) => Cli::from_arg_matches(&matches)?,
        Err(told) => return Ok(told),
    };
    cli.logging.apply(console);
    match cli.command {
        Verb::New(new) => Ok(Command::Build(Box::new(plan(
            *new, arguments, env_vars, console,
        )?))),
        Verb::Update(found) => {
            refuse_empty("--remove", &found.remove)?;
            refuse_empty("--channel", &found.channel)?;
            let added = Inputs::read(&found.inputs, env_vars, console)?;
            let added = added.additions(found.requirement)?;
            let asked = Asked {
                program: PROGRAM,
                kind: UpdatedKind::Conda,
                dir: found.common.dir,
                requirements: added.requirements,
                pip: Vec::new(),
                change: PackageChange {
                    file: added.file,
                    add: added.packages,
                    channels: found.channel,
                    remove: found.remove,
                    update_all: found.moves_all,
                },
            };
            let options = found.common.options;
            let plan = update::plan(options, asked, arguments, env_vars, console)?;
            Ok(Command::Update(Box::new(plan)))
        }
        Verb::Advanced(found) => {
            let advanced = advanced::read(&found, TargetCommand::Conda, PROGRAM, env_vars)?;
            let mut new = match Cli::try_parse_from(&advanced.argv) {
                Ok(Cli {
                    command: Verb::New(new),
                    ..
                }) => *new,
                Ok(_) => unreachable!("the first word is `new`"),
                Err(error) => {
                    let words = advanced.argv.get(1..).unwrap_or_default();
                    return Ok(DIALECT.command(&command(), words, &error));
                }
            };
            new.common.options.site.configuration = Some(advanced.configuration);
            new.common.options.given = advanced.given;
            let plan = plan(new, arguments, env_vars, console)?;
            Ok(Command::Build(Box::new(plan)))
        }
    }
}

fn plan(
    new: New,
    arguments: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<InstallationPlan> {
    let New {
        common,
        mamba: _,
        conda,
        env_file,
    } = new;
    let packages = CondaInput::new(env_file.map(PackageRequest::from_file), conda.lock())
        .expect("clap asks for one of the two");
    if let Some(file) = packages.source() {
        build::existing(file, "Env file", env_vars)?;
    }
    if let Some(file) = packages.file()
        && kind_of(file, env_vars).is_ok_and(|kind| kind == FileKind::Lock)
    {
        let file = file.display();
        anyhow::bail!(UserError::new(
            format!("{file}: this is a lock file, not an environment file"),
            format!("`--lock {file}` installs exactly its packages"),
        ));
    }
    let (dir, options) = common.split(env_vars);
    let asked = CommandOptions {
        program: PROGRAM,
        dir,
        packages: PackagesOption::Conda(packages),
        keep_editable: conda.keep_editable,
        requirement: conda.requirement,
        pip: Vec::new(),
        uv: conda.uv,
        environment: ENVIRONMENT,
    };
    build::plan(options, asked, arguments, env_vars, console)
}

#[cfg(test)]
mod tests;
