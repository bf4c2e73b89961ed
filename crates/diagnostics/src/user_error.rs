//! Responsible for errors about requests of the user that the program refuses.

use std::path::Path;

use crate::{Hint, Location};

/// Refusal of a request of the user: a message, and a hint that says what to do instead.
#[derive(Debug)]
pub struct UserError {
    message: String,
    hint: Option<String>,
    location: Option<Location>,
    is_usage: bool,
}

impl UserError {
    /// Creates a refusal. `message` says what cannot be done and why; `hint` says what to do
    /// instead.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            location: None,
            is_usage: false,
        }
    }

    /// Creates a refusal of something that a file of the user has in this line. The message begins
    /// with the place.
    pub fn in_file(
        file: &Path,
        line: usize,
        message: impl std::fmt::Display,
        hint: Option<String>,
    ) -> Self {
        Self::at(Location::new(file, line, 0), message, hint)
    }

    /// Creates a refusal of something at a place in a file of the user. The message begins with the
    /// place.
    pub fn at(location: Location, message: impl std::fmt::Display, hint: Option<String>) -> Self {
        Self {
            message: format!("{location}: {message}"),
            hint,
            location: Some(location),
            is_usage: false,
        }
    }

    /// Makes this a refusal of the command line alone: whatever is on the machine, it is refused.
    /// The program then exits with the status of usage errors.
    #[must_use]
    pub fn of_usage(self) -> Self {
        Self {
            is_usage: true,
            ..self
        }
    }

    /// Returns whether this refuses the command line alone.
    pub fn is_usage(&self) -> bool {
        self.is_usage
    }
}

impl std::fmt::Display for UserError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UserError {}

impl Hint for UserError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }

    fn location(&self) -> Option<Location> {
        self.location.clone()
    }
}
