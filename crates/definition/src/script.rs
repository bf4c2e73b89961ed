//! Responsible for the scripts of a stage: their texts, interpreters and forms in an image.

use std::collections::BTreeMap;

use condense_diagnostics::Location;

use crate::{Error, Problem, Result};

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

    /// Returns the command that runs a file with this script: `/bin/sh -ex FILE`, or the shell
    /// behind `-c` with its words and the file.
    ///
    /// # Errors
    /// Returns an error if no shell follows `-c`.
    pub fn command(&self, file: &str) -> Result<Vec<String>> {
        let words: Vec<&str> = self.words.split_whitespace().collect();
        let mut command = vec!["/bin/sh".to_owned(), "-ex".to_owned()];
        let Some(at) = words.iter().position(|word| *word == "-c") else {
            command.extend(words.iter().map(|word| (*word).to_owned()));
            command.push(file.to_owned());
            return Ok(command);
        };
        if words.len() == at + 1 {
            return Err(Error {
                location: self.location.clone(),
                problem: Problem::NoShell,
            });
        }
        command.extend(words[..=at].iter().map(|word| (*word).to_owned()));
        command.push(format!("{} {file}", words[at + 1..].join(" ")));
        Ok(command)
    }
}
