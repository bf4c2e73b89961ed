//! Responsible for the scripts of a stage: their texts, interpreters and forms in an image.

use std::collections::BTreeMap;

use condense_diagnostics::Location;

use crate::{Error, Problem, Result, section::Section, text::Text};

/// Interpreter of scripts that name none.
const SHEBANG: &str = "#!/bin/sh";

/// Text of a section that is a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Lines below the name of the section. Sections with one name follow each other.
    pub text: String,
    /// Words behind the name of the section, without a comment.
    pub words: String,
    /// Place of the first section of this name.
    pub location: Location,
    /// Beginning of each section in the text.
    pub parts: Vec<Part>,
}

/// Section that is a part of the text of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Number of its first line in the text, from 1.
    pub line: usize,
    /// Number of the same line in the definition file.
    pub line_of_file: usize,
}

/// App of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Name of the app.
    pub name: String,
    /// Texts of its sections, by their names, as `apprun`.
    pub sections: BTreeMap<String, Script>,
    /// Files that are copied into the app.
    pub files: Vec<crate::Transfer>,
}

impl Script {
    /// Adds the lines of a section.
    pub(crate) fn push(&mut self, section: &Section, text: &Text) {
        if let Some(first) = section.lines.first()
            && let Some(line_of_file) = text.location(first.offset).line
        {
            self.parts.push(Part {
                line: self.text.lines().count() + 1,
                line_of_file,
            });
        }
        self.text.push_str(&section.body());
    }

    /// Returns the script as it is in an image: with a first line that names its interpreter.
    pub fn executable(&self) -> String {
        let mut text = self.text.as_str();
        let mut shebang = SHEBANG.to_owned();
        if text.trim_start().starts_with("#!") {
            let begin = text.trim_start();
            let (first, rest) = begin.split_once('\n').unwrap_or((begin, ""));
            first.trim().clone_into(&mut shebang);
            text = rest;
        }
        if !self.words.is_empty() {
            shebang.push(' ');
            shebang.push_str(&self.words);
        }
        format!("{shebang}\n\n{text}\n")
    }

    /// Returns the program and the arguments that a file with this script is appended to:
    /// `/bin/sh -ex`, or the words behind `-c`.
    ///
    /// # Errors
    /// Returns an error if no shell follows `-c`.
    pub fn shell(&self) -> Result<Vec<String>> {
        let mut words: Vec<String> = self.words.split_whitespace().map(str::to_owned).collect();
        let Some(at) = words.iter().position(|word| word == "-c") else {
            let mut shell = vec!["/bin/sh".to_owned(), "-ex".to_owned()];
            shell.extend(words);
            return Ok(shell);
        };
        if words.len() == at + 1 {
            return Err(Error {
                location: self.location.clone(),
                problem: Problem::NoShell,
            });
        }
        Ok(words.split_off(at + 1))
    }
}
