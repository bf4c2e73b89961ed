//! Responsible for deciding whether a comparison could have another result for another value of a
//! user's variable.
//!
//! A text with sentinels represents all texts that have another, but not an empty, value in the
//! place of each sentinel. Empty values are tried in trials of their own.

use std::iter::Peekable;

/// Piece of a text with sentinels, or of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Letter(char),
    /// Exactly one unknown letter: `?` and `[…]` of a pattern.
    AnyLetter,
    /// Any number of unknown letters: `*` of a pattern.
    AnyText,
    /// One or more unknown letters: a sentinel.
    Value,
}

/// Shell pattern, parsed into pieces.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    /// Parses a pattern as the shell does. Returns `None` if the pattern holds an expansion or an
    /// extended form, since its text is not known.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '*' => pieces.push(Piece::AnyText),
                '?' => pieces.push(Piece::AnyLetter),
                '[' => {
                    skip_class(&mut characters)?;
                    pieces.push(Piece::AnyLetter);
                }
                '\\' => pieces.push(Piece::Letter(characters.next()?)),
                '\'' => loop {
                    match characters.next()? {
                        '\'' => break,
                        other => pieces.push(Piece::Letter(other)),
                    }
                },
                '"' => loop {
                    match characters.next()? {
                        '"' => break,
                        '$' | '`' => return None,
                        '\\' => pieces.push(Piece::Letter(characters.next()?)),
                        other => pieces.push(Piece::Letter(other)),
                    }
                },
                '$' | '`' | '(' | ')' => return None,
                other => pieces.push(Piece::Letter(other)),
            }
        }
        Some(Self(pieces))
    }

    /// Returns the pattern that matches only this text.
    pub(super) fn literal(text: &str) -> Self {
        Self(pieces_of(text))
    }

    /// Returns whether the pattern matches `text` for no value of its sentinels.
    pub(super) fn never_matches(&self, text: &str) -> bool {
        !may_match(&pieces_of(text), &self.0)
    }

    /// Returns whether the pattern matches `text` for every value of its sentinels. May return
    /// false where an exact analysis would return true.
    pub(super) fn always_matches(&self, text: &str) -> bool {
        must_match(&pieces_of(text), &self.0)
    }
}

fn skip_class(characters: &mut Peekable<std::str::Chars<'_>>) -> Option<()> {
    characters.next_if(|&next| next == '!' || next == '^');
    characters.next_if(|&next| next == ']');
    loop {
        match characters.next()? {
            ']' => return Some(()),
            // Classes in classes, quotes and expansions are rare: the pattern counts as unknown.
            '[' | '$' | '"' | '\'' | '\\' => return None,
            _ => {}
        }
    }
}

fn pieces_of(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for character in text.chars() {
        if character.is_ascii() {
            pieces.push(Piece::Letter(character));
        } else if pieces.last() != Some(&Piece::Value) {
            pieces.push(Piece::Value);
        }
    }
    pieces
}

/// Returns whether some text is described by both sides, each piece of both sides read as widely as
/// possible.
fn may_match(left: &[Piece], right: &[Piece]) -> bool {
    // `reached[i][j]`: the first i left pieces and the first j right pieces may describe one text.
    table(left, right, |a, b| match (a, b) {
        (Piece::Letter(a), Piece::Letter(b)) => a == b,
        _ => true,
    })
}

/// Returns whether the pattern matches the text for every value of the text's sentinels. Only `*`
/// of the pattern may match a sentinel.
fn must_match(text: &[Piece], pattern: &[Piece]) -> bool {
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    close(&mut reached, pattern);
    for piece in text {
        let mut next = vec![false; pattern.len() + 1];
        for (at, own) in pattern.iter().enumerate() {
            if !reached[at] {
                continue;
            }
            match (piece, own) {
                (_, Piece::AnyText) => next[at] = true,
                (Piece::Letter(a), Piece::Letter(b)) if a == b => next[at + 1] = true,
                // `[…]` is not parsed closely enough to guarantee a match. `?` would guarantee one,
                // but is not distinguished from `[…]`.
                _ => {}
            }
        }
        close(&mut next, pattern);
        reached = next;
    }
    reached[pattern.len()]
}

/// Marks the positions that are reached because `*` may match nothing.
fn close(reached: &mut [bool], pattern: &[Piece]) {
    for (at, piece) in pattern.iter().enumerate() {
        if reached[at] && *piece == Piece::AnyText {
            reached[at + 1] = true;
        }
    }
}

fn table(left: &[Piece], right: &[Piece], same: impl Fn(Piece, Piece) -> bool) -> bool {
    let (rows, columns) = (left.len() + 1, right.len() + 1);
    let mut reached = vec![vec![false; columns]; rows];
    reached[0][0] = true;
    for i in 0..rows {
        for j in 0..columns {
            if !reached[i][j] {
                continue;
            }
            let (a, b) = (left.get(i).copied(), right.get(j).copied());
            if a == Some(Piece::AnyText) {
                reached[i + 1][j] = true;
            }
            if b == Some(Piece::AnyText) {
                reached[i][j + 1] = true;
            }
            if let (Some(a), Some(b)) = (a, b) {
                // Both pieces describe one letter of the text. Either piece is used up by the
                // letter or, if the piece stands for more letters, not yet.
                if same(a, b) {
                    reached[i + 1][j + 1] = true;
                    if matches!(a, Piece::Value | Piece::AnyText) {
                        reached[i][j + 1] = true;
                    }
                    if matches!(b, Piece::Value | Piece::AnyText) {
                        reached[i + 1][j] = true;
                    }
                }
            }
        }
    }
    reached[rows - 1][columns - 1]
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn comparisons() {
        // Columns: pattern, text (é: any value), never matches, always matches.
        for (pattern, text, never, always) in [
            ("no", "é", false, false),
            ("", "é", true, false),
            ("x", "xé", true, false),
            ("*", "é", false, true),
            ("*,*", "CFLAGS,-O2 é", false, true),
            ("*foo*", "é", false, false),
            ("-*", "CFLAGS,é", true, false),
            ("?", "é", false, false),
            ("[0-9]", "aé", true, false),
            ("a?c", "aéc", false, false),
            ("'*'", "aé", true, false),
            ("\"a b\"*", "a bé", false, true),
            ("abc", "abc", false, true),
            ("abd", "abc", true, false),
            ("", "", false, true),
            ("é", "é", false, false),
        ] {
            let read = Pattern::parse(pattern).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(
                read.never_matches(text),
                never,
                "{pattern} never matches {text}"
            );
            assert_eq!(
                read.always_matches(text),
                always,
                "{pattern} always matches {text}"
            );
        }
        assert!(Pattern::parse("*$X*").is_none());
        assert!(Pattern::parse("+(a)").is_none());
        assert!(Pattern::literal("*").never_matches("aé"));
    }
}
