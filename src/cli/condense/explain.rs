//! Responsible for the verb `condense explain`, which explains the code of a finding.

use std::process::ExitCode;

use clap::Args;
use condense_check::{CODES, Code, find_code, render_page};

use super::Context;
use condense_diagnostics::{UserError, did_you_mean};
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Code as in `[mpi-abi]`; without it, all codes are listed
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Print the page of all codes as Markdown
    #[arg(long, conflicts_with = "code")]
    all: bool,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "all")]
    json: bool,
}

/// Prints the explanation. The exit status is 2 if the code is not known.
pub(super) fn run(arguments: &Arguments, context: &Context) -> ExitCode {
    let text = match &arguments.code {
        Some(name) => {
            let Some(code) = find_code(name.trim_matches(['[', ']'])) else {
                let hint = did_you_mean(name, CODES.iter().map(|code| code.name));
                let hint = hint.unwrap_or_else(|| "`condense explain` lists all codes".to_owned());
                context.console.error(&anyhow::Error::new(UserError::new(
                    format!("`{name}` is no code of a finding"),
                    hint,
                )));
                return ExitCode::from(2);
            };
            if arguments.json {
                context
                    .console
                    .json("explain", json!({"codes": [as_json(code)]}));
                return ExitCode::SUCCESS;
            }
            code.render()
        }
        None if arguments.json => {
            let codes: Vec<Value> = CODES.iter().copied().map(as_json).collect();
            context.console.json("explain", json!({"codes": codes}));
            return ExitCode::SUCCESS;
        }
        None if arguments.all => render_page().trim_end().to_owned(),
        None => CODES
            .iter()
            .map(|code| {
                format!(
                    "{:24}{:9}{}",
                    code.name,
                    code.severity.to_string(),
                    code.title
                )
            })
            .collect::<Vec<_>>()
            .join("\n"),
    };
    context.console.data(&text);
    ExitCode::SUCCESS
}

fn as_json(code: &Code) -> Value {
    json!({
        "code": code.name,
        "severity": code.severity,
        "title": code.title,
        "why": code.why,
        "fix": code.fix,
    })
}
