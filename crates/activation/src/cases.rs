//! Responsible for finding the patterns of `case` statements, which the log does not show.

use super::glob::Pattern;

/// A `case` statement of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// Word that the statement compares, as written.
    pub(super) word: String,
    /// Patterns of the statement in order, as written.
    pub(super) patterns: Vec<String>,
}

impl Case {
    /// Returns whether other values in the place of the sentinels in `text` could lead to another
    /// branch.
    pub(super) fn depends_on_values(&self, text: &str) -> bool {
        for pattern in &self.patterns {
            match Pattern::parse(pattern) {
                Some(pattern) if pattern.never_matches(text) => {}
                Some(pattern) if pattern.always_matches(text) => return false,
                _ => return true,
            }
        }
        false
    }
}

/// Finds the `case` statements of a script. A statement that the reader misreads is missing from
/// the result, and a missing statement counts as one that depends on values.
pub(super) fn find_cases(script: &str) -> Vec<Case> {
    let mut reader = Reader {
        text: script.as_bytes(),
        at: 0,
        found: Vec::new(),
    };
    while reader.at < reader.text.len() {
        reader.skip_word_or_case();
    }
    reader.found
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    found: Vec<Case>,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        &self.text[self.at.min(self.text.len())..]
    }

    /// Returns whether `word` is at the current position, delimited as a shell word.
    fn is_word(&self, word: &str) -> bool {
        let parts = |byte: &u8| byte.is_ascii_whitespace() || b";&|()".contains(byte);
        let begins = self.at == 0 || parts(&self.text[self.at - 1]);
        begins
            && self.rest().starts_with(word.as_bytes())
            && self.rest().get(word.len()).is_none_or(parts)
    }

    /// Skips a quoted text, a comment, a `case` statement or a single byte.
    fn skip_word_or_case(&mut self) {
        match self.rest().first() {
            Some(b'#')
                if self.at == 0
                    || self.text[self.at - 1].is_ascii_whitespace()
                    || self.text[self.at - 1] == b';' =>
            {
                self.at += self
                    .rest()
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .unwrap_or(self.rest().len());
            }
            Some(b'\'' | b'"' | b'\\') => self.skip_quoted(),
            Some(b'c') if self.is_word("case") => {
                let start = self.at;
                if self.read_case().is_none() {
                    self.at = start + "case".len();
                }
            }
            _ => self.at += 1,
        }
    }

    fn skip_quoted(&mut self) {
        let quote = self.text[self.at];
        self.at += 1;
        if quote == b'\\' {
            self.at += 1;
            return;
        }
        while self.at < self.text.len() && self.text[self.at] != quote {
            if quote == b'"' && self.text[self.at] == b'\\' {
                self.at += 1;
            }
            self.at += 1;
        }
        self.at += 1;
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            match self.rest().first() {
                Some(byte) if byte.is_ascii_whitespace() => self.at += 1,
                Some(b'#') => self.skip_word_or_case(),
                _ => return,
            }
        }
    }

    /// Reads up to an unquoted byte for which `ends` holds.
    fn read_until(&mut self, ends: impl Fn(u8) -> bool) -> Option<String> {
        let start = self.at;
        loop {
            let byte = *self.rest().first()?;
            if ends(byte) {
                return Some(
                    String::from_utf8_lossy(&self.text[start..self.at])
                        .trim()
                        .to_owned(),
                );
            }
            if b"'\"\\".contains(&byte) {
                self.skip_quoted();
            } else {
                self.at += 1;
            }
        }
    }

    fn read_case(&mut self) -> Option<()> {
        self.at += "case".len();
        self.skip_blanks_and_comments();
        let word = self.read_until(|byte| byte.is_ascii_whitespace())?;
        self.skip_blanks_and_comments();
        if !self.is_word("in") {
            return None;
        }
        self.at += "in".len();
        let mut patterns = Vec::new();
        loop {
            self.skip_blanks_and_comments();
            if self.is_word("esac") {
                self.at += "esac".len();
                self.found.push(Case { word, patterns });
                return Some(());
            }
            if self.rest().first() == Some(&b'(') {
                self.at += 1;
            }
            loop {
                patterns.push(self.read_until(|byte| byte == b'|' || byte == b')')?);
                self.at += 1;
                if self.text[self.at - 1] == b')' {
                    break;
                }
            }
            loop {
                if self.rest().is_empty() {
                    return None;
                }
                if self.is_word("esac") {
                    break;
                }
                if self.rest().starts_with(b";;") || self.rest().starts_with(b";&") {
                    // `;&` and `;;&` continue in other branches, which this reader does not follow.
                    if self.rest().starts_with(b";&") || self.rest().starts_with(b";;&") {
                        return None;
                    }
                    self.at += 2;
                    break;
                }
                self.skip_word_or_case();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, find_cases};

    #[test]
    fn cases_of_a_script() {
        let script = r#"
            # case a in b) ;; esac
            echo 'case a in b) ;; esac'
            case "${thing}" in
              *,*) echo "esac"; case $inner in (x|y\|z) : ;; esac ;;
              'a b' | *) # everything else; case
                echo it
            esac
            case odd in a) : ;;& b) ;; esac
        "#;
        let case = |word: &str, patterns: &[&str]| Case {
            word: word.to_owned(),
            patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
        };
        assert_eq!(
            find_cases(script),
            [
                case("$inner", &["x", "y\\|z"]),
                case("\"${thing}\"", &["*,*", "'a b'", "*"])
            ]
        );
    }

    #[test]
    fn values_that_matter() {
        for (script, text, depends) in [
            ("case $x in *,*) ;; *) ;; esac", "CFLAGS,é", false),
            ("case $x in *foo*) ;; *) ;; esac", "é", true),
            ("case $x in no) ;; esac", "é", true),
            ("case $x in '') ;; *) ;; esac", "é", false),
            ("case $x in $y) ;; *) ;; esac", "é", true),
        ] {
            assert_eq!(
                find_cases(script)[0].depends_on_values(text),
                depends,
                "{script} with {text}"
            );
        }
    }
}
