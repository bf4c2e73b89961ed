//! Responsible for the verb `condense explain`, which explains the code of a finding.

use std::process::ExitCode;

use clap::Args;
use condense_check::{CODES, find_code, render_page};

use super::Context;
use condense_diagnostics::{UserError, closest};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Code as in `[mpi-abi]`; without it, all codes are listed
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Print the page of all codes as Markdown
    #[arg(long, conflicts_with = "code")]
    all: bool,
}

/// Prints the explanation. The exit status is 2 if the code is not known.
pub(super) fn run(arguments: &Arguments, context: &Context) -> ExitCode {
    let text = match &arguments.code {
        Some(name) => {
            let Some(code) = find_code(name.trim_matches(['[', ']'])) else {
                let hint = match closest(name, CODES.iter().map(|code| code.name)) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => "`condense explain` lists all codes".to_owned(),
                };
                context.console.error(&anyhow::Error::new(UserError::new(
                    format!("`{name}` is no code of a finding"),
                    hint,
                )));
                return ExitCode::from(2);
            };
            code.render()
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
