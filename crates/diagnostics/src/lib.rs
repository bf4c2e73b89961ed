//! Responsible for errors that contain a hint: a sentence that says what the user can do.
//!
//! Each library of the workspace has one error type, which implements [`Hint`]. The program's own
//! refusals of what a user asked for are [`UserError`]s.
//!
//! ```
//! use condense_diagnostics::{Hint, UserError};
//! let error = UserError::new("`env.yml` does not exist", "name an environment file");
//! assert_eq!(error.hint().as_deref(), Some("name an environment file"));
//! ```

mod limits;
mod suggestion;
mod user_error;

pub use limits::hint_for_limit;
pub use suggestion::closest;
pub use user_error::UserError;

/// Error that may have a hint for the user.
pub trait Hint {
    /// Returns one sentence that says what to do, without a period at its end, or `None` if
    /// nothing better than the message of the error is known.
    fn hint(&self) -> Option<String>;
}

/// Returns the hint of `error` if it is an `E`, and `None` otherwise.
///
/// The program calls this function for each library's error type and each error of a chain.
pub fn hint_of<E: Hint + std::error::Error + 'static>(
    error: &(dyn std::error::Error + 'static),
) -> Option<String> {
    error.downcast_ref::<E>()?.hint()
}
