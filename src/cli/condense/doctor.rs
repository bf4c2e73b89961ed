//! Responsible for the verb `condense doctor`, and for printing the facts of a machine.

use std::{ffi::OsStr, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{
    Context,
    check::{Output, status},
};
use crate::cli::{
    run_settings,
    site::{SiteArguments, site_path},
};
use condense_build::{self, Examined};
use condense_env_vars as env_vars;

/// Name of the site that is used when no site was detected or named.
const LOCAL: &str = "local";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    output: Output,
}

/// Examines the machine and prints the findings. The exit status is 0 without errors, 1 with
/// errors, and 2 if the examination itself failed.
pub(super) fn run(arguments: &Arguments, context: &Context) -> ExitCode {
    status(examine(arguments, context), context)
}

fn examine(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let (_, site) = arguments.site.load(env_vars, context.console)?;
    let search_path = env_vars.get(env_vars::PATH).unwrap_or_default();
    let examined = Examined {
        runtime: run_settings::runtime(env_vars, &site),
        search_path: OsStr::new(search_path),
        scratch: run_settings::scratch_parent(None, env_vars, &site)?,
        cache: env_vars.cache_dir(site_path(site.cache_dir.as_ref(), env_vars)),
        home: env_vars.home(),
        user: env_vars.get(env_vars::USER).map(str::to_owned),
        site_is_known: site.name != LOCAL,
    };
    let health = condense_build::doctor(&examined, &site.machine());
    let facts: serde_json::Map<String, serde_json::Value> = health
        .facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    if !arguments.output.is_json() {
        let rows = health.facts.iter();
        let rows: Vec<String> = rows
            .map(|(name, value)| format!("{name:18}{value}"))
            .collect();
        let end = if health.findings.is_empty() { "" } else { "\n" };
        context.console.data(&format!("{}{end}", rows.join("\n")));
    }
    let about = json!({ "site": site.name, "facts": facts });
    arguments
        .output
        .show("doctor", health.findings, about, context)
}
