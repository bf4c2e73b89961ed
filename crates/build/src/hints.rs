//! Responsible for finding the hint and the location of an error from any
//! crate.

use condense_diagnostics::{Hint, Location, UserError, hint_for_limit, hint_of};

/// Function that returns an error as one with a hint if the error is of one type.
type HintOf = for<'e> fn(&'e (dyn std::error::Error + 'static)) -> Option<&'e dyn Hint>;

/// One function for the error type of each crate. A test in tests/tidy compares the list with
/// the crates.
const HINTS: [HintOf; 15] = [
    hint_of::<condense_activation::Error>,
    hint_of::<condense_base::Error>,
    hint_of::<condense_check::Error>,
    hint_of::<condense_desktop::Error>,
    hint_of::<condense_image::Error>,
    hint_of::<condense_installation::Error>,
    hint_of::<condense_jobs::Error>,
    hint_of::<condense_modules::Error>,
    hint_of::<condense_oci::Error>,
    hint_of::<condense_prefix::Error>,
    hint_of::<condense_publish::Error>,
    hint_of::<condense_threads::Error>,
    hint_of::<condense_within::Error>,
    hint_of::<UserError>,
    hint_of::<crate::open_base::DefaultBaseError>,
];

/// Returns the first hint that an error of the chain has.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let hint = known(cause).and_then(Hint::hint);
        hint.or_else(|| hint_for_limit(&cause.to_string()).map(str::to_owned))
    })
}

/// Returns the first place in a file of the user that an error of the chain is about.
pub fn location(error: &anyhow::Error) -> Option<Location> {
    error
        .chain()
        .find_map(|cause| known(cause).and_then(Hint::location))
}

/// Returns the hint of one error, without its causes.
pub fn hint_of_cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    known(error).and_then(Hint::hint)
}

fn known<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e dyn Hint> {
    HINTS.iter().find_map(|hint_of| hint_of(error))
}
