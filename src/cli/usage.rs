//! Responsible for behaviour of argparse that clap does not have: the wording of usage errors and
//! help, and one error for all unknown arguments, which comes after all other errors.

use std::ffi::OsString;

use clap::{
    ArgMatches,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::{Command, mistake};
use crate::console::Console;

/// Properties of a program's messages about its usage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect<'a> {
    /// Name of the program.
    pub program: &'a str,
    /// Name of the argument for the verb. `None` shows the list of verbs instead.
    pub verb: Option<&'a str>,
    /// Whether the long form of an option is shown before its short form.
    pub is_long_first: bool,
    /// Usages of the program and of its verbs, each with the words with which it begins. A verb
    /// without a usage in this list gets clap's usage.
    pub usages: &'a [(&'a str, &'a str)],
}

/// Arguments that were read, and argparse's error about unknown arguments. The error is used only
/// if there is no other error.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) matches: ArgMatches,
    unknown: Option<Command>,
}

impl Read {
    /// Returns the matches, or the error about unknown arguments.
    pub(super) fn known(self) -> Result<ArgMatches, Command> {
        match self.unknown {
            Some(unknown) => Err(unknown),
            None => Ok(self.matches),
        }
    }
}

impl Dialect<'_> {
    /// Parses the arguments that follow the program's name. With `--json`, errors are objects from
    /// here on, that of the command line included.
    pub(super) fn read(
        self,
        command: &clap::Command,
        arguments: &[OsString],
        console: &Console,
    ) -> Result<Read, Command> {
        let read = self.parse(command, arguments);
        let wants_json = match &read {
            Ok(Read {
                matches,
                unknown: None,
            }) => mistake::is_flag_set(matches, mistake::JSON),
            _ => mistake::wants_json(arguments),
        };
        if wants_json {
            console.set_messages_to_stderr();
            console.answer_in_json();
        }
        read
    }

    fn parse(self, command: &clap::Command, arguments: &[OsString]) -> Result<Read, Command> {
        let mut argv = arguments.to_vec();
        let mut unknown = Vec::new();
        let mut advice = None;
        loop {
            let words = std::iter::once(OsString::from(self.program)).chain(argv.iter().cloned());
            let error = match command.clone().try_get_matches_from(words) {
                Ok(matches) => {
                    let unknown = (!unknown.is_empty()).then(|| {
                        let message = format!("unrecognized arguments: {}", unknown.join(" "));
                        self.refusal(command, self.program, &message, advice)
                    });
                    return Ok(Read { matches, unknown });
                }
                Err(error) => error,
            };
            let place = match error.kind() {
                ErrorKind::UnknownArgument => place(&argv, &error),
                _ => None,
            };
            match place {
                Some(place) => {
                    unknown.push(argv.remove(place).to_string_lossy().into_owned());
                    advice = advice.or_else(|| mistake::similar(&error));
                }
                None => return Err(self.command(command, &argv, &error)),
            }
        }
    }

    /// Turns an error of clap into a command. Help is printed on standard output with exit status
    /// 0, everything else on standard error with exit status 2.
    pub(super) fn command(
        self,
        command: &clap::Command,
        arguments: &[OsString],
        error: &Error,
    ) -> Command {
        let text = error.render().to_string();
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            return Command::Print(lower_usage(text.trim_end()));
        }
        // An error in a verb's own arguments is shown with the verb's usage.
        let verb = arguments
            .iter()
            .find_map(|word| command.find_subcommand(word));
        let (speaker, at) = match verb {
            Some(verb) => (verb, format!("{} {}", self.program, verb.get_name())),
            None => (command, self.program.to_owned()),
        };
        let message = self
            .message(command, speaker, error)
            .unwrap_or_else(|| plain(&text));
        let hint = mistake::hint(error).or_else(|| {
            let verbs = speaker.get_subcommands().map(clap::Command::get_name);
            mistake::similar_command(error, verbs)
        });
        self.refusal(speaker, &at, &message, hint)
    }

    fn refusal(
        self,
        speaker: &clap::Command,
        at: &str,
        message: &str,
        hint: Option<String>,
    ) -> Command {
        let own = self.usages.iter().find(|(name, _)| *name == at);
        let (at, usage) = if let Some((_, usage)) = own {
            (at, format!("usage: {usage}"))
        } else {
            let mut speaker = speaker.clone().bin_name(at);
            let usage = speaker.render_usage().to_string();
            (self.program, lower_usage(usage.trim_end()))
        };
        let mut text = format!("{usage}\n{at}: error: {message}");
        if let Some(hint) = hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        Command::Usage(text)
    }

    fn message(
        self,
        command: &clap::Command,
        speaker: &clap::Command,
        error: &Error,
    ) -> Option<String> {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => vec![text.clone()],
            Some(ContextValue::Strings(texts)) => texts.clone(),
            _ => Vec::new(),
        };
        let names: Vec<String> = text(ContextKind::InvalidArg)
            .iter()
            .map(|shown| self.name(speaker, shown))
            .collect();
        let name = names.first();
        let value = text(ContextKind::InvalidValue).pop().unwrap_or_default();
        let valid = text(ContextKind::ValidValue);
        match error.kind() {
            ErrorKind::InvalidSubcommand => {
                let verbs: Vec<String> = command
                    .get_subcommands()
                    .filter(|verb| !verb.is_hide_set())
                    .map(|verb| verb.get_name().to_owned())
                    .collect();
                let what = match self.verb {
                    Some(verb) => verb.to_owned(),
                    None => format!("{{{}}}", verbs.join(",")),
                };
                let given = text(ContextKind::InvalidSubcommand).pop()?;
                Some(format!("argument {what}: {}", choice(&given, &verbs)))
            }
            ErrorKind::MissingRequiredArgument => Some(format!(
                "the following arguments are required: {}",
                names.join(", ")
            )),
            ErrorKind::InvalidValue if value.is_empty() => {
                Some(format!("argument {}: expected one argument", name?))
            }
            ErrorKind::InvalidValue if !valid.is_empty() => {
                Some(format!("argument {}: {}", name?, choice(&value, &valid)))
            }
            ErrorKind::TooManyValues => Some(format!(
                "argument {}: ignored explicit argument '{value}'",
                name?
            )),
            _ => None,
        }
    }

    /// Returns an argument's name as argparse writes it. It is `-w/--wrapper-paths` for
    /// `--wrapper-paths <LIST>`, and `yaml` for `<yaml>`.
    fn name(self, speaker: &clap::Command, shown: &str) -> String {
        let word = shown.split([' ', '=']).next().unwrap_or(shown);
        let word = word.trim_end_matches("...");
        let forms = speaker.get_arguments().map(|argument| {
            let short = argument.get_short().map(|short| format!("-{short}"));
            let long = argument.get_long().map(|long| format!("--{long}"));
            if self.is_long_first {
                [long, short]
            } else {
                [short, long]
            }
        });
        let mut forms = forms.map(|forms| forms.into_iter().flatten().collect::<Vec<String>>());
        match forms.find(|forms| forms.iter().any(|form| form == word)) {
            Some(forms) => forms.join("/"),
            None => word.trim_matches(['<', '>', '[', ']']).to_owned(),
        }
    }
}

fn choice(given: &str, known: &[String]) -> String {
    let known: Vec<String> = known.iter().map(|word| format!("'{word}'")).collect();
    format!(
        "invalid choice: '{given}' (choose from {})",
        known.join(", ")
    )
}

/// Finds the argument that clap's error is about.
fn place(argv: &[OsString], error: &Error) -> Option<usize> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_it = |word: &OsString| {
        let word = word.to_string_lossy();
        let with_value = || {
            let rest = word.strip_prefix(shown.as_str());
            shown.starts_with("--") && rest.is_some_and(|rest| rest.starts_with('='))
        };
        let among_letters = || {
            let letter = shown.strip_prefix('-').filter(|letter| letter.len() == 1);
            let letters = word.strip_prefix('-').filter(|word| !word.starts_with('-'));
            matches!((letter, letters), (Some(letter), Some(letters)) if letters.contains(letter))
        };
        word == *shown || with_value() || among_letters()
    };
    // A surplus positional argument follows the expected ones, so the last match is the right one.
    if shown.starts_with('-') {
        argv.iter().position(is_it)
    } else {
        argv.iter().rposition(is_it)
    }
}

pub(super) fn lower_usage(text: &str) -> String {
    text.replacen("Usage:", "usage:", 1)
}

/// Returns clap's message on one line, without its usage and its advice.
fn plain(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let words: Vec<&str> = lines
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .filter(|line| !line.starts_with("tip: "))
        .collect();
    words.join(" ")
}
