//! Responsible for the verb `condense complete`, which the functions of `condense shell` call: it
//! prints the words that may stand at the cursor, each with its explanation behind a tab. The verb
//! has its own parser, so that neither help nor completion offers it. It says nothing else, and it
//! never fails, because its output goes into a prompt.

use std::{ffi::OsString, process::ExitCode};

use crate::cli::{
    Command,
    completion::{Candidate, candidates, line},
};

/// Name of the verb.
pub(super) const VERB: &str = "complete";

/// Parses the arguments that follow the verb: `line LINE WORD` for bash, `words WORD…` for zsh,
/// and `token WORD… TOKEN` for fish.
pub(super) fn parse(arguments: &[OsString]) -> Command {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let (words, hidden) = match arguments {
        [form, typed, last] if form == "line" => {
            let words = line::words(&text(typed));
            let word = words.last().map(text).unwrap_or_default();
            // Within quotes, the shell gives the part as it is.
            let last = text(last);
            let hidden = word.strip_suffix(&last);
            let hidden = hidden.or_else(|| word.strip_suffix(&line::word(&last)));
            let hidden = hidden.unwrap_or_default().to_owned();
            (words, hidden)
        }
        [form, words @ ..] if form == "words" => (words.to_vec(), String::new()),
        [form, words @ .., token] if form == "token" => {
            let token = line::word(&text(token)).into();
            (
                words.iter().cloned().chain([token]).collect(),
                String::new(),
            )
        }
        _ => (Vec::new(), String::new()),
    };
    Command::Run(Box::new(move |context| {
        let found = candidates(&words, context.env_vars);
        // In bash, the word at the cursor begins behind `=` or `:`.
        let lines = found
            .iter()
            .filter_map(|candidate| render(candidate, &hidden));
        let lines: Vec<String> = lines.collect();
        if !lines.is_empty() {
            context.console.data(&lines.join("\n"));
        }
        Ok(ExitCode::SUCCESS)
    }))
}

/// Returns the line of a candidate without the part that the shell does not replace.
fn render(candidate: &Candidate, hidden: &str) -> Option<String> {
    let value = candidate.value.strip_prefix(hidden)?;
    Some(format!("{value}\t{}", candidate.help).trim_end().to_owned())
}
