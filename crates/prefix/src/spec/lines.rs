//! Responsible for files of lines: comments, blank lines, and lines that go on behind a backslash.

use super::problem::Problem;

/// One line that says something.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Where it begins, from 1.
    pub(super) number: usize,
    /// Where its first character stands, from 1.
    pub(super) column: usize,
    /// Without comment and blanks at its ends.
    pub(super) text: String,
}

impl Line {
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.number, self.column, message)
    }
}

/// The lines of a list of conda's.
pub(super) fn plain(text: &str) -> Vec<Line> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate();
    lines.filter_map(|(at, raw)| line(at + 1, raw)).collect()
}

/// The lines of a requirements file, as pip joins them.
pub(super) fn joined(text: &str) -> Vec<Line> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (at, raw) in text.lines().enumerate() {
        let is_comment = raw.trim_start().starts_with('#');
        let (number, mut whole) = begun.take().unwrap_or((at + 1, String::new()));
        if let Some(start) = raw.strip_suffix('\\').filter(|_| !is_comment) {
            whole.push_str(start);
            begun = Some((number, whole));
        } else {
            // pip takes a comment in the middle of a joined line for its end.
            whole.push_str(if is_comment { "" } else { raw });
            lines.extend(line(number, &whole));
        }
    }
    if let Some((number, whole)) = begun {
        lines.extend(line(number, &whole));
    }
    lines
}

fn line(number: usize, raw: &str) -> Option<Line> {
    let column = 1 + raw.chars().take_while(|c| c.is_whitespace()).count();
    let text = without_comment(raw).trim();
    (!text.is_empty()).then(|| Line {
        number,
        column,
        text: text.to_owned(),
    })
}

/// A `#` begins a comment at the beginning of a line or behind a blank.
pub(super) fn without_comment(text: &str) -> &str {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if c == '#' && before.is_whitespace() {
            return &text[..at];
        }
        before = c;
    }
    text
}
