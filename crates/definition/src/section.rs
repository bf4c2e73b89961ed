//! Responsible for dividing a stage into its headers and its sections.

use condense_diagnostics::closest;

use crate::{
    Problem, Result,
    text::{Line, Text, lines},
};

/// Names of the sections that a definition file may have.
pub(crate) const SECTIONS: [&str; 9] = [
    "arguments",
    "environment",
    "files",
    "help",
    "labels",
    "post",
    "runscript",
    "startscript",
    "test",
];
/// Names of the sections that run on the host.
const HOST_SECTIONS: [&str; 2] = ["pre", "setup"];
/// Names of the sections that belong to an app.
pub(crate) const APP_SECTIONS: [&str; 8] = [
    "appenv",
    "appfiles",
    "apphelp",
    "appinstall",
    "applabels",
    "apprun",
    "appstart",
    "apptest",
];

/// Section of a stage as it is written.
pub(crate) struct Section<'t> {
    /// Name in lower case.
    pub(crate) name: String,
    /// Words behind the name.
    pub(crate) words: &'t str,
    /// Offset of the line with the name.
    pub(crate) offset: usize,
    /// Offset of the words.
    pub(crate) words_offset: usize,
    pub(crate) lines: Vec<Line<'t>>,
}

impl Section<'_> {
    /// Returns the text below the name, with one end of line for each line.
    pub(crate) fn body(&self) -> String {
        let mut body = String::new();
        for line in &self.lines {
            body.push_str(line.text);
            body.push('\n');
        }
        body
    }

    /// Returns the words behind the name, without a comment and spaces.
    pub(crate) fn plain_words(&self) -> &str {
        self.words.split('#').next().unwrap_or_default().trim()
    }
}

/// Divides a text into the lines of its headers and its sections. Names are not checked.
pub(crate) fn divide(text: &str) -> (Vec<Line<'_>>, Vec<Section<'_>>) {
    let mut headers = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    for line in lines(text) {
        if line.text.trim_start().starts_with('%') {
            sections.push(begin(line));
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        } else {
            headers.push(line);
        }
    }
    (headers, sections)
}

fn begin(line: Line<'_>) -> Section<'_> {
    let content = line.text.trim_start().trim_start_matches('%');
    let name_len = content.find([' ', '\t']).unwrap_or(content.len());
    let (name, words) = content.split_at(name_len);
    let spaces = words.len() - words.trim_start().len();
    Section {
        name: name.to_ascii_lowercase(),
        words: words.trim(),
        offset: line.offset,
        words_offset: line.offset + line.text.len() - words.len() + spaces,
        lines: Vec::new(),
    }
}

/// Checks that a section can be in a stage, and is supported.
///
/// # Errors
/// Returns an error for an unknown or indented section, and for one that runs on the host.
pub(crate) fn check(section: &Section, text: &Text) -> Result<()> {
    let name = section.name.as_str();
    let at = text.text[section.offset..].find('%').unwrap_or(0);
    if at > 0 {
        return Err(text.error(section.offset + at, Problem::IndentedSection));
    }
    if HOST_SECTIONS.contains(&name) {
        let has_lines = section.lines.iter().any(|line| {
            let line = line.text.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        if has_lines {
            return Err(text.error(section.offset, Problem::HostSection(name.to_owned())));
        }
        return Ok(());
    }
    if SECTIONS.contains(&name) || APP_SECTIONS.contains(&name) {
        return Ok(());
    }
    let problem = Problem::UnknownSection {
        name: section.name.clone(),
        similar: closest(name, SECTIONS.into_iter().chain(APP_SECTIONS)),
    };
    Err(text.error(section.offset, problem))
}
