//! Responsible for selectors in comments: `# [linux]`, `# [not win]`, `# [osx and py>=38]`.
//!
//! conda ignores selectors like all comments; conda-lock and conda-build follow them.
//! condense leaves a line out if its selector is false for the target whatever the values are
//! that are known only after solving. The version of Python is such a value, so a line that
//! depends on it alone stays.

use crate::target::Architecture;

/// Result of evaluating a selector for the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The line is for the target.
    Yes,
    /// The line is for other platforms.
    No,
    /// The selector depends on values that are known only after solving. The line is kept, and the
    /// user is warned.
    Unknown,
    /// The text in brackets is not a selector.
    NoSelector,
}

/// Returns the text in brackets in the comment at the end of a line. `rest` is the text of the file
/// behind the line's value, with all further lines.
pub(super) fn find(rest: &str) -> Option<&str> {
    // A comment inside of a list or mapping in brackets belongs to no single entry.
    let begin = rest.find(|c: char| !(c == ' ' || c == '\t' || c == ':'))?;
    let (before, comment) = rest.split_at(begin);
    let comment = comment.strip_prefix('#')?;
    if !before.ends_with([' ', '\t']) {
        return None;
    }
    let comment = comment.lines().next().unwrap_or_default();
    let (text, _) = comment.trim_start().strip_prefix('[')?.split_once(']')?;
    Some(text.trim())
}

/// Evaluates a selector for Linux on `architecture`.
pub(super) fn answer(text: &str, architecture: Architecture) -> Answer {
    let Some(tokens) = tokens(text) else {
        return Answer::NoSelector;
    };
    let mut reader = Reader {
        tokens: &tokens,
        architecture,
        knows_a_word: false,
    };
    match reader.or() {
        Some(truth) if reader.tokens.is_empty() && reader.knows_a_word => match truth {
            Some(true) => Answer::Yes,
            Some(false) => Answer::No,
            None => Answer::Unknown,
        },
        _ => Answer::NoSelector,
    }
}

fn tokens(text: &str) -> Option<Vec<&str>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)))
                .unwrap_or(rest.len())
        } else if first == '(' || first == ')' {
            1
        } else if "=<>!".contains(first) {
            rest.find(|c: char| !"=<>!".contains(c))
                .unwrap_or(rest.len())
        } else if first == '"' || first == '\'' {
            rest[1..].find(first)? + 2
        } else {
            return None;
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    Some(tokens)
}

/// Truth of a condition; `None` if it is known only after solving.
type Truth = Option<bool>;

struct Reader<'a> {
    tokens: &'a [&'a str],
    architecture: Architecture,
    knows_a_word: bool,
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.first() == Some(&word);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn or(&mut self) -> Option<Truth> {
        let mut truth = self.and()?;
        while self.take("or") {
            truth = match (truth, self.and()?) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
        }
        Some(truth)
    }

    fn and(&mut self) -> Option<Truth> {
        let mut truth = self.not()?;
        while self.take("and") {
            truth = match (truth, self.not()?) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
        }
        Some(truth)
    }

    fn not(&mut self) -> Option<Truth> {
        if self.take("not") {
            return Some(self.not()?.map(|truth| !truth));
        }
        if self.take("(") {
            let truth = self.or()?;
            return self.take(")").then_some(truth);
        }
        self.word()
    }

    fn word(&mut self) -> Option<Truth> {
        let (word, rest) = self.tokens.split_first()?;
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) || matches!(*word, "and" | "or") {
            return None;
        }
        self.tokens = rest;
        if let [operator, value, rest @ ..] = rest
            && operator.starts_with(['=', '<', '>', '!'])
        {
            self.tokens = rest;
            return Some(self.comparison(word, operator, value.trim_matches(['"', '\''])));
        }
        if self
            .tokens
            .first()
            .is_some_and(|next| next.starts_with(['=', '<', '>', '!']))
        {
            return None;
        }
        let truth = self.name(word);
        self.knows_a_word |= truth.is_some() || is_of_python(word);
        Some(truth)
    }

    fn comparison(&mut self, word: &str, operator: &str, value: &str) -> Truth {
        let platform = self.architecture.subdir().as_str();
        let known = match word {
            "target_platform" | "platform" => Some(platform == value),
            _ => None,
        };
        self.knows_a_word |= known.is_some() || is_of_python(word);
        match operator {
            "==" => known,
            "!=" => known.map(|equal| !equal),
            _ => None,
        }
    }

    fn name(&self, word: &str) -> Truth {
        use Architecture::{Aarch64, Ppc64le, X86_64};
        let is = |architecture| self.architecture == architecture;
        Some(match word {
            "linux" | "unix" | "True" | "true" => true,
            "linux64" | "x86_64" | "x86" => is(X86_64),
            "aarch64" => is(Aarch64),
            "ppc64le" => is(Ppc64le),
            "linux32" | "win" | "win32" | "win64" | "osx" | "osx64" | "osx32" | "arm64"
            | "armv6l" | "armv7l" | "s390x" | "riscv64" | "emscripten" | "wasi" | "wasm32"
            | "freebsd" | "False" | "false" => false,
            _ => return None,
        })
    }
}

/// Returns true for variables in recipes that have values only after solving: `py`, `py3k`, `py38`,
/// `python_impl`, `np`, `cuda` and the like.
fn is_of_python(word: &str) -> bool {
    word.starts_with("py") || matches!(word, "np" | "cuda" | "cuda_compiler_version")
}
