//! Responsible for the reason why a script failed: its line, its command and its last output.

use std::path::{Path, PathBuf};

use condense_diagnostics::{Hint, Location, Shortage};
use condense_prefix::without_secrets;

use super::{RootScript, SCRIPT, TAIL};

/// Number of lines in which the reason of a failure is looked for.
pub(super) const KEPT: usize = 2_000;
/// Status of a process that was killed.
const KILLED: i32 = 137;
/// Status of a process that was ended by the filter of system calls, which knows no 32-bit ones.
const BAD_CALL: i32 = 159;

/// Failure of a script that runs as root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No way of running a script as root works here.
    #[error("a script cannot run as root here: {}", closed.join("; "))]
    NoWay {
        /// Each way with the reason why it is closed.
        closed: Vec<String>,
    },
    /// A path of this machine has no place in the file system of the script.
    #[error("`{}` cannot be shown at `{}`: {reason}", bound.display(), destination.display())]
    NoPlace {
        /// Path on this machine.
        bound: PathBuf,
        /// Path at which the script would see it.
        destination: PathBuf,
        /// Reason of the failure.
        reason: String,
    },
    /// The shell of the script did not start.
    #[error("{name} cannot run: {reason}")]
    NotStarted {
        /// Name of the script.
        name: String,
        /// Reason of the failure.
        reason: String,
    },
    /// The script has ended with an error.
    #[error("{}{name} failed: {}{}\n{output}", place(.file.as_deref(), *.line), ending(*.status), of(.command.as_deref()))]
    Failed {
        /// Name of the script.
        name: String,
        /// Exit status, or 128 and the number of the signal.
        status: i32,
        /// File that has the script.
        file: Option<PathBuf>,
        /// Line of the failure in the file, or in the script if there is no file.
        line: Option<usize>,
        /// Command that failed, as the shell has shown it.
        command: Option<String>,
        /// Last lines of the output.
        output: String,
        /// Directory that the script has written to.
        dir: PathBuf,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoWay { .. } => Some(
                "build on a node that allows user namespaces (compute nodes often do), load a newer `proot`, or run a script that needs no root with `--no-root`"
                    .to_owned(),
            ),
            Self::NoPlace { .. } => Some(
                "bind it at a directory that the image has, such as `/mnt`, or below `/tmp`".to_owned(),
            ),
            Self::NotStarted { .. } => Some(
                "name a base that has a shell, or another directory with `--tmpdir DIR`".to_owned(),
            ),
            Self::Failed { status, output, dir, .. } => {
                if let Some(shortage) = Shortage::in_text(output) {
                    return Some(shortage.hint(Some(dir)));
                }
                match *status {
                    KILLED => Some(
                        "something has killed it: often the limit of memory of the login node or the job"
                            .to_owned(),
                    ),
                    BAD_CALL => Some(
                        "a system call was refused: 32-bit programs cannot run while an image is built"
                            .to_owned(),
                    ),
                    _ => None,
                }
            }
        }
    }

    fn location(&self) -> Option<Location> {
        None
    }
}

/// Words of a shell that stand between commands.
const BETWEEN: [&str; 15] = [
    "&&", "||", "|", "&", ";", "if", "then", "else", "elif", "while", "until", "do", "!", "{", "(",
];

fn place(file: Option<&Path>, line: Option<usize>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{}:{line}: ", file.display()),
        (Some(file), None) => format!("{}: ", file.display()),
        (None, Some(line)) => format!("line {line}: "),
        (None, None) => String::new(),
    }
}

fn ending(status: i32) -> String {
    if status > 128 {
        format!("it was ended by signal {}", status - 128)
    } else {
        format!("exit status {status}")
    }
}

fn of(command: Option<&str>) -> String {
    command.map_or_else(String::new, |command| format!(" of `{command}`"))
}

/// Returns the failure of a script that has printed these lines.
pub(super) fn failed(script: &RootScript, status: i32, lines: &[String], dir: &Path) -> Error {
    let command = last_command(lines);
    let line = told_line(lines).or_else(|| {
        let command = command.as_deref()?;
        line_of(script.text, command)
    });
    let origin = script.origin.as_ref();
    let line = line.and_then(|line| match origin {
        Some(origin) => origin.line(line),
        None => Some(line),
    });
    let tail = &lines[lines.len().saturating_sub(TAIL)..];
    let output: Vec<String> = tail
        .iter()
        .map(|line| without_secrets(line).into_owned())
        .collect();
    Error::Failed {
        name: script.name.to_owned(),
        status,
        file: origin.map(|origin| origin.file.to_owned()),
        line,
        command: command.map(|command| without_secrets(&command).into_owned()),
        output: output.join("\n").trim_end().to_owned(),
        dir: dir.to_owned(),
    }
}

/// Returns the command that a shell has shown last, with `-x`.
fn last_command(lines: &[String]) -> Option<String> {
    let shown = lines.iter().rev().find_map(|line| line.strip_prefix("+ "));
    shown.map(str::to_owned)
}

/// Returns the line that a shell has named in its messages about the last command:
/// `/.post.script: 3: x: not found` of dash, `/.post.script: line 3: x: command not found` of bash.
fn told_line(lines: &[String]) -> Option<usize> {
    let is_command = |line: &String| {
        let rest = line.trim_start_matches('+');
        rest.len() < line.len() && rest.starts_with(' ')
    };
    // A message before the command is about another one, which has ended nothing.
    let last = lines.iter().rposition(is_command).unwrap_or(0);
    let tail = &lines[lines.len().saturating_sub(TAIL).max(last)..];
    tail.iter().rev().find_map(|line| {
        let (_, rest) = line.split_once(&format!("{SCRIPT}: "))?;
        let rest = rest.strip_prefix("line ").unwrap_or(rest);
        rest.split(':').next()?.parse().ok()
    })
}

/// Returns the number of the only line of a script that has this command. A shell shows it without
/// quotes and redirections.
fn line_of(text: &str, command: &str) -> Option<usize> {
    let wanted = commands_of(command);
    let mut found = (1..).zip(text.lines()).filter(|(_, line)| {
        commands_of(line)
            .iter()
            .any(|command| wanted.contains(command))
    });
    let (number, _) = found.next()?;
    found.next().is_none().then_some(number)
}

/// Returns the commands of a line, each without quotes and redirections.
fn commands_of(line: &str) -> Vec<String> {
    let plain: String = line.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    let mut commands = vec![Vec::new()];
    let mut words = plain.split_whitespace();
    while let Some(word) = words.next() {
        let target = word
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .strip_prefix(['<', '>']);
        if let Some(target) = target {
            if target.trim_start_matches(['<', '>', '&', '|']).is_empty() {
                words.next();
            }
        } else if BETWEEN.contains(&word) {
            commands.push(Vec::new());
        } else {
            let bare = word.trim_end_matches(';');
            commands
                .last_mut()
                .into_iter()
                .for_each(|last| last.push(bare));
            if bare.len() < word.len() {
                commands.push(Vec::new());
            }
        }
    }
    commands.retain(|words| !words.is_empty());
    commands.iter().map(|words| words.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::root_script::Origin;

    fn told(text: &str, lines: &[&str]) -> String {
        let script = RootScript {
            name: "%post",
            text,
            shell: Vec::new(),
            arguments: Vec::new(),
            variables: std::collections::BTreeMap::new(),
            origin: Some(Origin {
                file: Path::new("a.def"),
                lines: vec![(1, Some(10)), (4, Some(30)), (6, None), (8, Some(40))],
            }),
        };
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let error = failed(&script, 3, &lines, Path::new("/scratch"));
        error.to_string().lines().next().unwrap().to_owned()
    }

    #[test]
    fn the_line_of_a_failure_is_told_where_the_shell_tells_it() {
        let text = "true\necho \"a b\"\nfalse\n# more\nsecond\n\ncd /\nof-app\n";
        for (lines, expected) in [
            (
                vec!["+ nothing", "/.post.script: 2: nothing: not found"],
                "a.def:11: %post failed: exit status 3 of `nothing`",
            ),
            (
                vec![
                    "+ nothing",
                    "/.post.script: line 3: nothing: command not found",
                ],
                "a.def:12: %post failed: exit status 3 of `nothing`",
            ),
            (
                vec!["+ echo a b", "a b"],
                "a.def:11: %post failed: exit status 3 of `echo a b`",
            ),
            (
                vec!["+ inner"],
                "a.def: %post failed: exit status 3 of `inner`",
            ),
            // The first message has ended nothing, and the second part is elsewhere in the file.
            (
                vec![
                    "+ nothing",
                    "/.post.script: 2: nothing: not found",
                    "+ second",
                    "++ grep x",
                ],
                "a.def:31: %post failed: exit status 3 of `second`",
            ),
            (
                vec!["+ cd /", "/.post.script: 7: cd: can't cd to /"],
                "a.def: %post failed: exit status 3 of `cd /`",
            ),
            (
                vec!["+ of-app"],
                "a.def:40: %post failed: exit status 3 of `of-app`",
            ),
            (vec![], "a.def: %post failed: exit status 3"),
        ] {
            assert_eq!(told(text, &lines), expected);
        }
    }

    #[test]
    fn a_line_is_found_by_its_command_between_others_and_without_redirections() {
        for (text, command, line) in [
            ("true\ncat /dev/zero >/big", "cat /dev/zero", Some(2)),
            ("make 2> log", "make", Some(1)),
            ("make >log 2>&1 || exit 4", "exit 4", Some(1)),
            ("if test -f x; then tar xf x; fi", "tar xf x", Some(1)),
            ("tar 'x y'\ntar x", "tar 'x y'", Some(1)),
            ("make\nmake >log", "make", None),
            ("make all", "make", None),
        ] {
            assert_eq!(line_of(text, command), line, "{text}");
        }
    }

    #[test]
    fn a_full_disk_and_a_killed_script_have_their_hints() {
        let error = |status, output: &str| Error::Failed {
            name: "%post".to_owned(),
            status,
            file: None,
            line: None,
            command: None,
            output: output.to_owned(),
            dir: "/nowhere/cw-ABCDEF".into(),
        };
        let full = error(1, "tar: x: Cannot write: No space left on device");
        assert!(full.hint().unwrap().contains("--tmpdir"));
        assert!(error(KILLED, "").hint().unwrap().contains("memory"));
        assert!(error(BAD_CALL, "").hint().unwrap().contains("32-bit"));
        assert_eq!(error(1, "").hint(), None);
    }
}
