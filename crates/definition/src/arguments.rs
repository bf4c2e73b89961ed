//! Responsible for arguments: the values that replace `{{ NAME }}` in a definition file.

use std::{collections::BTreeMap, path::Path};

use condense_diagnostics::Location;

use crate::{Error, Note, Problem, Result};

/// Values that the user gives, which come before those of a file's `%arguments`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    values: BTreeMap<String, String>,
    /// Whether an argument that nothing uses is a note and not an error.
    pub warns_of_unused: bool,
}

impl Arguments {
    /// Adds the pairs of a file, one on each line. Returns notes about lines that are skipped.
    pub fn add_file(&mut self, file: &Path, text: &str) -> Vec<Note> {
        let mut notes = Vec::new();
        for (number, line) in text.lines().enumerate() {
            match pair(line) {
                Some((name, value)) => {
                    self.values.insert(name.to_owned(), value.to_owned());
                }
                None if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
                None => notes.push(Note {
                    location: Location::new(file, number + 1, 1),
                    message: format!("`{}` is skipped: it is not NAME=VALUE", line.trim()),
                }),
            }
        }
        notes
    }

    /// Adds the pairs of an option. A comma begins another pair, as in apptainer.
    ///
    /// # Errors
    /// Returns an error for a part that is not NAME=VALUE.
    pub fn add_option(&mut self, words: &str) -> Result<()> {
        for part in words.split(',') {
            let Some((name, value)) = pair(part) else {
                return Err(Error {
                    location: Location::new(Path::new("--build-arg"), 0, 0),
                    problem: Problem::NotAPair(part.to_owned()),
                });
            };
            self.values.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// Returns the value that the user has given for a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns all names that the user has given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// Splits NAME=VALUE. Spaces around both are no part of them.
pub(crate) fn pair(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    (!name.is_empty()).then_some((name, value.trim()))
}
