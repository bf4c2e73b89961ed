//! Responsible for the verb `condense shell`, which prints shell code for `tykky activate` and for
//! the completion of every program.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Context;
use crate::cli::{DIALECTS, conda_containerize, condense, cotainr, pip_containerize, wrap};

const TYKKY: &str = include_str!("shell/tykky.sh");
const TYKKY_BASH: &str = include_str!("shell/complete.bash");
const TYKKY_ZSH: &str = include_str!("shell/complete.zsh");
const TYKKY_FISH: &str = include_str!("shell/tykky.fish");
const BASH: &str = include_str!("shell/condense.bash");
const ZSH: &str = include_str!("shell/condense.zsh");
const FISH: &str = include_str!("shell/condense.fish");

#[derive(Debug, Args)]
#[command(
    after_help = "Add this line to the start-up file of your shell. A site can store the output in a file instead:\n  \
    bash, zsh   eval \"$(condense shell bash)\"\n  fish        condense shell fish | source"
)]
pub(super) struct Arguments {
    /// Shell for which the code is printed; `sh` gets `tykky` without completion
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
    Sh,
}

/// Prints the code for the shell.
pub(super) fn run(arguments: &Arguments, context: &Context) -> ExitCode {
    context.console.data(render(arguments.shell).trim_end());
    ExitCode::SUCCESS
}

fn render(shell: Shell) -> String {
    let names: Vec<&str> = std::iter::once("condense").chain(DIALECTS).collect();
    let completion = shell.completion(&names);
    match shell {
        Shell::Sh => TYKKY.to_owned(),
        Shell::Bash => format!("{TYKKY}\n{TYKKY_BASH}\n{completion}"),
        // `compdef` exists only after compinit.
        Shell::Zsh => {
            format!("{TYKKY}\nif whence compdef >/dev/null; then\n{TYKKY_ZSH}\n{completion}fi\n")
        }
        Shell::Fish => format!("{TYKKY_FISH}\n{completion}"),
    }
}

impl Shell {
    /// Returns the code that completes the program under these names.
    fn completion(self, names: &[&str]) -> String {
        let names_in_one = names.join(" ");
        match self {
            Self::Bash => format!("{BASH}complete -F __condense_complete {names_in_one}\n"),
            Self::Zsh => format!("{ZSH}compdef __condense_complete {names_in_one}\n"),
            Self::Fish => {
                let lines = names
                    .iter()
                    .map(|name| format!("complete -c {name} -f -k -a '(__condense_complete)'\n"));
                format!("{FISH}{}", lines.collect::<String>())
            }
            Self::Sh => String::new(),
        }
    }

    /// Returns the text of a file that the shell reads when it completes one name of the program.
    pub(super) fn completion_file(self, name: &str) -> String {
        match self {
            // The file is the body of a function, which is called for the first completion too.
            Self::Zsh => format!("#compdef {name}\n{ZSH}__condense_complete\n"),
            _ => self.completion(&[name]),
        }
    }
}

/// Returns clap's definition of the command line that belongs to a name of the program.
pub(in crate::cli) fn definition_of(name: &str) -> clap::Command {
    match name {
        "condense" => condense::command(),
        "conda-containerize" => conda_containerize::command(),
        "pip-containerize" => pip_containerize::command(),
        "wrap-container" => wrap::Tool::Container.command(),
        "wrap-install" => wrap::Tool::Install.command(),
        _ => cotainr::command(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_completed_in_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = render(shell);
            let registers = match shell {
                Shell::Bash => "complete -F __condense_complete ",
                Shell::Zsh => "compdef __condense_complete ",
                _ => "complete -c ",
            };
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with(registers))
                .collect();
            let words = lines.join(" ");
            for name in DIALECTS.into_iter().chain(["condense"]) {
                assert!(
                    words.split(' ').any(|word| word == name),
                    "{shell:?}: no `{name}`"
                );
                let file = shell.completion_file(name);
                assert!(file.contains("condense complete") || file.contains("program complete"));
            }
            assert!(
                text.contains("complete tykky") || text.contains("-c tykky"),
                "{shell:?}"
            );
        }
    }
}
