//! Packs a conda environment into one SquashFS file, with wrappers that run it in a container.
//!
//! The program has several command lines, called dialects. The name by which it is called, or its
//! first argument, selects the dialect.

mod cli;
mod console;

use std::{ffi::OsString, panic::AssertUnwindSafe, process::ExitCode, sync::Arc};

use condense_build::{Interrupt, Report, interrupt};
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_publish::{StripeMode, Striping};

use cli::{Context, Dialect};
use console::{Console, memory};

/// Exit status of a run that failed. An interrupted run exits with [`interrupt::EXIT_STATUS`].
const FAILED: u8 = 1;
/// Exit status of a command line that cannot be parsed.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = condense_build::run_root_script_child(&argv) {
        return code;
    }
    interrupt::let_writes_fail();
    memory::install_panic_hook();
    let interrupt = Arc::new(Interrupt::default());
    let env_vars = EnvVars::of_process();
    let console = Arc::new(Console::new(
        env_vars.as_ref().unwrap_or(&EnvVars::default()),
        interrupt.flag(),
    ));
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut env_vars = env_vars.map_err(|error| {
            anyhow::Error::new(error).context("failed to find the current directory")
        })?;
        // Commands that need the network refuse an invalid file; all others, such as `condense
        // help`, go on without it.
        let _ = cli::network::config::set_defaults(&mut env_vars);
        let report = Arc::new(Report::new(console.clone()));
        set_striping(&env_vars, &report);
        run(
            &argv,
            &Context {
                argv: &argv,
                console: &console,
                report: &report,
                env_vars: &env_vars,
                interrupt: &interrupt,
            },
        )
    }));
    condense_build::end_all();
    let result = match result {
        Ok(result) => result,
        // The message was printed when memory ran out, and the scratch directory was removed while
        // the panic unwound.
        Err(_) if memory::is_told() => return ExitCode::from(FAILED),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let code = match result {
        Ok(code) => code,
        Err(error) if console.has_lost_its_bytes(&error) => ExitCode::SUCCESS,
        Err(error) => {
            console.error(&error);
            ExitCode::from(if console.cancelled() {
                interrupt::EXIT_STATUS
            } else if is_usage(&error) {
                USAGE
            } else {
                FAILED
            })
        }
    };
    console.conclude(code)
}

/// Returns whether an error is about the command line alone.
fn is_usage(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let refusal = cause.downcast_ref::<UserError>();
        refusal.is_some_and(UserError::is_usage)
    })
}

/// Sets when new images get a layout for Lustre.
fn set_striping(env_vars: &EnvVars, report: &Arc<Report>) {
    let mode = match env_vars.get(env_vars::CONDENSE_STRIPES) {
        Some("0") => StripeMode::Never,
        Some("1") => StripeMode::Always,
        _ => StripeMode::OnLustre,
    };
    let report = Arc::clone(report);
    condense_publish::set_striping(Striping {
        mode,
        search_path: env_vars.get(env_vars::PATH).unwrap_or_default().into(),
        tell: Box::new(move |text| report.debug(text)),
    });
}

fn run(argv: &[OsString], context: &Context) -> anyhow::Result<ExitCode> {
    let Context {
        console, env_vars, ..
    } = context;
    let command = match cli::dialect(argv) {
        Dialect::CondaContainerize(arguments) => {
            cli::conda_containerize::parse(&arguments, env_vars, console)?
        }
        Dialect::PipContainerize(arguments) => {
            cli::pip_containerize::parse(&arguments, env_vars, console)?
        }
        Dialect::Wrap(tool, arguments) => cli::wrap::parse(tool, &arguments, env_vars, console)?,
        Dialect::Cotainr(arguments) => cli::cotainr::parse(&arguments, env_vars, console)?,
        Dialect::Condense(arguments) => cli::condense::parse(&arguments, console),
    };
    command.run(context)
}
