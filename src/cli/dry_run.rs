//! Responsible for the options of dry runs, and for showing their results.

use std::process::ExitCode;

use clap::Args;

use super::{Context, Run, submit::SubmitArguments};
use crate::console::Console;
use condense_build::Preview;
use condense_env_vars as env_vars;

/// Options of all commands that build.
#[derive(Debug, Args)]
pub(super) struct DryRunArguments {
    /// solve and check everything that can be known before, show packages, sizes and steps, and
    /// exit as the build would
    #[arg(long)]
    pub(super) dry_run: bool,
    /// print the result as JSON, and messages on standard error
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) submit: SubmitArguments,
}

impl DryRunArguments {
    /// Applies the options to the console. Returns whether nothing is built.
    pub(super) fn apply(&self, console: &Console) -> bool {
        if self.dry_run || self.json {
            console.set_messages_to_stderr();
        }
        if self.json {
            console.answer_in_json();
        }
        self.dry_run
    }
}

/// Finds out what a build of `plan` would do, and prints it on standard output.
///
/// # Errors
/// Returns the error of the build, as far as it is known before.
pub(super) fn show<P>(
    plan: &P,
    preview: Run<P, Preview>,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let search_path = context.env_vars.get(env_vars::PATH).unwrap_or_default();
    let preview = preview(
        plan,
        search_path.as_ref(),
        context.report,
        context.interrupt,
    )?;
    if context.console.wants_json() {
        context
            .console
            .json("dry-run", serde_json::to_value(&preview)?);
    } else {
        context.console.data(&preview.to_string());
    }
    Ok(ExitCode::SUCCESS)
}
