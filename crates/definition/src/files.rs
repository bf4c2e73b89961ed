//! Responsible for the lines of `%files`: sources, destinations and their quotation marks.

use condense_diagnostics::Location;

use crate::{
    Note, Problem, Result,
    section::Section,
    text::{Line, Text},
};

/// Files that a stage copies from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Name of the stage from which the files come, or `None` for the host.
    pub from: Option<String>,
    /// Files in the order of the lines.
    pub transfers: Vec<Transfer>,
}

/// File or directory that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Path or pattern of the source.
    pub source: String,
    /// Path in the image, or `None` for the path of the source.
    pub destination: Option<String>,
    /// Place of the source in the definition file.
    pub location: Location,
}

/// Word of a line with its offset.
struct Word {
    text: String,
    offset: usize,
}

/// Reads the lines of a section of files.
///
/// # Errors
/// Returns an error for a line that cannot be understood.
pub(crate) fn transfers(
    section: &Section,
    text: &Text,
    notes: &mut Vec<Note>,
) -> Result<Vec<Transfer>> {
    let mut transfers = Vec::new();
    for line in &section.lines {
        let trimmed = line.text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut words = words(*line, text)?.into_iter();
        let Some(source) = words.next() else { continue };
        check_source(&source, text)?;
        let destination = words.next();
        if let Some(word) = &destination
            && word.text.starts_with('#')
        {
            return Err(text.error(word.offset, Problem::CommentAsDestination));
        }
        if let Some(more) = words.next()
            && !more.text.starts_with('#')
        {
            notes.push(Note {
                location: text.location(more.offset),
                message: format!(
                    "`{}` is ignored: a line has one source and one destination",
                    more.text
                ),
            });
        }
        transfers.push(Transfer {
            location: text.location(source.offset),
            source: source.text,
            destination: destination.map(|word| word.text),
        });
    }
    Ok(transfers)
}

/// Divides a line into words. A word in double quotes may have spaces.
fn words(line: Line, text: &Text) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = line.text;
    loop {
        rest = rest.trim_start();
        let offset = line.offset + line.text.len() - rest.len();
        if rest.is_empty() {
            return Ok(words);
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let Some((word, after)) = quoted.split_once('"') else {
                return Err(text.error(offset, Problem::OpenQuote));
            };
            words.push(Word {
                text: word.to_owned(),
                offset,
            });
            rest = after;
            continue;
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .unwrap_or(rest.len());
        let is_comment = words.len() > 1 && rest.starts_with('#');
        if rest[end..].starts_with('\'') && !is_comment {
            return Err(text.error(offset + end, Problem::SingleQuote));
        }
        words.push(Word {
            text: rest[..end].to_owned(),
            offset,
        });
        if is_comment {
            return Ok(words);
        }
        rest = &rest[end..];
    }
}

/// Refuses a source with a variable, which a runtime would replace by nothing.
fn check_source(source: &Word, text: &Text) -> Result<()> {
    if source.text.starts_with('~') {
        return Err(text.error(source.offset, Problem::Variable));
    }
    let mut is_escaped = false;
    for (at, c) in source.text.char_indices() {
        if !is_escaped && (c == '$' || c == '`') {
            return Err(text.error(source.offset + at, Problem::Variable));
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    Ok(())
}
