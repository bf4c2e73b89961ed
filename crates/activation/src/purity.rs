//! Responsible for finding dependencies that the trials cannot show: commands whose result depends
//! on more than the preset variables, or on a particular value of a variable.

#[cfg(test)]
mod tests;
mod written;

use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

use super::{
    cases::{Case, find_cases},
    glob::Pattern,
    log::{Event, assignment, split_words},
    trials::is_tainted,
};
use written::{find_computed, find_measured, read_redirections, redirected_block};

/// Checks the log of one script for commands that need a shell.
pub(super) struct LogChecker<'a> {
    /// Returns whether the environment has a program of this name in its `bin`.
    has_program: &'a dyn Fn(&str) -> bool,
    env_prefix: &'a str,
    mentioned: &'a BTreeSet<String>,
    cases: Vec<Case>,
    reasons: Vec<String>,
}

impl<'a> LogChecker<'a> {
    pub(super) fn new(
        has_program: &'a dyn Fn(&str) -> bool,
        env_prefix: &'a str,
        mentioned: &'a BTreeSet<String>,
        script: &str,
    ) -> Self {
        let mut checker = Self {
            has_program,
            env_prefix,
            mentioned,
            cases: find_cases(script),
            reasons: Vec::new(),
        };
        if let Some(word) = redirected_block(script) {
            checker.add(format!(
                "redirects what ends with `{word}` from or to a file"
            ));
        }
        checker
    }

    /// Reasons found so far.
    pub(super) fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// Returns the reasons why the script needs a shell; empty if it needs none.
    pub(super) fn into_reasons(self) -> Vec<String> {
        self.reasons
    }

    /// Checks the commands that the script ran in one trial.
    pub(super) fn read(&mut self, events: &[Event]) {
        let mut case_word: Option<&str> = None;
        for event in events {
            match event {
                Event::Command(text) => {
                    if let Some(text) = case_word.take() {
                        self.unknown_case(text);
                    }
                    self.command(text);
                    case_word = text
                        .strip_prefix("case ")
                        .map(|rest| rest.trim_end().trim_end_matches(" in"));
                }
                Event::CaseWord(value) => {
                    let word = case_word.take().unwrap_or_default();
                    self.case(word, value);
                }
                Event::Executed(words) => self.executed(words),
                Event::Condition(words) => self.condition(words),
            }
        }
        if let Some(text) = case_word {
            self.unknown_case(text);
        }
    }

    fn add(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Judges a `case` statement whose word was not expanded for the log because the expansion
    /// could have side effects.
    fn unknown_case(&mut self, word: &str) {
        if word.contains('$') || word.contains('`') {
            self.add(format!("compares {word} with patterns"));
        }
    }

    fn case(&mut self, word: &str, value: &str) {
        let mut own = self
            .cases
            .iter()
            .filter(|case| case.word == word)
            .peekable();
        if is_tainted(value)
            && (own.peek().is_none() || own.any(|case| case.depends_on_values(value)))
        {
            self.add(format!("compares {word} with patterns"));
        }
    }

    /// Judges a command as written: redirections, and values that bash computes.
    fn command(&mut self, text: &str) {
        if let Some(name) = find_computed(text) {
            self.add(format!("reads `{name}`"));
        }
        if let Some(name) = find_measured(text).filter(|name| self.mentioned.contains(*name)) {
            self.add(format!("measures the length of `{name}`"));
        }
        let calculation = if text.starts_with("((") || text.starts_with("let ") {
            Some(text)
        } else {
            text.split_once("$((").map(|(_, behind)| behind)
        };
        let calculated = calculation.and_then(|calculation| {
            let mut names = calculation
                .split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            names
                .find(|name| name.len() > 1 && self.mentioned.contains(*name))
                .map(str::to_owned)
        });
        if let Some(name) = calculated {
            self.add(format!("calculates with `{name}`"));
        }
        if text.starts_with("[[") || text.starts_with("((") {
            return;
        }
        let (reads, other) = read_redirections(text);
        if let Some(target) = other {
            self.add(format!("reads {target}"));
        }
        let name = text
            .split_ascii_whitespace()
            .find(|word| assignment(word).is_none())
            .unwrap_or_default();
        if !reads && matches!(name, "read" | "mapfile" | "readarray") {
            self.add("reads its standard input");
        }
    }

    /// Judges a command as executed.
    fn executed(&mut self, words: &[String]) {
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .skip_while(|word| assignment(word).is_some())
            .collect();
        let Some((&name, arguments)) = words.split_first() else {
            return;
        };
        let files = arguments
            .iter()
            .copied()
            .filter(|argument| !argument.starts_with('-'));
        match name {
            "[" => self.test(&arguments[..arguments.len().saturating_sub(1)]),
            "test" => self.test(arguments),
            "command"
                if !arguments
                    .first()
                    .is_some_and(|first| first.starts_with('-')) => {}
            "command" | "type" | "hash" | "which" => {
                files.for_each(|program| self.note_program(program));
            }
            "set" | "shopt"
                if arguments.iter().any(|word| {
                    ["+T", "functrace", "extdebug"]
                        .iter()
                        .any(|option| word.contains(option))
                }) =>
            {
                self.add("changes how functions are traced");
            }
            "uname"
                if arguments
                    .iter()
                    .any(|word| !["-s", "-m", "-o", "-p", "-i", "-sm", "-ms"].contains(word)) =>
            {
                self.add("asks for the name or kernel of the machine");
            }
            "umask" | "ulimit" => self.add(format!("runs `{name}`")),
            "expr" if arguments.iter().any(|word| is_tainted(word)) => {
                self.add("compares or calculates with `expr`");
            }
            "printf" if arguments.iter().any(|word| word.contains("%(")) => {
                self.add("asks for the time");
            }
            "cd" | "pushd" if arguments.is_empty() || arguments.contains(&"-") => {
                self.add("changes the working directory");
            }
            "cd" | "pushd" | "readlink" | "realpath" | "cat" | "cut" | "head" | "sort" | "tail"
            | "uniq" | "wc" => {
                // The other arguments are files, except for values of options such as `-d :` and
                // `-n 1`.
                files
                    .filter(|file| !is_option_value(file))
                    .for_each(|file| self.note_file(file));
            }
            "sed" => {
                if arguments.iter().any(|word| {
                    word.starts_with("-i") || word.starts_with("--in-place") || *word == "-f"
                }) {
                    self.add("runs `sed` on a file");
                }
                let scripts = usize::from(
                    !arguments
                        .iter()
                        .any(|word| *word == "-e" || word.starts_with("--expression")),
                );
                let mut after_e = false;
                let files: Vec<&str> = arguments
                    .iter()
                    .copied()
                    .filter(|word| {
                        !std::mem::replace(&mut after_e, *word == "-e") && !word.starts_with('-')
                    })
                    .skip(scripts)
                    .collect();
                for file in files {
                    self.note_file(file);
                }
            }
            _ => {}
        }
    }

    /// Judges the operands of `[`, which compares texts.
    fn test(&mut self, words: &[&str]) {
        self.operands(words, str::to_owned, |word| Some(Pattern::literal(word)));
    }

    /// Judges the words of `[[`, which compares with patterns.
    fn condition(&mut self, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.operands(&words, |word| split_words(word).join(" "), Pattern::parse);
    }

    fn operands(
        &mut self,
        words: &[&str],
        unquote: impl Fn(&str) -> String,
        pattern: impl Fn(&str) -> Option<Pattern>,
    ) {
        let mut at = 0;
        while let Some(&word) = words.get(at) {
            let (next, right) = (
                words.get(at + 1).copied().unwrap_or_default(),
                words.get(at + 2),
            );
            at += match (next, right) {
                ("=" | "==" | "!=", Some(right)) => {
                    let (left, text) = (unquote(word), unquote(right));
                    let fixed = match (is_tainted(&left), is_tainted(&text)) {
                        (false, false) => true,
                        (true, false) => pattern(right).is_some_and(|pattern| {
                            pattern.never_matches(&left) || pattern.always_matches(&left)
                        }),
                        (_, true) => Pattern::literal(&text).never_matches(&left),
                    };
                    if !fixed {
                        self.compares(&left, &text);
                    }
                    3
                }
                (
                    "=~" | "<" | ">" | "\\<" | "\\>" | "-eq" | "-ne" | "-lt" | "-le" | "-gt"
                    | "-ge",
                    Some(right),
                ) => {
                    let (left, right) = (unquote(word), unquote(right));
                    if is_tainted(&left) || is_tainted(&right) {
                        self.compares(&left, &right);
                    }
                    3
                }
                ("-nt" | "-ot" | "-ef", Some(right)) => {
                    self.note_file(&unquote(word));
                    self.note_file(&unquote(right));
                    3
                }
                _ => match word {
                    "-t" => {
                        self.add("asks whether it has a terminal");
                        2
                    }
                    "-w" | "-O" | "-G" | "-N" => {
                        self.add(format!("asks who may write `{}`", unquote(next)));
                        2
                    }
                    // Between two expressions `-a` means "and".
                    "-a" if at > 0 => 1,
                    "-a" | "-e" | "-f" | "-d" | "-r" | "-x" | "-s" | "-h" | "-L" | "-b" | "-c"
                    | "-p" | "-S" | "-g" | "-u" | "-k" => {
                        self.note_file(&unquote(next));
                        2
                    }
                    "-n" | "-z" | "-v" | "-R" => 2,
                    _ => 1,
                },
            };
        }
    }

    fn compares(&mut self, left: &str, right: &str) {
        let shown = |text: &str| {
            if is_tainted(text) {
                "a variable".to_owned()
            } else {
                format!("`{text}`")
            }
        };
        self.add(format!("compares {} with {}", shown(left), shown(right)));
    }

    /// Notes a file or directory that the script tests or reads, if it is outside the environment
    /// or if a variable names it.
    fn note_file(&mut self, path: &str) {
        let below = Path::new(path)
            .strip_prefix(self.env_prefix)
            .is_ok_and(|rest| !rest.components().any(|part| part == Component::ParentDir));
        if path.is_empty() || path == "/dev/null" || path == "-" || (below && !is_tainted(path)) {
            return;
        }
        self.add(if is_tainted(path) {
            "looks at a file that a variable names".to_owned()
        } else {
            format!("looks at `{path}`, outside the environment")
        });
    }

    /// Notes a program that the script looks for. The programs of the environment are excepted:
    /// they come first on PATH, so they are always found.
    fn note_program(&mut self, program: &str) {
        let own = !program.contains('/') && (self.has_program)(program);
        if !own {
            self.add(format!("looks for `{program}` on PATH"));
        }
    }
}

/// Returns whether a word is a number, a range of fields, or a single letter rather than the name
/// of a file.
fn is_option_value(word: &str) -> bool {
    word.chars().count() < 2
        || word
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b",-+".contains(&byte))
}
