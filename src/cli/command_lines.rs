//! Tables of the command lines that Tykky's commands accept, one for each dialect, each line with
//! its outcome: no part of a command line is ignored silently. The tables and the files that the
//! command lines name are in `fixtures/command_lines`.
#![allow(clippy::unwrap_used)]

use std::{ffi::OsString, path::Path, sync::Arc};

use super::{Command, Dialect, conda_containerize, dialect, pip_containerize, wrap};
use crate::console::Console;
use condense_env_vars::EnvVars;

const TABLES: [&str; 4] = [
    include_str!("../../fixtures/command_lines/conda-containerize.txt"),
    include_str!("../../fixtures/command_lines/pip-containerize.txt"),
    include_str!("../../fixtures/command_lines/wrap-container.txt"),
    include_str!("../../fixtures/command_lines/wrap-install.txt"),
];

/// Row of a table.
struct Row<'a> {
    line: &'a str,
    outcome: &'a str,
    /// Words that the text of the outcome has.
    words: Vec<String>,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for text in table.lines() {
        if let Some(line) = text.strip_prefix("$ ") {
            rows.push(Row {
                line,
                outcome: "",
                words: Vec::new(),
            });
        } else if let Some(words) = text.strip_prefix("  ") {
            let words = words
                .strip_suffix('|')
                .map_or(words.to_owned(), |line| format!("{line}\n"));
            rows.last_mut().unwrap().words.push(words);
        } else if !text.is_empty() && !text.starts_with('#') {
            rows.last_mut().unwrap().outcome = text;
        }
    }
    rows
}

/// Parses a command line, and returns the kind of the outcome (`plan`, `help`, `usage` or
/// `refused`) and its text.
fn outcome(line: &str) -> (&'static str, String) {
    let dir = tempfile::tempdir().unwrap();
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/command_lines/inputs");
    for entry in fs_err::read_dir(inputs).unwrap() {
        let entry = entry.unwrap();
        fs_err::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    fs_err::create_dir(dir.path().join("software")).unwrap();
    let site = dir.path().join("site.yml").display().to_string();
    let mut env_vars = EnvVars::of(&[("CW_GLOBAL_YAML", &site)]);
    env_vars.cwd = dir.path().to_owned();
    let console = Console::new(&EnvVars::of(&[("CW_LOG_LEVEL", "0")]), Arc::default());
    let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let parsed = match dialect(&argv) {
        Dialect::CondaContainerize(words) => conda_containerize::parse(&words, &env_vars, &console),
        Dialect::PipContainerize(words) => pip_containerize::parse(&words, &env_vars, &console),
        Dialect::Wrap(tool, words) => wrap::parse(tool, &words, &env_vars, &console),
        other => panic!("{other:?}"),
    };
    let here = format!("{}/", dir.path().display());
    let (kind, text) = match parsed {
        Ok(Command::Build(plan)) => ("plan", plan.to_string()),
        Ok(Command::Update(plan)) => ("plan", plan.to_string()),
        Ok(Command::Wrap(plan)) => ("plan", plan.to_string()),
        Ok(Command::Print(text)) => ("help", text),
        Ok(Command::Usage(text)) => ("usage", text),
        Ok(Command::Run(_) | Command::Replace(_)) => ("run", String::new()),
        Err(error) => ("refused", format!("{error:#}")),
    };
    (kind, text.replace(&here, ""))
}

#[test]
fn every_row_of_tykky_s_command_lines() {
    let mut seen = 0;
    for row in TABLES.into_iter().flat_map(rows) {
        let (found, text) = outcome(row.line);
        assert_eq!(found, row.outcome, "{}: {text}", row.line);
        assert!(!row.words.is_empty(), "{} has no words", row.line);
        for words in &row.words {
            assert!(
                text.contains(words),
                "{}: `{words}` is not in {text}",
                row.line
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 73, "rows");
}
