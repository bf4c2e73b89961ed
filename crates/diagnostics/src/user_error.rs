//! Responsible for errors about requests of the user that the program refuses.

use crate::Hint;

/// Refusal of a request of the user: a message, and a hint that says what to do instead.
#[derive(Debug)]
pub struct UserError {
    message: String,
    hint: String,
}

impl UserError {
    /// Creates a refusal. `message` says what cannot be done and why; `hint` says what to do
    /// instead.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
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
        Some(self.hint.clone())
    }
}
