//! Responsible for completion in shells: the words that may stand at the cursor. The engine of
//! clap_complete finds commands and options; [`values`] has the values of each kind.

pub(super) mod line;
mod values;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    sync::Arc,
};

use clap::ArgAction;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, ValueCompleter, complete};
use condense_env_vars::EnvVars;

use super::{DIALECTS, condense};
use values::{Kind, kind};

/// Word that may stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) value: String,
    /// Explanation in one line. It may be empty.
    pub(super) help: String,
}

/// Part of a command line before the word at the cursor.
#[derive(Debug, Default)]
struct Given {
    /// Arguments that are neither options nor names of commands.
    operands: Vec<OsString>,
    /// Options with their values, by their long names.
    options: Vec<(String, OsString)>,
    env_vars: EnvVars,
}

impl Given {
    /// Returns the last value of an option.
    fn option(&self, long: &str) -> Option<&OsStr> {
        let mut options = self.options.iter().rev();
        let found = options.find(|(name, _)| name == long);
        found.map(|(_, value)| value.as_os_str())
    }
}

/// Returns the words that may stand in place of the last one of a command line, which begins with
/// the name of the program.
pub(super) fn candidates(words: &[OsString], env_vars: &EnvVars) -> Vec<Candidate> {
    let Some((current, [program, rest @ ..])) = words.split_last() else {
        return Vec::new();
    };
    let dialect = |word: &OsStr| DIALECTS.into_iter().find(|name| word == OsStr::new(name));
    let by_name = Path::new(program).file_name().and_then(dialect);
    let by_argument = rest.first().and_then(|word| dialect(word));
    let (name, rest) = match (by_name, by_argument) {
        (Some(name), _) => (name, rest),
        (None, Some(name)) => (name, &rest[1..]),
        (None, None) => ("condense", rest),
    };
    if let ("condense", [help, before @ ..]) = (name, rest)
        && help == "help"
    {
        return condense::words_of_help(before)
            .filter(|(word, _)| word.starts_with(&*current.to_string_lossy()))
            .map(|(value, help)| Candidate { value, help })
            .collect();
    }
    found(name, rest, current, env_vars)
}

/// Returns the words that the engine finds for the program `name`, whose arguments before the
/// cursor are `before`.
fn found(
    name: &'static str,
    before: &[OsString],
    current: &OsStr,
    env_vars: &EnvVars,
) -> Vec<Candidate> {
    let mut command = condense::definition_of(name);
    if name == "condense" {
        command = command.subcommands(DIALECTS.map(|dialect| {
            let about = condense::definition_of(dialect).get_about().cloned();
            clap::Command::new(dialect).about(about.unwrap_or_default())
        }));
    }
    let given = Arc::new(given(&command, before, env_vars));
    let mut command = with_values(command, name, &given);
    let words = std::iter::once(name.into()).chain(before.iter().cloned());
    let words: Vec<OsString> = words.chain([current.to_owned()]).collect();
    let last = words.len() - 1;
    let cwd = Some(env_vars.cwd.as_path());
    let mut found = complete(&mut command, words, last, cwd).unwrap_or_default();
    // Options would hide the values: they are shown when the word begins as one.
    if current.is_empty() {
        let is_option = |candidate: &CompletionCandidate| {
            let value = candidate.get_value().as_encoded_bytes();
            value.starts_with(b"-")
        };
        if !found.iter().all(is_option) {
            found.retain(|candidate| !is_option(candidate));
        }
    }
    found.iter().filter_map(shown).collect()
}

/// Returns a candidate for a shell, which gets one line for each. A name with a control character
/// cannot be written there.
fn shown(candidate: &CompletionCandidate) -> Option<Candidate> {
    let value = candidate.get_value().to_str()?;
    let help = candidate.get_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let help = help.lines().next().unwrap_or_default();
    (!value.is_empty() && !value.contains(char::is_control)).then(|| Candidate {
        value: value.to_owned(),
        help: help.replace(char::is_control, " "),
    })
}

/// Adds the values of each kind to the arguments of the command, which has these words, and of
/// those below it.
fn with_values(command: clap::Command, words: &str, given: &Arc<Given>) -> clap::Command {
    let command = command.mut_args(|argument| match kind(words, &argument) {
        Some(kind) => {
            let given = Arc::clone(given);
            argument.add(ArgValueCompleter::new(Values { kind, given }))
        }
        None => argument,
    });
    command.mut_subcommands(|below| {
        let words = format!("{words} {}", below.get_name());
        with_values(below, &words, given)
    })
}

/// Values of one argument.
struct Values {
    kind: Kind,
    given: Arc<Given>,
}

impl ValueCompleter for Values {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        values::candidates(self.kind, current, &self.given)
    }
}

/// Sorts the arguments before the cursor into operands and options.
fn given(command: &clap::Command, words: &[OsString], env_vars: &EnvVars) -> Given {
    let mut given = Given {
        env_vars: env_vars.clone(),
        ..Given::default()
    };
    let mut command = command;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            given.operands.extend(words.by_ref().cloned());
        } else if text.starts_with('-') {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (&*text, None),
            };
            let Some(option) = option(command, name) else {
                continue;
            };
            let value = value.or_else(|| words.next().cloned());
            given
                .options
                .extend(option.get_long().map(str::to_owned).zip(value));
        } else if let (true, Some(below)) = (
            given.operands.is_empty(),
            command.find_subcommand(word.as_os_str()),
        ) {
            command = below;
        } else {
            given.operands.push(word.clone());
        }
    }
    given
}

/// Returns the option that takes a value and has this name, such as `--site` or `-c`.
fn option<'a>(command: &'a clap::Command, name: &str) -> Option<&'a clap::Arg> {
    let mut options = command.get_arguments().filter(|option| {
        matches!(option.get_action(), ArgAction::Set | ArgAction::Append) && !option.is_positional()
    });
    options.find(|option| match name.strip_prefix("--") {
        Some(long) => option.get_long() == Some(long),
        None => option
            .get_short()
            .is_some_and(|short| name == format!("-{short}")),
    })
}

#[cfg(test)]
mod tests;
