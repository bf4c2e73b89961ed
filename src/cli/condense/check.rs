//! Responsible for the verb `condense check`, and for printing findings.

mod log_check;
mod module_check;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::cli::run_settings::{host_python, spec_context};
use condense_check::{CODES, Code, Finding, Severity, Verdict, find_code};
use serde_json::json;

use super::{Context, subject::existing};
use crate::cli::{build::rules, site::SiteArguments};
use crate::console::Console;
use condense_build::CheckTarget;
use condense_diagnostics::{Hint, UserError, did_you_mean};
use condense_env_vars::{self as env_vars, EnvVars};

/// Exit status of a check that has found errors.
const ERRORS: u8 = 1;
/// Exit status if the check itself failed.
const NOT_CHECKED: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Environment file, requirements file, installation or its name in a directory of TYKKY_PATH,
    /// .sif file, file of a module, or directory with an environment
    #[arg(value_name = "FILE|NAME|DIR|SIF", required_unless_present = "log")]
    path: Option<PathBuf>,
    /// Log of a job; given several times, logs of the same job
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "base", "site"])]
    log: Vec<PathBuf>,
    /// Base image in which the environment of the file or directory will run
    #[arg(long, value_name = "REF")]
    base: Option<String>,
    #[command(flatten)]
    site: SiteArguments,
    #[command(flatten)]
    output: Output,
}

/// Options about the output and about findings that are allowed.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Ignore findings with this code; may be given several times
    #[arg(long, value_name = "CODE", value_parser = known)]
    allow: Vec<&'static Code>,
}

/// Parses a code, for clap.
fn known(text: &str) -> Result<&'static Code, UserError> {
    find_code(text).ok_or_else(|| {
        let hint = did_you_mean(text, CODES.iter().map(|code| code.name));
        UserError::new(
            format!("`{text}` is no code of a finding"),
            hint.unwrap_or_else(|| "`condense explain` lists all codes".to_owned()),
        )
    })
}

/// Returns the codes in `CONDENSE_ALLOW`.
///
/// # Errors
/// Returns an error if a word is not a code.
pub(crate) fn allowed_by_environment(env_vars: &EnvVars) -> anyhow::Result<Vec<&'static Code>> {
    let text = env_vars.get(env_vars::CONDENSE_ALLOW).unwrap_or_default();
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    words
        .map(|word| {
            known(word).map_err(|error| {
                let message = format!("{}: {error}", env_vars::CONDENSE_ALLOW);
                UserError::new(message, error.hint().unwrap_or_default()).into()
            })
        })
        .collect()
}

/// Checks the path and prints the findings. The exit status is 0 without errors, 1 with errors, and
/// 2 if the check itself failed.
pub(super) fn run(arguments: &Arguments, context: &Context) -> ExitCode {
    status(look(arguments, context), context)
}

/// Returns the exit status of a check. An error of the check itself is printed and gives 2, so that
/// it is not taken for a finding.
pub(super) fn status(looked: anyhow::Result<ExitCode>, context: &Context) -> ExitCode {
    match looked {
        Ok(code) => code,
        Err(error) => {
            context.console.error(&error);
            ExitCode::from(NOT_CHECKED)
        }
    }
}

/// Returns the lines of a finding. On a terminal, its severity and code are coloured.
fn block(finding: &Finding, console: &Console) -> String {
    let rendered = finding.render();
    let text = console.shown(&rendered);
    let colour = match finding.code.severity {
        _ if !console.has_colour() => return text.into_owned(),
        Severity::Error => 31,
        Severity::Warning => 33,
        Severity::Note => 36,
    };
    match text.split_once(": ") {
        Some((head, rest)) => format!("\x1b[1;{colour}m{head}\x1b[0m: {rest}"),
        None => text.into_owned(),
    }
}

fn look(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    let Some(subject_path) = &arguments.path else {
        return look_at_logs(arguments, context);
    };
    if let Some(record) = module_check::open(&env_vars.cwd.join(subject_path)) {
        let findings = module_check::compare(&record, env_vars)?;
        let about = json!({"subject": subject_path, "kind": "module"});
        return arguments.output.show("check", findings, about, context);
    }
    let path = existing(subject_path, "file, installation or image", env_vars)?;
    let (catalogue, site) = arguments.site.load(env_vars, context.console)?;
    let base = match &arguments.base {
        Some(words) => Some(catalogue.resolve_image(words, &site, env_vars)?.0),
        None => None,
    };
    let base = base.map(|base| {
        if base.contains("://") {
            base
        } else {
            env_vars.cwd.join(base).display().to_string()
        }
    });
    let (subject, mut findings) = condense_build::check(
        &path,
        base.as_deref(),
        CheckTarget {
            machine: &site.machine(),
            rules: &rules(env_vars, &site),
            spec_context: &spec_context(env_vars),
            host_python: &host_python(env_vars),
        },
    )?;
    if matches!(
        subject,
        condense_build::Subject::Installation | condense_build::Subject::Image
    ) && let Ok(started) = super::subject::open(subject_path, env_vars)
    {
        let (home, search_path) = (env_vars.home(), env_vars.get(env_vars::PATH));
        let search_path = search_path.unwrap_or_default().as_ref();
        let starts = condense_build::starts(Some(&started), home.as_deref(), search_path);
        findings.extend(condense_check::doctor::judge_files(&starts));
    }
    let about = json!({
        "subject": subject_path,
        "kind": subject.as_str(),
        "site": site.name,
    });
    arguments.output.show("check", findings, about, context)
}

/// Shows what the logs of a job tell, then the findings.
fn look_at_logs(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let log = log_check::read(&arguments.log, context.env_vars)?;
    if !arguments.output.is_json() {
        let lines = log_check::describe(&log.facts);
        if !lines.is_empty() {
            context.console.data(&lines.join("\n"));
        } else if log.findings.is_empty() {
            context.report.info(log_check::advice(&log.facts));
        }
    }
    let about = json!({"subject": arguments.log, "kind": "log", "facts": log.facts});
    arguments.output.show("check", log.findings, about, context)
}

impl Output {
    /// Returns whether the output is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the findings on standard output, and their summary on standard error.
    ///
    /// # Errors
    /// Returns an error if `CONDENSE_ALLOW` has a word that is not a code.
    pub(super) fn show(
        &self,
        command: &str,
        findings: Vec<Finding>,
        mut about: serde_json::Value,
        context: &Context,
    ) -> anyhow::Result<ExitCode> {
        let mut allowed = self.allow.clone();
        allowed.extend(allowed_by_environment(context.env_vars)?);
        let verdict = Verdict::new(findings, &allowed);
        if self.json {
            about["findings"] = json!(verdict.findings);
            about["allowed"] = json!(verdict.allowed);
            context.console.json(command, about);
        } else {
            let blocks = verdict.findings.iter();
            let blocks: Vec<String> = blocks.map(|one| block(one, context.console)).collect();
            if !blocks.is_empty() {
                context.console.coloured(&blocks.join("\n\n"));
            }
            context.report.info(verdict.summary());
        }
        Ok(ExitCode::from(if verdict.has_errors() {
            ERRORS
        } else {
            0
        }))
    }
}
