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

mod count;
mod limits;
mod location;
mod shortage;
mod suggestion;
mod user_error;

pub use count::counted;
pub use limits::hint_for_limit;
pub use location::Location;
pub use shortage::{Shortage, note_usage};
pub use suggestion::{closest, did_you_mean, misspelt};
pub use user_error::UserError;

/// Error that may have a hint for the user.
pub trait Hint {
    /// Returns one sentence that says what to do, without a period at its end, or `None` if
    /// nothing better than the message of the error is known.
    fn hint(&self) -> Option<String>;

    /// Returns the place of the mistake if it is in a file of the user. The message has the place
    /// as well.
    fn location(&self) -> Option<Location> {
        None
    }
}

/// Returns `error` as an error with a hint if it is an `E`, and `None` otherwise.
///
/// The program calls this function for each library's error type and each error of a chain.
pub fn hint_of<'e, E: Hint + std::error::Error + 'static>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e dyn Hint> {
    error.downcast_ref::<E>().map(|error| error as &dyn Hint)
}
