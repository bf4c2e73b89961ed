//! Responsible for command lines and environment variables: one file for each dialect, which makes
//! a [`Command`] with a validated plan.

mod account;
mod advanced;
pub(crate) mod base;
pub(crate) mod block_cache;
mod build;
mod build_env;
#[cfg(test)]
mod command_lines;
mod completion;
pub(crate) mod conda_containerize;
pub(crate) mod condense;
pub(crate) mod cotainr;
mod definition;
mod dry_run;
mod help;
mod made;
mod mistake;
mod mpi;
pub(crate) mod network;
mod os_packages;
pub(crate) mod pip_containerize;
pub(crate) mod registries;
mod run_settings;
mod sif;
pub(crate) mod site;
mod submit;
mod update;
mod usage;
mod warm;
pub(crate) mod wrap;

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
    sync::Arc,
};

use made::Made;

use condense_build::{Interrupt, Preview, Report};
use condense_env_vars as env_vars;

pub(crate) use condense::Context;

use condense_build::plan::{DefinitionPlan, InstallationPlan, SifPlan, UpdatePlan, WrapPlan};

/// Work of a verb whose arguments have been read. Returns the exit status.
pub(crate) type Job = Box<dyn FnOnce(&Context) -> anyhow::Result<ExitCode>>;

/// Parsed command line of a dialect.
pub(crate) enum Command {
    /// Builds a new installation.
    Build(Box<InstallationPlan>),
    /// Updates an existing installation.
    Update(Box<UpdatePlan>),
    /// Wraps a container or a directory.
    Wrap(Box<WrapPlan>),
    /// Runs a verb of `condense` or of `cotainr`.
    Run(Job),
    /// Runs a verb of `condense` that puts another program in the place of this process. Signals
    /// are not handled.
    Replace(Job),
    /// Prints a text on standard output and exits with 0.
    Print(String),
    /// Prints a text on standard error and exits with 2.
    Usage(String),
}

impl Command {
    /// Runs the command and returns the exit status.
    ///
    /// # Errors
    /// Returns the error of the job, or of a build.
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let job: Job = match self {
            Self::Print(text) => {
                context.console.data(&text);
                return Ok(ExitCode::SUCCESS);
            }
            Self::Usage(text) => {
                context.console.usage(&text);
                return Ok(ExitCode::from(crate::USAGE));
            }
            Self::Replace(job) => return job(context),
            Self::Run(job) => job,
            Self::Build(plan) => Box::new(move |context| build_installation(&plan, context)),
            Self::Update(plan) => Box::new(move |context| update_installation(&plan, context)),
            Self::Wrap(plan) => Box::new(move |context| {
                let (preview, wrap) = (condense_build::preview_wrap, condense_build::wrap);
                let run = || build(&*plan, plan.dry_run, preview, wrap, context);
                made::installation(
                    Made {
                        command: "new",
                        path: &plan.output.generation.dir,
                        is_dry_run: plan.dry_run,
                        submission: plan.submission.as_ref(),
                    },
                    run,
                    context,
                )
            }),
        };
        context.interrupt.listen()?;
        job(context)
    }
}

/// Function of the build crate that carries out a plan, or finds out what a build would do.
type Run<P, T> = fn(&P, &OsStr, &Arc<Report>, &Interrupt) -> anyhow::Result<T>;

/// Builds an installation, or shows what a build would do.
///
/// # Errors
/// Returns the error of the build.
pub(crate) fn build_installation(
    plan: &InstallationPlan,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (preview, build_it) = (condense_build::preview_build, condense_build::build);
    let run = || build(plan, plan.dry_run, preview, build_it, context);
    made::installation(
        Made {
            command: "new",
            path: &plan.output.generation.dir,
            is_dry_run: plan.dry_run,
            submission: plan.submission.as_ref(),
        },
        run,
        context,
    )
}

/// Makes a SIF, or shows what a build would do.
///
/// # Errors
/// Returns the error of the build.
pub(crate) fn build_sif(plan: &SifPlan, context: &Context) -> anyhow::Result<ExitCode> {
    let (preview, build_it) = (condense_build::preview_sif, condense_build::build_sif);
    let run = || build(plan, plan.dry_run, preview, build_it, context);
    made::sif(
        Made {
            command: "build",
            path: &plan.output.file,
            is_dry_run: plan.dry_run,
            submission: plan.submission.as_ref(),
        },
        run,
        context,
    )
}

/// Makes a SIF from a definition file, or shows what a build would do.
///
/// # Errors
/// Returns the error of the build.
pub(crate) fn build_definition(
    plan: &DefinitionPlan,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (preview, build_it) = (
        condense_build::preview_definition,
        condense_build::build_definition,
    );
    let run = || build(plan, plan.dry_run, preview, build_it, context);
    made::sif(
        Made {
            command: "build",
            path: &plan.output,
            is_dry_run: plan.dry_run,
            submission: plan.submission.as_ref(),
        },
        run,
        context,
    )
}

/// Changes an installation, or shows what an update would do.
///
/// # Errors
/// Returns the error of the update.
pub(crate) fn update_installation(
    plan: &UpdatePlan,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (preview, update) = (condense_build::preview_update, condense_build::update);
    let run = || build(plan, plan.dry_run, preview, update, context);
    made::installation(
        Made {
            command: "update",
            path: &plan.dir,
            is_dry_run: plan.dry_run,
            submission: plan.submission.as_ref(),
        },
        run,
        context,
    )
}

/// Carries out a plan, or shows what that would do.
fn build<P>(
    plan: &P,
    is_dry_run: bool,
    preview: Run<P, Preview>,
    run: Run<P, ()>,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    if is_dry_run {
        return dry_run::show(plan, preview, context);
    }
    let search_path = context.env_vars.get(env_vars::PATH).unwrap_or_default();
    run(
        plan,
        search_path.as_ref(),
        context.report,
        context.interrupt,
    )?;
    Ok(ExitCode::SUCCESS)
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Build(plan) => f.debug_tuple("Build").field(plan).finish(),
            Self::Update(plan) => f.debug_tuple("Update").field(plan).finish(),
            Self::Wrap(plan) => f.debug_tuple("Wrap").field(plan).finish(),
            Self::Run(_) => f.write_str("Run"),
            Self::Replace(_) => f.write_str("Replace"),
            Self::Print(text) => f.debug_tuple("Print").field(text).finish(),
            Self::Usage(text) => f.debug_tuple("Usage").field(text).finish(),
        }
    }
}

/// Names of the dialects, which are also names of the program.
pub(crate) const DIALECTS: [&str; 5] = [
    "conda-containerize",
    "pip-containerize",
    "wrap-container",
    "wrap-install",
    "cotainr",
];

/// Dialect of a command line, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Command line of Tykky's `conda-containerize`.
    CondaContainerize(Vec<OsString>),
    /// Command line of Tykky's `pip-containerize`.
    PipContainerize(Vec<OsString>),
    /// Command line of Tykky's `wrap-container` or `wrap-install`.
    Wrap(wrap::Tool, Vec<OsString>),
    /// Command line of `cotainr`.
    Cotainr(Vec<OsString>),
    /// Command line of `condense` itself.
    Condense(Vec<OsString>),
}

/// Returns the name of the dialect if it is that of the program, so that the same words after
/// another name of the program need it as their first word.
fn dialect_word(argv: &[OsString]) -> Option<&'static str> {
    let name = std::path::Path::new(argv.first()?).file_name()?;
    DIALECTS
        .into_iter()
        .find(|dialect| name == OsStr::new(dialect))
}

/// Selects the dialect by the name under which the program was called; if that is no dialect, by
/// the first argument. `condense help NAME …` is the same as `condense NAME … --help`.
pub(crate) fn dialect(argv: &[OsString]) -> Dialect {
    if let [program, help, name, rest @ ..] = argv
        && help == "help"
        && DIALECTS.iter().any(|dialect| name == dialect)
    {
        let words = [program, name].into_iter().chain(rest).cloned();
        let words: Vec<OsString> = words.chain(["--help".into()]).collect();
        return dialect(&words);
    }
    let name = |word: &OsString| -> Option<&'static str> {
        let word = std::path::Path::new(word).file_name()?;
        DIALECTS
            .into_iter()
            .find(|name| word == std::ffi::OsStr::new(name))
    };
    let by_name = argv.first().and_then(&name).map(|found| (found, 1));
    let by_argument = || {
        argv.get(1)
            .filter(|word| !word.to_string_lossy().contains('/'))
            .and_then(name)
            .map(|f| (f, 2))
    };
    match by_name.or_else(by_argument) {
        Some(("conda-containerize", skip)) => Dialect::CondaContainerize(argv[skip..].to_vec()),
        Some(("pip-containerize", skip)) => Dialect::PipContainerize(argv[skip..].to_vec()),
        Some(("wrap-container", skip)) => {
            Dialect::Wrap(wrap::Tool::Container, argv[skip..].to_vec())
        }
        Some(("cotainr", skip)) => Dialect::Cotainr(argv[skip..].to_vec()),
        Some((_, skip)) => Dialect::Wrap(wrap::Tool::Install, argv[skip..].to_vec()),
        None => Dialect::Condense(argv.get(1..).unwrap_or_default().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, dialect};
    use std::ffi::OsString;

    fn check(argv: &[&str], expected: &Dialect) {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        assert_eq!(&dialect(&argv), expected);
    }

    #[test]
    fn the_name_or_the_first_argument_picks_the_dialect() {
        let rest = || Dialect::CondaContainerize(vec!["new".into(), "e.yml".into()]);
        check(&["/opt/bin/conda-containerize", "new", "e.yml"], &rest());
        check(&["condense", "conda-containerize", "new", "e.yml"], &rest());
        check(
            &["/x/cotainr", "build"],
            &Dialect::Cotainr(vec!["build".into()]),
        );
        check(&["condense", "cotainr"], &Dialect::Cotainr(vec![]));
        check(
            &["condense", "help", "cotainr", "build"],
            &Dialect::Cotainr(vec!["build".into(), "--help".into()]),
        );
        check(
            &["condense", "dir/cotainr"],
            &Dialect::Condense(vec!["dir/cotainr".into()]),
        );
        check(&["condense"], &Dialect::Condense(vec![]));
        check(&[], &Dialect::Condense(vec![]));
    }
}
