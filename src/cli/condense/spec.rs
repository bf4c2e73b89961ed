//! Responsible for the verb `condense spec`, which shows how an environment file is parsed.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::cli::run_settings::spec_context;
use condense_prefix::{EnvironmentSpec, without_secrets};
use serde_json::json;

use super::Context;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// File that is parsed: environment.yml, `@EXPLICIT` file, list of packages or requirements
    /// file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the parsed file. A file that cannot be parsed is an error that names the line, with exit
/// status 1.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let spec = EnvironmentSpec::load_by_name(&arguments.file, &spec_context(context.env_vars))?;
    let kind = spec.kind().as_str();
    let lists = [
        ("channels", spec.channels()),
        ("specs", spec.conda_specs().map(str::to_owned).collect()),
        ("pip", spec.pip_as_written().to_vec()),
        ("variables", variables(&spec)),
        (
            "warnings",
            spec.warnings().iter().map(ToString::to_string).collect(),
        ),
    ];
    if arguments.json {
        let mut object = serde_json::Map::from_iter([("kind".to_owned(), json!(kind))]);
        object.extend(lists.map(|(name, list)| (name.to_owned(), json!(list))));
        context.console.json("spec", object.into());
    } else {
        context.console.data(&render(kind, &lists));
    }
    Ok(ExitCode::SUCCESS)
}

fn variables(spec: &EnvironmentSpec) -> Vec<String> {
    let pairs = spec.variables().iter();
    pairs
        .map(|(name, value)| without_secrets(&format!("{name}={value}")).into_owned())
        .collect()
}

/// Returns one block for each list that is not empty.
fn render(kind: &str, lists: &[(&str, Vec<String>)]) -> String {
    let mut text = format!("kind: {kind}");
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        text.push_str(&format!("\n{name}:"));
        for entry in list {
            text.push_str(&format!("\n  {entry}"));
        }
    }
    text
}
