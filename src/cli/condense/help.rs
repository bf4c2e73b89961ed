//! Responsible for the verb `condense help`, which shows the help of a command or explains a code.

use clap::Args;
use condense_check::{CODES, find_code};
use condense_diagnostics::closest;

use super::overview;
use crate::cli::{Command, DIALECTS};

/// Word for the page about exit statuses.
const EXIT_CODES: &str = "exit-codes";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Words of a command, the code of a finding, or `exit-codes`; without them, all commands are
    /// listed
    #[arg(value_name = "COMMAND|CODE")]
    words: Vec<String>,
}

/// Returns the text about a command or a code, or a usage error with a similar word.
pub(super) fn command(arguments: &Arguments) -> Command {
    let Some(first) = arguments.words.first() else {
        return Command::Print(overview());
    };
    if arguments.words == [EXIT_CODES] {
        return Command::Print(
            include_str!("../../../docs/exit-codes.md")
                .trim_end()
                .to_owned(),
        );
    }
    if let Some(code) = find_code(first.trim_matches(['[', ']']))
        && arguments.words.len() == 1
    {
        return Command::Print(code.render());
    }
    let mut name = "condense".to_owned();
    let mut found = super::command();
    found.build();
    for word in &arguments.words {
        let Some(next) = found.find_subcommand(word).cloned() else {
            return Command::Usage(unknown(word, &name, &found));
        };
        name.push_str(&format!(" {}", next.get_name()));
        found = next;
    }
    Command::Print(found.render_help().to_string().trim_end().to_owned())
}

/// Returns the words that may follow `condense help` and the words `before`, for completion.
pub(in crate::cli) fn words_of_help(
    before: &[std::ffi::OsString],
) -> impl Iterator<Item = (String, String)> {
    let (name, rest) = match before {
        [first, rest @ ..] if DIALECTS.iter().any(|dialect| first == dialect) => {
            (first.to_string_lossy().into_owned(), rest)
        }
        all => ("condense".to_owned(), all),
    };
    let command = super::definition_of(&name);
    let below = rest
        .iter()
        .try_fold(&command, |command, word| command.find_subcommand(word));
    let described = |command: &clap::Command| {
        let about = command.get_about().map(ToString::to_string);
        (command.get_name().to_owned(), about.unwrap_or_default())
    };
    let commands = below
        .into_iter()
        .flat_map(clap::Command::get_subcommands)
        .map(described);
    let mut words: Vec<(String, String)> = commands.collect();
    if before.is_empty() {
        words.extend(DIALECTS.map(|dialect| described(&super::definition_of(dialect))));
        words.push((EXIT_CODES.to_owned(), "Exit statuses".to_owned()));
        words.extend(
            CODES
                .iter()
                .map(|code| (code.name.to_owned(), code.title.to_owned())),
        );
    }
    words.into_iter()
}

/// Returns the message for a word that is neither a command nor a code.
fn unknown(word: &str, name: &str, command: &clap::Command) -> String {
    let is_first = name == "condense";
    let verbs = command.get_subcommands().map(clap::Command::get_name);
    let mut known: Vec<&str> = verbs.collect();
    if is_first {
        known.push(EXIT_CODES);
        known.extend(DIALECTS);
        known.extend(CODES.iter().map(|code| code.name));
    }
    let problem = if is_first {
        format!("`{word}` is neither a command nor a code of a finding")
    } else {
        format!("`{name}` has no command `{word}`")
    };
    let hint = match closest(word, known) {
        Some(similar) if is_first => format!("`condense help {similar}`"),
        Some(similar) => format!(
            "`{} {similar}`",
            name.replacen("condense", "condense help", 1)
        ),
        None if is_first => {
            "`condense help` lists the commands, `condense explain` the codes".to_owned()
        }
        None => format!("`{}`", name.replacen("condense", "condense help", 1)),
    };
    format!("error: {problem}\nhint: {hint}")
}
