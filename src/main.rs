//! condense packs a conda environment into one SquashFS file with wrappers that run it in a
//! container.
//!
//! One program, many names: the name it is called by, or its first argument, picks the dialect.

mod base_images;
mod cli;
mod env_vars;
mod interrupt;
mod memory;
mod pipeline;
mod plan;
mod report;

use std::{ffi::OsString, panic::AssertUnwindSafe, process::ExitCode, sync::Arc};

use cli::{Command, Context, Dialect, Environment};
use report::{Level, Report};

/// What the exit status says; an interrupted run ends with 130.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    interrupt::let_writes_fail();
    memory::tell_of_libraries();
    let argv: Vec<OsString> = std::env::args_os().collect();
    let interrupt = Arc::new(interrupt::Interrupt::default());
    let environment = Environment::of_process();
    let look = |name: &str| {
        environment
            .as_ref()
            .ok()
            .and_then(|environment| environment.get(name))
    };
    let level = look(env_vars::CW_LOG_LEVEL).map_or(Level::Info, Level::from_number);
    let colour = look(env_vars::USE_COLOR).is_none_or(|word| word == "yes")
        && look(env_vars::NO_COLOR).is_none();
    let report = Arc::new(Report::new(level, colour, interrupt.flag()));
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        environment
            .map_err(|error| {
                anyhow::Error::new(error).context("failed to find the current directory")
            })
            .and_then(|environment| run(&argv, &environment, &report, &interrupt))
    }));
    pipeline::end_all();
    let result = match result {
        Ok(result) => result,
        // The message was printed when memory ran out, and scratch was removed while the panic
        // unwound.
        Err(_) if memory::is_told() => return ExitCode::from(FAILED),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let code = match result {
        Ok(code) => code,
        Err(error) if report.has_lost_its_bytes(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report.error(&error);
            ExitCode::from(if report.cancelled() {
                interrupt::EXIT_STATUS
            } else {
                FAILED
            })
        }
    };
    report.conclude(code)
}

fn run(
    argv: &[OsString],
    environment: &Environment,
    report: &Arc<Report>,
    interrupt: &Arc<interrupt::Interrupt>,
) -> anyhow::Result<ExitCode> {
    let command = match cli::dialect(argv) {
        Dialect::CondaContainerize(arguments) => {
            cli::conda_containerize::parse(&arguments, environment, report)?
        }
        Dialect::PipContainerize(arguments) => {
            cli::pip_containerize::parse(&arguments, environment, report)?
        }
        Dialect::Wrap(tool, arguments) => cli::wrap::parse(tool, &arguments, environment, report)?,
        Dialect::Cotainr(arguments) => cli::cotainr::parse(&arguments, environment, report)?,
        Dialect::Condense(arguments) => cli::condense::parse(&arguments, report),
    };
    match command {
        Command::Print(text) => {
            report.data(&text);
            Ok(ExitCode::SUCCESS)
        }
        Command::Usage(text) => {
            report::usage(&text);
            Ok(ExitCode::from(USAGE))
        }
        Command::Run(job) => {
            interrupt.listen()?;
            job(&Context {
                report,
                environment,
                interrupt,
            })
        }
        Command::Update(plan) if plan.dry_run => {
            report.data(&plan.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Command::Update(plan) => {
            interrupt.listen()?;
            let search_path = environment.get(env_vars::PATH).unwrap_or_default();
            pipeline::update(&plan, search_path.as_ref(), report, interrupt)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Wrap(plan) if plan.dry_run => {
            report.data(&plan.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Command::Wrap(plan) => {
            interrupt.listen()?;
            let search_path = environment.get(env_vars::PATH).unwrap_or_default();
            pipeline::wrap(
                &plan,
                search_path.as_ref(),
                &environment.cwd,
                report,
                interrupt,
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Build(plan) if plan.dry_run => {
            report.data(&plan.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Command::Build(plan) => {
            interrupt.listen()?;
            pipeline::build(
                &plan,
                environment.get(env_vars::PATH).unwrap_or_default().as_ref(),
                report,
                interrupt,
            )?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
