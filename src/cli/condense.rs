//! Responsible for the verbs of `condense` itself. Each verb has one file with its arguments and
//! the function that runs it.

mod base;
mod build;
mod cache;
mod check;
mod completion;
mod config;
mod desktop;
mod diff;
mod doctor;
mod easyconfig;
mod explain;
mod export;
mod generations;
mod groups;
mod help;
mod image;
mod info;
pub(super) mod inputs;
mod installations;
mod job;
mod kernel;
mod lock;
mod module;
mod new;
mod packages;
mod pages;
mod pull;
mod report;
mod run;
mod search;
mod shell;
mod sif;
mod size;
mod spec;
mod stage;
mod subject;
mod table;
mod tree;
mod update;
mod user_software;
mod verify;
mod why;

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use check::allowed_by_environment;
pub(super) use config::configuration_keys;
pub(super) use help::words_of_help;
pub(super) use installations::{find, names};
pub(super) use shell::definition_of;

use super::{Command, DIALECTS, Job, help::complete, mistake};
use condense_build::Interrupt;
use condense_build::Level;
use condense_build::Report;
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;

use crate::console::{Console, OutputStyle};

/// Console, variables and state of a run, which every verb gets.
pub(crate) struct Context<'a> {
    /// Console of the run. Results are written to standard output with [`Console::data`].
    pub console: &'a Arc<Console>,
    /// Receiver of messages and progress, which the console shows.
    pub report: &'a Arc<Report>,
    /// Words of the command line, the name of the program first.
    pub argv: &'a [std::ffi::OsString],
    /// Environment variables and current directory of the user.
    pub env_vars: &'a EnvVars,
    /// Handler of signals, which removes temporary files of an interrupted run.
    pub interrupt: &'a Arc<Interrupt>,
}

#[derive(Debug, Parser)]
#[command(
    name = "condense",
    about = "Packs a conda environment into one SquashFS file with wrappers that run it in a container",
    version,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    verb: Verb,
}

/// Options about messages. All verbs, and all dialects except cotainr, have these options.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Logging {
    /// Show more messages, such as the output of each step, with the time
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Show only error messages
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Write messages as JSON, one object on each line
    #[arg(long, global = true)]
    pub log_json: bool,
}

impl Logging {
    /// Applies the options to the console. They override environment variables.
    pub(crate) fn apply(&self, console: &Console) {
        if self.verbose {
            console.set_level(Level::Debug);
        } else if self.quiet {
            console.set_level(Level::Error);
        }
        if self.log_json {
            console.set_json();
        }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pack, unpack, list, check and compare SquashFS images
    Image(image::Arguments),
    /// Find base images and show their facts
    Base(base::Arguments),
    /// Make a SIF of an environment file, of packages, or of both
    Build(Box<build::Arguments>),
    /// Show what the cache holds, and remove files from it
    Cache(cache::Arguments),
    /// Find problems that would keep an environment file, an installation or a .sif from running
    Check(check::Arguments),
    /// Show and change the user's configuration
    Config(config::Arguments),
    /// Start a VNC server and noVNC of an installation or a .sif, for programs with windows
    Desktop(desktop::Arguments),
    /// Compare the packages of two installations, generations, .sif files or locks
    Diff(diff::Arguments),
    /// Find problems of this machine that would keep it from building or running containers
    Doctor(doctor::Arguments),
    /// Write a recipe with which EasyBuild installs a .sif or an installation as a module
    Easyconfig(easyconfig::Arguments),
    /// Explain a code that `check`, `doctor` or a build has printed
    Explain(explain::Arguments),
    /// Write an environment file, a requirements file or the lock of an installation or a .sif
    Export(export::Arguments),
    /// Remove older generations of an installation
    Gc(generations::GcArguments),
    /// Show the help of a command, or explain a code
    Help(help::Arguments),
    /// Show an installation or a .sif: its inputs, its base, its packages and its generations
    Info(info::Arguments),
    /// Print a batch script for a site, with the processes, masks and variables of its nodes
    Job(Box<job::Arguments>),
    /// Register an installation or a .sif as a kernel of Jupyter
    Kernel(kernel::Arguments),
    /// List the installations in the directories of TYKKY_PATH
    List(installations::ListArguments),
    /// Solve an environment file and write a lock file
    Lock(lock::Arguments),
    /// Write an environment module of a .sif or an installation, with commands and user-software
    Module(module::Arguments),
    /// Make an installation of an environment file, of packages, or of both
    New(Box<new::Arguments>),
    /// List the packages of an installation, a .sif or a lock, with versions and sizes
    Packages(packages::Arguments),
    /// Make a SIF from an image in a registry, an OCI layout or an archive, without a container
    /// runtime
    Pull(pull::Arguments),
    /// Remove an installation with all its generations
    Remove(installations::RemoveArguments),
    /// Write an HTML page about an installation or a .sif: findings, packages and their sizes,
    /// changes between generations, provenance, the lock
    Report(report::Arguments),
    /// Make an older generation of an installation the visible one again
    Rollback(generations::RollbackArguments),
    /// Run a program of an installation or of a .sif
    Run(run::Arguments),
    /// Look for packages in channels
    Search(search::Arguments),
    /// Print shell code for `tykky activate` and for completion
    Shell(shell::Arguments),
    /// Inspect, change, sign and check SIF files
    Sif(sif::Arguments),
    /// Show what takes the space of an installation or a .sif, and how to make it smaller
    Size(size::Arguments),
    /// Show how an environment file is parsed
    Spec(spec::Arguments),
    /// Copy the images of an installation, or a .sif, to the disk or the memory of nodes
    Stage(stage::Arguments),
    /// Show the packages of an installation, a .sif or a lock below those that need them
    Tree(tree::Arguments),
    /// Add packages to an installation and remove packages from it, in a new generation
    Update(Box<update::Arguments>),
    /// Pack, unpack and list what users have installed on top of a module's image
    UserSoftware(user_software::Arguments),
    /// Check an installation or a .sif on this machine: its files, whether a program starts, and
    /// whether its lock builds it again
    Verify(verify::Arguments),
    /// Show for which requested packages a package was installed
    Why(why::Arguments),
}

/// Parses the arguments that follow `condense`.
pub(crate) fn parse(arguments: &[OsString], console: &Console) -> Command {
    console.set_style(OutputStyle::Condense);
    if let [verb, rest @ ..] = arguments
        && verb == pages::VERB
    {
        return pages::parse(rest);
    }
    if let [verb, rest @ ..] = arguments
        && verb == completion::VERB
    {
        return completion::parse(rest);
    }
    let settled = groups::settle(arguments, &command());
    let argv = std::iter::once(OsString::from("condense")).chain(settled);
    let matches = command().try_get_matches_from(argv);
    if matches.as_ref().map_or_else(
        |_| mistake::wants_json(arguments),
        |matches| mistake::is_flag_set(matches, mistake::JSON),
    ) {
        console.answer_in_json();
    }
    let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if arguments.is_empty() || !error.use_stderr() => {
            return Command::Print(match error.kind() {
                clap::error::ErrorKind::DisplayVersion => error.to_string().trim_end().to_owned(),
                _ if arguments.len() > 1 => error.to_string().trim_end().to_owned(),
                _ => overview(),
            });
        }
        Err(error) => {
            let is_command = error.kind() == clap::error::ErrorKind::InvalidSubcommand;
            let instead = is_command.then(|| instead_of(arguments)).flatten();
            return Command::Usage(mistake::render(&error, instead));
        }
    };
    cli.logging.apply(console);
    // The program that takes the place of this process gets all signals, so none is handled here.
    let is_replaced = matches!(cli.verb, Verb::Run(_));
    let words = arguments.to_vec();
    let job: Job = Box::new(move |context| dispatch(cli.verb, &words, context));
    if is_replaced {
        Command::Replace(job)
    } else {
        Command::Run(job)
    }
}

/// Returns the command that does what a word of another program asks for.
fn instead_of(words: &[OsString]) -> Option<&'static str> {
    let word = |index: usize| words.get(index).and_then(|word| word.to_str());
    Some(match word(0)? {
        "create" | "init" => "`condense new NAME FILE` or `condense new NAME SPEC…`",
        "env" => match word(1) {
            Some("update") => "`condense update NAME FILE`",
            Some("remove") => "`condense remove NAME`",
            Some("export") => "`condense export NAME`",
            Some("list") => "`condense list`",
            _ => "`condense new NAME environment.yml`",
        },
        "install" | "add" => {
            "`condense new NAME SPEC…` makes an installation, `condense update NAME SPEC…` adds to one"
        }
        "upgrade" => "`condense update NAME SPEC…`",
        "uninstall" | "remove-package" | "rm" | "delete" => {
            "`condense update NAME --remove PKG` removes a package, `condense remove NAME` an installation"
        }
        "exec" | "activate" => "`condense run NAME COMMAND`; `condense shell` has `tykky activate`",
        "advanced" => {
            "`condense conda-containerize advanced` or `condense pip-containerize advanced`"
        }
        "wrap" => "`condense wrap-container` or `condense wrap-install`",
        _ => return None,
    })
}

/// Runs a verb. `words` are the arguments that follow `condense`.
fn dispatch(verb: Verb, words: &[OsString], context: &Context) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Image(arguments) => image::run(&arguments, context),
        Verb::Base(arguments) => base::run(&arguments, context),
        Verb::Build(arguments) => build::run(*arguments, words, context),
        Verb::Cache(arguments) => cache::run(&arguments, context),
        Verb::Check(arguments) => Ok(check::run(&arguments, context)),
        Verb::Config(arguments) => config::run(&arguments, context),
        Verb::Desktop(arguments) => desktop::run(&arguments, context),
        Verb::Diff(arguments) => diff::run(&arguments, context),
        Verb::Doctor(arguments) => Ok(doctor::run(&arguments, context)),
        Verb::Easyconfig(arguments) => easyconfig::run(&arguments, context),
        Verb::Explain(arguments) => Ok(explain::run(&arguments, context)),
        Verb::Export(arguments) => export::run(&arguments, context),
        Verb::Gc(arguments) => generations::gc(&arguments, context),
        Verb::Help(arguments) => help::command(&arguments).run(context),
        Verb::Info(arguments) => info::run(&arguments, context),
        Verb::Job(arguments) => job::run(&arguments, context),
        Verb::Kernel(arguments) => kernel::run(&arguments, context),
        Verb::List(arguments) => installations::list(&arguments, context),
        Verb::Lock(arguments) => lock::run(&arguments, context),
        Verb::Module(arguments) => module::run(&arguments, context),
        Verb::New(arguments) => new::run(*arguments, words, context),
        Verb::Packages(arguments) => packages::run(&arguments, context),
        Verb::Pull(arguments) => pull::run(arguments, context),
        Verb::Remove(arguments) => installations::remove_one(&arguments, context),
        Verb::Report(arguments) => report::run(&arguments, context),
        Verb::Rollback(arguments) => generations::rollback(&arguments, context),
        Verb::Run(arguments) => run::run(&arguments, context),
        Verb::Search(arguments) => search::run(&arguments, context),
        Verb::Shell(arguments) => Ok(shell::run(&arguments, context)),
        Verb::Sif(arguments) => sif::run(&arguments, context),
        Verb::Size(arguments) => size::run(&arguments, context),
        Verb::Spec(arguments) => spec::run(&arguments, context),
        Verb::Stage(arguments) => stage::run(&arguments, context),
        Verb::Tree(arguments) => tree::run(&arguments, context),
        Verb::Update(arguments) => update::run(*arguments, words, context),
        Verb::UserSoftware(arguments) => user_software::run(&arguments, context),
        Verb::Verify(arguments) => verify::run(&arguments, context),
        Verb::Why(arguments) => why::run(&arguments, context),
    }
}

/// Prints an error about the command line itself, and returns the exit status for it.
pub(super) fn misuse(refusal: UserError, context: &Context) -> ExitCode {
    context.console.error(&anyhow::Error::new(refusal));
    ExitCode::from(crate::USAGE)
}

/// Returns clap's definition of the command line, for completion.
pub(crate) fn command() -> clap::Command {
    complete(Cli::command(), "condense", &[])
}

/// Returns the help of the whole program: the verbs and the names of the dialects.
fn overview() -> String {
    let mut text = Cli::command().render_help().to_string();
    text.push_str("\nDialects (also programs of their own, as links to condense):\n");
    for name in DIALECTS {
        text.push_str(&format!("  {name}   see `condense {name} --help`\n"));
    }
    text.push_str("\nExit statuses: `condense help exit-codes`\n");
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
