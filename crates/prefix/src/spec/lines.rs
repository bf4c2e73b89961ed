//! Responsible for splitting files into lines without comments and blank lines, and for joining
//! lines that end with a backslash.

use super::problem::Problem;

/// A line that is not blank and not a comment.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// Number of the line in the file, from 1.
    pub(super) number: usize,
    /// Column of the first character of the text, from 1.
    pub(super) column: usize,
    /// Text without comment and without blanks at its ends.
    pub(super) text: String,
    /// Byte offsets in `text` at which joined lines of the file begin, with
    /// the numbers of these lines.
    joints: Vec<(usize, usize)>,
}

impl Line {
    /// Returns a problem in this line. If several lines were joined, the problem is in the line
    /// that contains the first quoted word of the message.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        let message = message.into();
        let quoted = message.split('`').nth(1).filter(|word| !word.is_empty());
        let at = quoted.and_then(|word| self.text.find(word)).unwrap_or(0);
        let joint = self.joints.iter().rev().find(|(begin, _)| *begin <= at);
        let (number, column) = joint.map_or((self.number, self.column), |(_, line)| (*line, 0));
        Problem::new(number, column, message)
    }
}

/// Splits a list of packages for conda into lines.
pub(super) fn plain(text: &str) -> Vec<Line> {
    let lines = physical(text, |c| matches!(c, '\n' | '\r')).enumerate();
    lines
        .filter_map(|(at, raw)| line(at + 1, raw, Vec::new()))
        .collect()
}

/// Beginning of a line that continues on the next one: its number, its text so far, and the offsets
/// and numbers of the lines joined to it.
type Begun = (usize, String, Vec<(usize, usize)>);

/// Splits a requirements file into lines and joins continued lines, as pip does.
pub(super) fn joined(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut begun: Option<Begun> = None;
    for (at, raw) in physical(text, ends_line).enumerate() {
        let is_comment = raw.trim_start().starts_with('#');
        let (number, mut whole, mut joints) =
            begun.take().unwrap_or((at + 1, String::new(), Vec::new()));
        if number <= at {
            joints.push((whole.len(), at + 1));
        }
        if let Some(start) = raw.strip_suffix('\\').filter(|_| !is_comment) {
            whole.push_str(start);
            begun = Some((number, whole, joints));
        } else {
            // As in pip, a comment line ends a joined line.
            whole.push_str(if is_comment { "" } else { raw });
            lines.extend(line(number, &whole, joints));
        }
    }
    if let Some((number, whole, joints)) = begun {
        lines.extend(line(number, &whole, joints));
    }
    lines
}

/// Returns true if Python's `splitlines` ends a line at this character.
fn ends_line(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

fn physical(text: &str, ends: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(at) = rest.find(&ends) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, after) = rest.split_at(at);
        let mut after = after.chars();
        if after.next() == Some('\r') && after.as_str().starts_with('\n') {
            after.next();
        }
        rest = after.as_str();
        Some(line)
    })
}

fn line(number: usize, raw: &str, mut joints: Vec<(usize, usize)>) -> Option<Line> {
    let column = 1 + raw.chars().take_while(|c| c.is_whitespace()).count();
    let before = raw.len() - raw.trim_start().len();
    let text = without_comment(raw).trim();
    for (begin, _) in &mut joints {
        *begin = begin.saturating_sub(before);
    }
    (!text.is_empty()).then(|| Line {
        number,
        column,
        text: text.to_owned(),
        joints,
    })
}

/// Removes the comment from a line. A `#` begins a comment at the beginning of
/// a line or behind a blank.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[Line], expected: &[(usize, &str)]) {
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.number, line.text.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_end_of_a_line_counts() {
        check(
            &plain("a\r\nb\rc\n\nd # e\u{c}f"),
            &[(1, "a"), (2, "b"), (3, "c"), (5, "d")],
        );
        check(
            &joined("a\r\nb\rc\n\nd\u{c}f\u{2028}g"),
            &[(1, "a"), (2, "b"), (3, "c"), (5, "d"), (6, "f"), (7, "g")],
        );
    }

    #[test]
    fn problems_in_joined_lines_have_the_number_of_the_line_with_the_word() {
        let text =
            "# first\nrich==1 \\\n    --hash=good \\\r\n  --hash=bad\n\nnext \\\n# ends here\nlast";
        let lines = joined(text);
        check(
            &lines,
            &[
                (2, "rich==1     --hash=good   --hash=bad"),
                (6, "next"),
                (8, "last"),
            ],
        );
        let blamed = |message: &str| {
            let problem = lines[0].problem(message);
            (problem.line, problem.column)
        };
        assert_eq!(blamed("`--hash=bad` is no hash"), (4, 0));
        assert_eq!(blamed("`--hash=good` is no hash"), (3, 0));
        assert_eq!(blamed("`rich==1` is no requirement"), (2, 1));
        assert_eq!(blamed("nothing is quoted"), (2, 1));
        assert_eq!(blamed("`absent` is not in it"), (2, 1));
    }
}
