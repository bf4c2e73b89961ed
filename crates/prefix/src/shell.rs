//! Responsible for texts in shell scripts.

/// Quotes a text as one word for a shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
