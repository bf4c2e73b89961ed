//! Responsible for `cotainr`: the command line of cotainr, which makes one SIF from a base image
//! and a conda environment.
//!
//! The behaviour of argparse is kept: unique prefixes of long options are accepted, options and the
//! positional argument may be in any order, the last of repeated options wins, help is printed on
//! standard output with exit status 0, and usage errors are printed on standard error with exit
//! status 2.

mod info;
mod plan;
mod question;
mod systems;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{Command, condense::Context, dry_run, help, sif::SifOptions, submit, usage};
use crate::console::{self, Console, OutputStyle, cotainr::CotainrRenderer};
use condense_env_vars::{self as env_vars, EnvVars};
use systems::Systems;

const PROGRAM: &str = "cotainr";
/// Output of `--version`: the version of cotainr whose command line is implemented, and the version
/// of condense.
const VERSION: &str = concat!("2025.7.1+condense.", env!("CARGO_PKG_VERSION"));
const USAGE: &str = "cotainr [-h] [--version] {build,info} ...";
const USAGE_BUILD: &str = "cotainr build [-h] (--base-image BASE_IMAGE | --system SYSTEM)
                     [--conda-env CONDA_ENV] [--accept-licenses]
                     [--verbose | --quiet] [--log-to-file] [--no-color]
                     [further options] image_path";
const DIALECT: usage::Dialect = usage::Dialect {
    program: PROGRAM,
    verb: None,
    is_long_first: true,
    usages: &[
        (PROGRAM, USAGE),
        ("cotainr build", USAGE_BUILD),
        ("cotainr info", "cotainr info [-h]"),
    ],
};
/// Options of cotainr itself. A prefix that is unique among them selects the same option as in
/// cotainr, even if one of the additional options begins with it.
const OPTIONS: [&str; 9] = [
    "help",
    "base-image",
    "system",
    "conda-env",
    "accept-licenses",
    "verbose",
    "quiet",
    "log-to-file",
    "no-color",
];

#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    bin_name = PROGRAM,
    about = "Puts conda environments into container images for Apptainer and Singularity",
    override_usage = USAGE,
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    infer_long_args = true
)]
struct Cli {
    /// show this help message and exit
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
    /// show the version and exit
    #[arg(long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a container image from a base image and a conda environment
    Build(Box<Build>),
    /// Show the programs and systems that are available for a build
    #[command(disable_help_flag = true)]
    Info(Info),
}

#[derive(Debug, Args)]
struct Info {
    /// show this help message and exit
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Debug, Args)]
#[command(
    override_usage = USAGE_BUILD,
    after_help = "Options that cotainr does not have are those below Input, Base and site, Image,\n\
    Scripts, Network and Output.",
    disable_help_flag = true,
    infer_long_args = true,
    args_override_self = true
)]
struct Build {
    /// show this help message and exit
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
    /// base image: a .sif, a sandbox directory, docker://NAME, oras://NAME, oci:DIR, an archive, or
    /// an image of the catalogue (`condense base ls`)
    #[arg(long, value_name = "BASE_IMAGE")]
    base_image: Option<String>,
    /// system whose base image in systems.json is used; without such a file, an image of the
    /// catalogue (`condense base ls`)
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    /// file with the conda environment that is installed in the image
    #[arg(long, value_name = "CONDA_ENV")]
    conda_env: Option<PathBuf>,
    /// accepted for compatibility; no Miniforge is installed, so there is no licence to accept
    #[arg(long)]
    accept_licenses: bool,
    /// show more messages; may be given up to five times
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// show only error messages
    #[arg(short, long, action = ArgAction::Count)]
    quiet: u8,
    /// also write the messages to cotainr_build_TIME.out and .err in the current directory
    #[arg(long)]
    log_to_file: bool,
    /// print messages without colours
    #[arg(long)]
    no_color: bool,
    #[command(flatten)]
    more: ExtraOptions,
    /// path of the image
    image_path: Option<PathBuf>,
}

/// Options that cotainr itself does not have.
#[derive(Debug, Args)]
struct ExtraOptions {
    /// conda package to install; may be given several times
    #[arg(long, value_name = "SPEC", action = ArgAction::Append)]
    packages: Vec<String>,
    /// requirements file for pip
    #[arg(long, value_name = "FILE")]
    requirements: Option<PathBuf>,
    /// channel of `--packages`; default: conda-forge; may be given several times
    #[arg(long, value_name = "CHANNEL", action = ArgAction::Append)]
    channel: Vec<String>,
    #[command(flatten)]
    sif: SifOptions,
    /// replace an existing image without asking
    #[arg(short, long, visible_alias = "force")]
    yes: bool,
}

/// Returns clap's definition of the command line, for completion.
pub(crate) fn command() -> clap::Command {
    help::complete(Cli::command(), PROGRAM, &OPTIONS)
}

/// Returns the names that `--system` takes, for completion. A file with a mistake has none.
pub(crate) fn system_names(env_vars: &EnvVars, catalogue: Option<&Path>) -> Vec<String> {
    let systems = Systems::load(env_vars, catalogue).unwrap_or_default();
    systems.names().map(str::to_owned).collect()
}

/// Parses the arguments that follow the program's name.
///
/// # Errors
/// Returns an error if a log file of `--log-to-file` cannot be created. Other problems are reported
/// when the command runs, after the question whether to overwrite the image.
pub(crate) fn parse(
    arguments: &[OsString],
    env_vars: &EnvVars,
    console: &Console,
) -> anyhow::Result<Command> {
    let arguments = expand_prefixes(arguments);
    let read = match DIALECT.read(&command(), &arguments, console) {
        Ok(read) => read,
        Err(told) => return Ok(told),
    };
    let cli = Cli::from_arg_matches(&read.matches)?;
    if let (Some(Verb::Build(build)), Some(found)) =
        (&cli.command, read.matches.subcommand_matches("build"))
        && let Some(problem) = refuse_together(build, found)
    {
        let text = format!("usage: {USAGE_BUILD}\ncotainr build: error: {problem}");
        return Ok(Command::Usage(text));
    }
    if let Err(told) = read.known() {
        return Ok(told);
    }
    if cli.version {
        return Ok(Command::Print(format!("{PROGRAM} {VERSION}")));
    }
    match cli.command {
        None => {
            let help = command().render_help().to_string();
            Ok(Command::Print(usage::lower_usage(help.trim_end())))
        }
        Some(Verb::Info(_)) => {
            console.set_style(OutputStyle::Cotainr(CotainrRenderer::new(0, true, None)?));
            Ok(Command::Run(Box::new(|context| {
                let systems = Systems::load(context.env_vars, None)?;
                let search_path = context.env_vars.get(env_vars::PATH).unwrap_or_default();
                let colour = context.env_vars.get(env_vars::NO_COLOR).is_none();
                let text = info::render(search_path.as_ref(), &systems, colour);
                context.console.coloured(&text);
                Ok(ExitCode::SUCCESS)
            })))
        }
        Some(Verb::Build(build)) => {
            console.set_style(OutputStyle::Cotainr(renderer(&build, env_vars)?));
            Ok(Command::Run(Box::new(move |context| run(*build, context))))
        }
    }
}

/// Returns argparse's error about arguments that exclude each other, or that are missing.
fn refuse_together(build: &Build, matches: &ArgMatches) -> Option<String> {
    let index = |id: &str| {
        let given = matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
        given.then(|| matches.indices_of(id)?.max()).flatten()
    };
    for (one, other) in [
        (("base_image", "--base-image"), ("system", "--system")),
        (("verbose", "--verbose/-v"), ("quiet", "--quiet/-q")),
    ] {
        if let (Some(first), Some(second)) = (index(one.0), index(other.0)) {
            let (late, early) = if first < second {
                (other.1, one.1)
            } else {
                (one.1, other.1)
            };
            return Some(format!(
                "argument {late}: not allowed with argument {early}"
            ));
        }
    }
    if build.image_path.is_none() {
        return Some("the following arguments are required: image_path".to_owned());
    }
    if build.base_image.is_none() && build.system.is_none() {
        return Some("one of the arguments --base-image --system is required".to_owned());
    }
    None
}

/// Expands prefixes of cotainr's own options: `--base` becomes `--base-image`, because no other
/// option of cotainr begins with it.
fn expand_prefixes(arguments: &[OsString]) -> Vec<OsString> {
    let mut is_option = true;
    let mut expanded = Vec::new();
    for word in arguments {
        expanded.push(expand_prefix(word, &mut is_option));
    }
    expanded
}

fn expand_prefix(word: &OsString, is_option: &mut bool) -> OsString {
    let Some(text) = word.to_str().filter(|_| *is_option) else {
        return word.clone();
    };
    if text == "--" {
        *is_option = false;
    }
    let Some(option) = text.strip_prefix("--").filter(|option| !option.is_empty()) else {
        return word.clone();
    };
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let mut candidates = OPTIONS.iter().filter(|known| known.starts_with(name));
    match (candidates.next(), candidates.next(), value) {
        (Some(known), None, Some(value)) => format!("--{known}={value}").into(),
        (Some(known), None, None) => format!("--{known}").into(),
        _ => word.clone(),
    }
}

fn renderer(build: &Build, env_vars: &EnvVars) -> anyhow::Result<CotainrRenderer> {
    let verbosity = if build.quiet > 0 {
        -1
    } else {
        i32::from(build.verbose)
    };
    let colour = !build.no_color && env_vars.get(env_vars::NO_COLOR).is_none();
    let log = build.log_to_file.then(|| {
        let time = console::cotainr::now("%Y-%m-%dT%H.%M.%S.%6f");
        env_vars.cwd.join(format!("cotainr_build_{time}"))
    });
    Ok(CotainrRenderer::new(verbosity, colour, log.as_deref())?)
}

/// Builds the image. As in cotainr, the question whether to overwrite comes first.
fn run(build: Build, context: &Context) -> anyhow::Result<ExitCode> {
    let Context {
        console, env_vars, ..
    } = context;
    let started = Instant::now();
    let out = build.image_path.clone().unwrap_or_default();
    let out = lexical(&env_vars.cwd.join(out));
    let is_dry_run = build.more.sif.dry_run.apply(console);
    // The question was asked before the build was submitted.
    let is_asked = env_vars.get(env_vars::CONDENSE_SUBMITTED).is_some();
    if out.exists() && !build.more.yes && !is_dry_run && !is_asked {
        // The plan refuses everything else, such as a directory.
        let is_file = out.is_file();
        if is_file && console.wants_json() {
            anyhow::bail!(condense_diagnostics::UserError::new(
                format!(
                    "`{}` is there already, and nobody can be asked",
                    out.display()
                ),
                "add `--yes`",
            ));
        }
        if is_file && !question::may_overwrite(&out, console)? {
            console.usage(&format!(
                "You have chosen not to overwrite {}. Exiting.",
                out.display()
            ));
            return Ok(ExitCode::SUCCESS);
        }
    }
    let accepted = build.accept_licenses;
    let plan = plan::make(build, out, env_vars, console)?;
    if let Some(submission) = &plan.submission {
        return submit::run(submission, plan.dry_run, context);
    }
    if plan.dry_run {
        return dry_run::show(&plan, condense_build::preview_sif, context);
    }
    if accepted {
        console.info("No Miniforge is installed, so there is no licence to accept");
    }
    super::build_sif(&plan, context)?;
    let seconds = started.elapsed().as_secs();
    console.info(format!(
        "Finished building {} in {:02}:{:02}:{:02}",
        plan.output.file.display(),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    ));
    Ok(ExitCode::SUCCESS)
}

/// Removes `.` and `..` from a path without reading the file system, as Python's `resolve` does for
/// paths that do not exist yet.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests;
