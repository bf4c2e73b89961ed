//! Responsible for options between a command and one of its sub-commands, such as `--json` in
//! `condense base --json ls`. They mean the same before the sub-command as behind it.

use std::ffi::OsString;

use clap::ArgAction;

/// Moves the options before a sub-command behind it, as far as the sub-command has them. All other
/// words stay where they are, so that errors show them as they were typed.
pub(super) fn settle(arguments: &[OsString], command: &clap::Command) -> Vec<OsString> {
    let unchanged = || arguments.to_vec();
    let Some((name, rest)) = arguments.split_first() else {
        return unchanged();
    };
    let Some(group) = name.to_str().and_then(|name| command.find_subcommand(name)) else {
        return unchanged();
    };
    if !group.has_subcommands() {
        return unchanged();
    }
    let mut moved: Vec<OsString> = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if !text.starts_with('-') {
            let Some(verb) = group.find_subcommand(text.as_ref()) else {
                return unchanged();
            };
            if !moved.iter().all(|option| is_known(verb, option)) {
                return unchanged();
            }
            let behind = words.cloned();
            return [name.clone(), word.clone()]
                .into_iter()
                .chain(moved)
                .chain(behind)
                .collect();
        }
        moved.push(word.clone());
        let takes_value = group
            .get_subcommands()
            .filter_map(|verb| option(verb, &text))
            .any(|found| matches!(found.get_action(), ArgAction::Set | ArgAction::Append));
        if takes_value && !text.contains('=') {
            moved.extend(words.next().cloned());
        }
    }
    unchanged()
}

/// Returns the option of a command that a word such as `--json` or `--site=NAME` names.
fn option<'a>(command: &'a clap::Command, word: &str) -> Option<&'a clap::Arg> {
    let name = word.split('=').next().unwrap_or(word);
    let mut options = command.get_arguments();
    options.find(|option| match name.strip_prefix("--") {
        Some(long) => option.get_long() == Some(long),
        None => option
            .get_short()
            .is_some_and(|short| name == format!("-{short}")),
    })
}

/// Returns whether a sub-command has the option, or whether the word is the value of one.
fn is_known(verb: &clap::Command, word: &OsString) -> bool {
    let text = word.to_string_lossy();
    !text.starts_with('-') || option(verb, &text).is_some()
}

#[cfg(test)]
mod tests {
    use super::settle;
    use std::ffi::OsString;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    /// B15: options of a sub-command may stand before it.
    #[test]
    fn options_before_a_sub_command_are_moved_behind_it() {
        let command = super::super::command();
        for (given, expected) in [
            ("sif --json list x.sif", "sif list --json x.sif"),
            ("image --threads 2 diff a b", "image diff --threads 2 a b"),
            (
                "image --threads=2 --json diff a b",
                "image diff --threads=2 --json a b",
            ),
            ("cache --json info", "cache info --json"),
            // Nothing is moved that the sub-command does not have.
            ("image --threads 2 info a", "image --threads 2 info a"),
            ("image --nothing diff a b", "image --nothing diff a b"),
            ("image nothing", "image nothing"),
            ("sif list --json x.sif", "sif list --json x.sif"),
            ("info --json x", "info --json x"),
        ] {
            assert_eq!(settle(&words(given), &command), words(expected), "{given}");
        }
    }
}
