//! Responsible for judging a command by its text before any expansion: values that bash computes,
//! and redirections.

use super::super::variables::is_name;

/// Variables that bash itself sets, with values that differ between the build and a start.
const COMPUTED: [&str; 18] = [
    "HOSTNAME",
    "UID",
    "EUID",
    "PPID",
    "RANDOM",
    "SRANDOM",
    "SECONDS",
    "EPOCHSECONDS",
    "EPOCHREALTIME",
    "BASHPID",
    "COLUMNS",
    "LINES",
    "GROUPS",
    "SHLVL",
    "PWD",
    "OLDPWD",
    "BASH_ARGV",
    "DIRSTACK",
];

/// Finds a variable that bash computes, or the process ID `$$`.
pub(super) fn find_computed(text: &str) -> Option<&str> {
    for (at, _) in text.match_indices('$') {
        if text[..at].ends_with('\\') {
            continue;
        }
        let rest = text[at + 1..].trim_start_matches(['{', '#', '!']);
        let end = rest
            .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .unwrap_or(rest.len());
        if COMPUTED.contains(&&rest[..end]) {
            return Some(&rest[..end]);
        }
        // `\$${name}` builds a name for eval.
        if text[at + 1..].starts_with('$')
            && !text[at + 2..].starts_with(|next: char| {
                next == '{' || next == '_' || next.is_ascii_alphanumeric()
            })
        {
            return Some("$$");
        }
    }
    None
}

/// Finds the variable of `${#NAME}`.
pub(super) fn find_measured(text: &str) -> Option<&str> {
    text.split("${#").skip(1).find_map(|rest| {
        rest.split_once('}')
            .map(|(name, _)| name)
            .filter(|name| is_name(name))
    })
}

/// Returns whether a command reads from a redirection, and the file outside the environment that it
/// reads from.
pub(super) fn read_redirections(text: &str) -> (bool, Option<String>) {
    let (mut reads, mut quote, mut escaped) = (false, None, false);
    for (at, character) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match character {
            '\\' if quote != Some('\'') => escaped = true,
            '\'' | '"' if quote.is_none() => quote = Some(character),
            _ if quote == Some(character) => quote = None,
            '<' if quote.is_none() => {
                reads = true;
                let target = text[at + 1..].trim_start();
                if text[at + 1..].starts_with(['<', '(', '&']) || text[..at].ends_with('<') {
                    continue;
                }
                let inside = [
                    "\"$CONDA_PREFIX/",
                    "$CONDA_PREFIX/",
                    "\"${CONDA_PREFIX}/",
                    "${CONDA_PREFIX}/",
                    "/dev/null",
                ];
                if !inside.iter().any(|start| target.starts_with(start)) {
                    return (
                        true,
                        Some(
                            target
                                .split_ascii_whitespace()
                                .next()
                                .unwrap_or_default()
                                .to_owned(),
                        ),
                    );
                }
            }
            _ => {}
        }
    }
    (reads, None)
}

/// Finds the end of a block with a redirection, which neither kind of log entry shows.
pub(super) fn redirected_block(script: &str) -> Option<&'static str> {
    const ENDS: [&str; 5] = ["done", "fi", "esac", "}", ")"];
    let code: Vec<&str> = script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    ENDS.into_iter().find(|end| {
        code.iter().any(|line| {
            line.match_indices(end).any(|(at, _)| {
                let word = end.len() == 1
                    || line[..at]
                        .chars()
                        .next_back()
                        .is_none_or(|before| before.is_whitespace() || before == ';');
                let rest = line[at + end.len()..].trim_start_matches([' ', '\t']);
                let rest = rest.trim_start_matches(|character: char| {
                    character.is_ascii_digit() || character == '&'
                });
                let file = rest
                    .strip_prefix("<")
                    .or_else(|| rest.strip_prefix(">>"))
                    .or_else(|| rest.strip_prefix('>'));
                word && file.is_some_and(|file| {
                    !file.starts_with(['&', '<', '('])
                        && !file.trim_start().starts_with("/dev/null")
                })
            })
        })
    })
}
