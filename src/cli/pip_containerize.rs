//! Responsible for `pip-containerize`: Tykky's command line for packages of pip in a virtual
//! environment, whose Python is not part of the image unless uv provides it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{
    Command,
    advanced::{self, AdvancedArguments, TargetCommand},
    build::{self, BuildArguments, CommandOptions, PackagesOption, VenvOptions},
    condense::{
        Logging,
        inputs::{FileKind, kind_of},
    },
    help,
    update::{self, Asked, UpdateArguments},
    usage,
};
use crate::console::{Console, OutputStyle};
use condense_build::plan::{InstallationPlan, PackageChange, UpdatedKind};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;

const PROGRAM: &str = "pip-containerize";
const DIALECT: usage::Dialect = usage::Dialect {
    program: PROGRAM,
    verb: Some("command"),
    is_long_first: false,
    usages: &[],
};
/// Path of the environment below the mount point. Scripts of Tykky's users expect this path.
const ENVIRONMENT: &str = "env1";

#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    bin_name = PROGRAM,
    about = "Packs pip's packages into one file with wrappers that run them, on a Python that stays where it is",
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
    /// uv installs the packages, with a Python that uv downloads and that becomes part of the image
    #[arg(long, conflicts_with = "slim")]
    uv: bool,
    /// use the Python of the base image docker://python:slim; the host's system directories are not
    /// visible
    #[arg(long, conflicts_with_all = ["base_image", "interpreter"])]
    slim: bool,
    /// version of Python with --uv or --slim, or with a base image that has several; with --slim
    /// also a whole tag
    #[arg(long, value_name = "VERSION")]
    pyver: Option<String>,
    /// the Python of this machine that is used; default: the first python3 on PATH, or that of a
    /// base image that is named
    #[arg(long, value_name = "PROGRAM", conflicts_with = "uv")]
    interpreter: Option<PathBuf>,
    /// packages of the interpreter are visible in the environment as well
    #[arg(long)]
    system_site_packages: bool,
    /// let editable requirements (`-e DIR`) stay links to DIR, which must be there whenever the
    /// environment is used
    #[arg(long)]
    keep_editable: bool,
    /// requirements file with the packages for pip
    #[arg(value_name = "requirements_file")]
    requirements_file: PathBuf,
    #[command(flatten)]
    common: BuildArguments,
}

#[derive(Debug, Args)]
struct Update {
    #[command(flatten)]
    common: UpdateArguments,
    /// requirements file with the packages for pip
    #[arg(short = 'r', long, value_name = "FILE")]
    requirements_file: Option<PathBuf>,
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
            let asked = Asked {
                program: PROGRAM,
                kind: UpdatedKind::Venv,
                dir: found.common.dir,
                requirements: found.requirements_file,
                pip: Vec::new(),
                change: PackageChange::default(),
            };
            let options = found.common.options;
            let plan = update::plan(options, asked, arguments, env_vars, console)?;
            Ok(Command::Update(Box::new(plan)))
        }
        Verb::Advanced(found) => {
            let advanced = advanced::read(&found, TargetCommand::Pip, PROGRAM, env_vars)?;
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

/// Refuses an environment file and a lock, which other commands take.
fn refuse_other_kinds(path: &Path, env_vars: &EnvVars) -> anyhow::Result<()> {
    let file = path.display();
    let (what, option) = match kind_of(path, env_vars) {
        Ok(FileKind::Lock) => ("a lock file", "--lock "),
        // Lists of names are read by pip as well.
        Ok(FileKind::Environment) if is_yaml(path) => ("an environment file for conda", ""),
        _ => return Ok(()),
    };
    anyhow::bail!(UserError::new(
        format!("`{file}` is {what}, not a requirements file"),
        format!("`conda-containerize new --prefix DIR {option}{file}` takes it"),
    ));
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "yml" || end == "yaml")
}

fn plan(
    new: New,
    arguments: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<InstallationPlan> {
    let New {
        mut common,
        uv,
        slim,
        pyver,
        interpreter,
        system_site_packages,
        keep_editable,
        requirements_file,
    } = new;
    build::existing(&requirements_file, "Requirements file", env_vars)?;
    refuse_other_kinds(&requirements_file, env_vars)?;
    if slim {
        let tag = match &pyver {
            None => "slim".to_owned(),
            Some(version) if version.contains("slim") => version.clone(),
            Some(version) => format!("{version}-slim"),
        };
        common.options.base_image = Some(format!("docker://python:{tag}"));
    }
    let venv = VenvOptions {
        python: interpreter.map(|path| match path.components().count() {
            1 => path,
            _ => env_vars.cwd.join(path),
        }),
        // The tag decides the version of the image's Python.
        version: if slim { None } else { pyver },
        managed: uv,
        system_site_packages,
    };
    let (dir, options) = common.split(env_vars);
    let asked = CommandOptions {
        program: PROGRAM,
        dir,
        packages: PackagesOption::Requirements(requirements_file, venv),
        keep_editable,
        requirement: None,
        pip: Vec::new(),
        uv,
        environment: ENVIRONMENT,
    };
    build::plan(options, asked, arguments, env_vars, console)
}

#[cfg(test)]
mod tests;
