//! Responsible for the text about a mistake in a command line: clap's message, a hint on a line of
//! its own, and the usage.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use condense_diagnostics::did_you_mean;

use super::DIALECTS;

/// Name of the flag with which a command writes its result as JSON.
pub(super) const JSON: &str = "json";

/// Returns whether the user wants the error of a command line that cannot be parsed as JSON.
pub(super) fn wants_json(arguments: &[OsString]) -> bool {
    let mut own = arguments.iter().take_while(|word| *word != "--");
    own.any(|word| word == "--json")
}

/// Returns whether the flag `id` of the command, or of a command below it, is set.
pub(super) fn is_flag_set(matches: &clap::ArgMatches, id: &str) -> bool {
    let is_set = matches.try_get_one::<bool>(id).ok().flatten();
    let below = matches.subcommand();
    is_set.is_some_and(|set| *set) || below.is_some_and(|(_, below)| is_flag_set(below, id))
}

/// Returns the text of an error of clap with the hint `own`, else with clap's advice as a hint.
pub(super) fn render(error: &Error, own: Option<&str>) -> String {
    let text = error.render().to_string();
    let (message, rest) = split(&text);
    let text = format!("{message}\n\n{}", rest.trim())
        .trim_end()
        .to_owned();
    match own.map(str::to_owned).or_else(|| hint(error)) {
        Some(hint) => with_hint(&text, &hint),
        None => text,
    }
}

/// Returns the message and the usage of clap's text, without the lines of advice.
fn split(text: &str) -> (String, String) {
    let rest_begins = |line: &str| line.starts_with("Usage:") || line.starts_with("For more");
    let at = text.lines().take_while(|line| !rest_begins(line)).count();
    let message: Vec<&str> = text
        .lines()
        .take(at)
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("tip: "))
        .collect();
    let rest: Vec<&str> = text.lines().skip(at).collect();
    (message.join("\n"), rest.join("\n"))
}

/// Adds a hint after the message of a text, and before its usage.
fn with_hint(text: &str, hint: &str) -> String {
    match text.split_once("\n\n") {
        Some((message, rest)) => format!("{message}\nhint: {hint}\n\n{rest}"),
        None => format!("{text}\nhint: {hint}"),
    }
}

/// Returns the advice about an error: a similar word that is known, the hint of the parser of a
/// value, or clap's own advice.
pub(super) fn hint(error: &Error) -> Option<String> {
    if let Some(hint) = similar(error) {
        return Some(hint);
    }
    if let Some(hint) = similar_command(error, DIALECTS) {
        return Some(hint);
    }
    if let Some(cause) = std::error::Error::source(error) {
        return condense_build::hint_of_cause(cause);
    }
    match error.get(ContextKind::Suggested) {
        Some(ContextValue::StyledStrs(tips)) => tips.first().map(ToString::to_string),
        _ => None,
    }
}

/// Returns the hint about the similar word that clap has found.
pub(super) fn similar(error: &Error) -> Option<String> {
    let suggested = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    // The most similar word is the last one.
    let mut suggested = suggested.into_iter().flat_map(|kind| words(error, kind));
    let word = suggested.next_back()?;
    Some(format!("did you mean `{word}`?"))
}

/// Returns the hint about a command that is similar to an unknown one.
pub(super) fn similar_command<'a>(
    error: &Error,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let word = words(error, ContextKind::InvalidSubcommand).pop()?;
    did_you_mean(&word, known)
}

fn words(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let error = crate::cli::condense::command()
            .try_get_matches_from(line.split(' '))
            .expect_err("the line has a mistake");
        let text = render(&error, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.get(1), Some(&expected), "{text}");
        assert!(!text.contains("tip:"), "{text}");
    }

    #[test]
    fn advice_is_a_hint_on_a_line_of_its_own() {
        check("condense info --jsn x", "hint: did you mean `--json`?");
        check("condense infoo x", "hint: did you mean `info`?");
        check("condense sif inspct x", "hint: did you mean `inspect`?");
        check("condense cotainer x", "hint: did you mean `cotainr`?");
        check(
            "condense shell fsh",
            "  [possible values: bash, zsh, fish, sh]",
        );
        check(
            "condense pull --compression zst docker://x y.sif",
            "hint: did you mean `zstd`? use zstd:1..22, gzip:1..12, lz4, lz4:hc, xz:0..9 or none",
        );
    }

    #[test]
    fn json_is_wanted_before_two_hyphens_only() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&words("info --json --x")));
        assert!(!wants_json(&words("run x -- --json")));
    }
}
