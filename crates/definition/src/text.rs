//! Responsible for the text of a stage after its arguments were substituted, and for the places
//! that its bytes have in the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use condense_diagnostics::Location;

use crate::{Arguments, Error, Problem, Result};

/// File as it was read, from which places are taken.
#[derive(Clone, Copy)]
pub(crate) struct Original<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
}

impl Original<'_> {
    /// Returns the line and the column of a byte. Columns count characters.
    pub(crate) fn location(self, offset: usize) -> Location {
        let before = &self.text[..offset.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        Location::new(self.file, line, before[begin..].chars().count() + 1)
    }

    pub(crate) fn error(self, offset: usize, problem: Problem) -> Error {
        Error {
            location: self.location(offset),
            problem,
        }
    }
}

/// Text of a stage.
#[allow(
    clippy::struct_field_names,
    reason = "the text is what the rest is about"
)]
pub(crate) struct Text<'a> {
    original: Original<'a>,
    pub(crate) text: String,
    /// Beginning of each part in `text` and in the original, and whether the part is a value.
    parts: Vec<(usize, usize, bool)>,
    /// Names of the arguments that the stage uses.
    pub(crate) used: BTreeSet<String>,
}

/// Line of a text, without its end.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) text: &'a str,
    pub(crate) offset: usize,
}

impl Line<'_> {
    /// Returns the offset of the first byte that is no space.
    pub(crate) fn first(self) -> usize {
        self.offset + self.text.len() - self.text.trim_start().len()
    }
}

/// Returns the lines of a text.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut offset = 0;
    text.split_inclusive('\n').map(move |whole| {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let line = Line {
            text: line.strip_suffix('\r').unwrap_or(line),
            offset,
        };
        offset += whole.len();
        line
    })
}

impl<'a> Text<'a> {
    /// Returns a part of the original as it is.
    pub(crate) fn plain(original: Original<'a>, begin: usize, end: usize) -> Self {
        Self {
            original,
            text: original.text[begin..end].to_owned(),
            parts: vec![(0, begin, false)],
            used: BTreeSet::new(),
        }
    }

    /// Substitutes the arguments. The given values come before the defaults of the stage.
    ///
    /// # Errors
    /// Returns an error for a name without a value.
    pub(crate) fn substituted(
        self,
        given: &Arguments,
        defaults: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let value = |name: &str| given.get(name).or(defaults.get(name).map(String::as_str));
        let begin = self.parts[0].1;
        let source = self.text;
        let mut made = Self {
            original: self.original,
            text: String::new(),
            parts: vec![(0, begin, false)],
            used: self.used,
        };
        let mut done = 0;
        for slot in slots(&source) {
            if is_comment(&source[done..slot.begin]) {
                continue;
            }
            made.text.push_str(&source[done..slot.begin]);
            let Some(found) = value(slot.name) else {
                let problem = Problem::NoArgument(slot.name.to_owned());
                return Err(self.original.error(begin + slot.begin, problem));
            };
            made.parts.push((made.text.len(), begin + slot.begin, true));
            made.text.push_str(&nested(found, value));
            made.parts.push((made.text.len(), begin + slot.end, false));
            made.used.insert(slot.name.to_owned());
            done = slot.end;
        }
        made.text.push_str(&source[done..]);
        Ok(made)
    }

    /// Returns the place of a byte of the text in the file.
    pub(crate) fn location(&self, offset: usize) -> Location {
        let after = self.parts.partition_point(|(begin, ..)| *begin <= offset);
        let (begin, at, is_value) = self.parts[after.saturating_sub(1)];
        let beyond = if is_value { 0 } else { offset - begin };
        self.original.location(at + beyond)
    }

    pub(crate) fn error(&self, offset: usize, problem: Problem) -> Error {
        Error {
            location: self.location(offset),
            problem,
        }
    }
}

/// Place of an argument in a text.
pub(crate) struct Slot<'a> {
    begin: usize,
    end: usize,
    pub(crate) name: &'a str,
}

/// Finds `{{ NAME }}`, in which spaces are free.
pub(crate) fn slots(text: &str) -> Vec<Slot<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("{{") {
        let begin = from + at;
        from = begin + 1;
        let inner = text[begin + 2..].trim_start_matches(is_space);
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name_len = inner.find(|c| !is_word(c)).unwrap_or(inner.len());
        let rest = inner[name_len..].trim_start_matches(is_space);
        if name_len > 0 && rest.starts_with("}}") {
            let end = text.len() - rest.len() + 2;
            found.push(Slot {
                begin,
                end,
                name: &inner[..name_len],
            });
            from = end;
        }
    }
    found
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace()
}

/// Checks whether the last line of a text has a comment with something in it. The mark `#!` begins
/// none.
fn is_comment(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let mut rest = line;
    while let Some(at) = rest.find('#') {
        rest = &rest[at + 1..];
        if !rest.is_empty() && !rest.starts_with('!') {
            return true;
        }
    }
    false
}

/// Replaces names in a value, once.
fn nested<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut made = text.to_owned();
    for slot in slots(text) {
        if let Some(found) = value(slot.name) {
            made = made.replace(&text[slot.begin..slot.end], found);
        }
    }
    made
}
