//! Responsible for the verb `condense shell`, which prints shell code for `tykky activate` and for
//! the completion of every program.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use clap_complete::{Shell as Completion, generate};

use super::Context;
use crate::cli::{DIALECTS, conda_containerize, condense, cotainr, pip_containerize, wrap};

const TYKKY: &str = include_str!("shell/tykky.sh");
const TYKKY_BASH: &str = include_str!("shell/complete.bash");
const TYKKY_ZSH: &str = include_str!("shell/complete.zsh");
const TYKKY_FISH: &str = include_str!("shell/tykky.fish");

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
enum Shell {
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
    match shell {
        Shell::Sh => TYKKY.to_owned(),
        Shell::Bash => format!("{TYKKY}\n{TYKKY_BASH}\n{}", completion(Completion::Bash)),
        // `compdef` exists only after compinit.
        Shell::Zsh => format!(
            "{TYKKY}\nif whence compdef >/dev/null; then\n{TYKKY_ZSH}\n{}\nfi\n",
            completion(Completion::Zsh)
        ),
        Shell::Fish => format!("{TYKKY_FISH}\n{}", completion(Completion::Fish)),
    }
}

/// Returns the completion code of the program and of each dialect under its own name.
fn completion(shell: Completion) -> String {
    std::iter::once("condense")
        .chain(DIALECTS)
        .map(|name| completion_of(shell, name))
        .collect()
}

/// Returns the completion code of the program under one of its names.
pub(super) fn completion_of(shell: Completion, name: &str) -> String {
    let mut text = Vec::new();
    generate(shell, &mut definition_of(name), name, &mut text);
    let text = String::from_utf8_lossy(&text);
    // In the code for bash, clap_complete 4.6 sets a state by one spelling of a name with a hyphen,
    // and looks for it by another.
    text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
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
            for name in DIALECTS.into_iter().chain(["condense", "tykky"]) {
                let line = match shell {
                    Shell::Bash => format!(" {name}\n"),
                    Shell::Zsh => format!("compdef _{name} {name}\n"),
                    _ => format!("complete -c {name} "),
                };
                let line = line.replace("compdef _tykky tykky", "compdef __tykky_complete tykky");
                assert!(text.contains(&line), "{shell:?}: no `{line}`");
            }
            for option in ["post-install", "accept-licenses", "prefix"] {
                assert!(text.contains(option), "{shell:?}: no `{option}`");
            }
        }
    }
}
