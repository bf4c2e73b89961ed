//! Responsible for places in files of the user.

use std::path::{Path, PathBuf};

/// Place in a file: the path as the user gave it, and the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Path of the file.
    pub file: PathBuf,
    /// Line number, from 1; `None` for the whole file.
    pub line: Option<usize>,
    /// Column number, from 1; `None` for the whole line.
    pub column: Option<usize>,
}

impl Location {
    /// Creates a location. A line or column of 0 means that it is not known.
    pub fn new(file: &Path, line: usize, column: usize) -> Self {
        Self {
            file: file.to_owned(),
            line: Some(line).filter(|line| *line > 0),
            column: Some(column).filter(|column| *column > 0),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_has_the_numbers_that_are_known() {
        for (line, column, expected) in [(3, 5, "f:3:5"), (3, 0, "f:3"), (0, 0, "f")] {
            let location = Location::new(Path::new("f"), line, column);
            assert_eq!(location.to_string(), expected);
        }
    }
}
