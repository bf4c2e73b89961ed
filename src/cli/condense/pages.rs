//! Responsible for the verb `condense pages`, which writes the man pages and the completion files
//! of every program. `scripts/dist` runs this verb for the packages that it makes. The verb has its
//! own parser, so that neither help nor completion offers it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::shell::{self, Shell};
use crate::cli::{Command, DIALECTS};

/// Completion files of one shell.
struct Completions {
    shell: Shell,
    /// Directory of the files below `share`.
    directory: &'static str,
    /// Parts of a file name before and after the name of the program.
    around: (&'static str, &'static str),
}

const COMPLETIONS: [Completions; 3] = [
    Completions {
        shell: Shell::Bash,
        directory: "bash-completion/completions",
        around: ("", ""),
    },
    Completions {
        shell: Shell::Zsh,
        directory: "zsh/site-functions",
        around: ("_", ""),
    },
    Completions {
        shell: Shell::Fish,
        directory: "fish/vendor_completions.d",
        around: ("", ".fish"),
    },
];
/// First words of the end of a help text that has examples.
const EXAMPLES: &str = "Examples:";

/// Name of the verb.
pub(super) const VERB: &str = "pages";

#[derive(Debug, Parser)]
#[command(
    name = "condense pages",
    about = "Writes the man pages and the completion files of every program"
)]
struct Arguments {
    /// Directory for man/man1, bash-completion, zsh and fish, for example PREFIX/share
    directory: PathBuf,
}

/// Parses the arguments that follow the verb.
pub(super) fn parse(arguments: &[OsString]) -> Command {
    let argv = std::iter::once(OsString::from(VERB)).chain(arguments.iter().cloned());
    match Arguments::try_parse_from(argv) {
        Ok(arguments) => Command::Run(Box::new(move |_| {
            write(&arguments.directory)?;
            Ok(ExitCode::SUCCESS)
        })),
        Err(error) if error.use_stderr() => Command::Usage(error.to_string().trim_end().to_owned()),
        Err(error) => Command::Print(error.to_string().trim_end().to_owned()),
    }
}

/// Writes the pages and the completion files below the directory.
fn write(share: &Path) -> anyhow::Result<()> {
    let pages = share.join("man/man1");
    fs_err::create_dir_all(&pages)?;
    for name in names() {
        write_pages(built(name), &pages)?;
    }
    for completions in COMPLETIONS {
        let directory = share.join(completions.directory);
        fs_err::create_dir_all(&directory)?;
        let (before, after) = completions.around;
        for name in names() {
            let text = completions.shell.completion_file(name);
            fs_err::write(directory.join(format!("{before}{name}{after}")), text)?;
        }
    }
    Ok(())
}

/// Returns the names of the program, `condense` first.
fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once("condense").chain(DIALECTS)
}

/// Returns the definition of a program's command line with the derived parts of all its commands.
fn built(name: &str) -> clap::Command {
    let mut command = shell::definition_of(name).disable_help_subcommand(true);
    command.build();
    command
}

/// Writes the page of the command, and of each command below it.
fn write_pages(command: clap::Command, directory: &Path) -> anyhow::Result<()> {
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        write_pages(below.clone(), directory)?;
    }
    let path = directory.join(Man::new(command.clone()).get_filename());
    fs_err::write(path, page(command)?)?;
    Ok(())
}

/// Returns the page of one command. The page has no date, so that equal programs have equal pages.
fn page(mut command: clap::Command) -> anyhow::Result<Vec<u8>> {
    let end = command
        .get_after_long_help()
        .or_else(|| command.get_after_help())
        .map(ToString::to_string);
    let related = related(&command);
    let has_commands = command.get_subcommands().any(|below| !below.is_hide_set());
    let title = format!(
        ".TH \"{}\" 1 \"\" \"condense {}\" condense\n",
        command.get_display_name().unwrap_or(command.get_name()),
        env!("CARGO_PKG_VERSION")
    );
    // The usage of the help text has one line, and that of the page each option.
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let man = Man::new(command.override_usage(usage));
    // roff 1.1 writes an empty date as no argument, so that the version would become the date.
    let mut text = title.into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_commands {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    if let Some(end) = end {
        end_of_help(&mut rest, &end);
    }
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(related.join(", "))]);
    rest.to_writer(&mut text)?;
    Ok(text)
}

/// Adds the end of a help text, in its own lines.
fn end_of_help(roff: &mut Roff, text: &str) {
    let (heading, text) = match text.strip_prefix(EXAMPLES) {
        Some(text) => ("EXAMPLES", text),
        None => ("NOTES", text),
    };
    roff.control("SH", [heading]);
    roff.control("nf", []);
    for line in text.trim_matches('\n').lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// Returns the pages that a reader of a command's page may look for: the command above it, or all
/// programs.
fn related(command: &clap::Command) -> Vec<String> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let above = name
        .strip_suffix(command.get_name())
        .and_then(|above| above.strip_suffix('-'));
    match above {
        Some(above) => vec![format!("{above}(1)")],
        None => names()
            .filter(|other| *other != name)
            .map(|other| format!("{other}(1)"))
            .collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns the names of the pages of a command and of the commands below it.
    fn expected(command: &clap::Command, found: &mut BTreeSet<String>) {
        let name = command.get_display_name().unwrap_or(command.get_name());
        found.insert(format!("{name}.1"));
        for below in command
            .get_subcommands()
            .filter(|below| !below.is_hide_set())
        {
            expected(below, found);
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let mut names_of_pages = BTreeSet::new();
        for name in names() {
            expected(&built(name), &mut names_of_pages);
            write_pages(built(name), directory.path()).unwrap();
        }
        let written: BTreeSet<String> = fs_err::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(written, names_of_pages);
        for name in ["condense.1", "condense-image-pack.1", "wrap-install.1"] {
            assert!(written.contains(name), "{name}");
        }
        assert!(written.contains("conda-containerize-new.1"));
        assert!(!written.iter().any(|name| name.contains("pages")));
    }

    #[test]
    fn pages_name_options_and_related_pages_and_have_no_date() {
        let new = built("conda-containerize");
        let new = new.find_subcommand("new").unwrap();
        let text = String::from_utf8(page(new.clone()).unwrap()).unwrap();
        assert!(text.contains("\\-\\-post\\-install"), "{text}");
        let (_, end) = text.split_once(".SH \"SEE ALSO\"\n").unwrap();
        assert_eq!(end, "conda\\-containerize(1)\n");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text.lines().next().unwrap(),
            format!(".TH \"conda-containerize-new\" 1 \"\" \"condense {version}\" condense")
        );
        assert!(
            text.contains("conda\\-containerize new\\fR [OPTIONS]"),
            "{text}"
        );
    }

    #[test]
    fn examples_keep_their_lines() {
        let command = clap::Command::new("tool")
            .about("Does it")
            .after_help("Examples:\n  tool a\n  .tool b\n");
        let text = String::from_utf8(page(command).unwrap()).unwrap();
        assert!(text.contains("EXAMPLES\n.nf\n  tool a\n"), "{text}");
    }
}
