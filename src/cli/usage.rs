//! Responsible for the habits of argparse that clap does not have: its words for usage errors and help.

use clap::error::{Error, ErrorKind};

use super::Command;

/// Help goes to standard output with exit 0, everything else to standard error with exit 2.
pub(super) fn command(program: &str, error: &Error) -> Command {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Command::Print(lower_usage(text.trim_end()))
        }
        _ => Command::Usage(in_argparse_words(program, &text)),
    }
}

pub(super) fn lower_usage(text: &str) -> String {
    text.replacen("Usage:", "usage:", 1)
}

fn in_argparse_words(program: &str, text: &str) -> String {
    let mut usage = Vec::new();
    let mut message = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
    {
        match line.strip_prefix("Usage:") {
            Some(rest) => usage.push(format!("usage:{rest}")),
            None => message.push(line.trim().trim_start_matches("error: ").to_owned()),
        }
    }
    let message = message.join(" ").replace(
        "the following required arguments were not provided:",
        "the following arguments are required:",
    );
    usage.push(format!("{program}: error: {message}"));
    usage.join("\n")
}
