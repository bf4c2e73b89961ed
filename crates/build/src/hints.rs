//! Responsible for finding the hint of an error from any crate.

use condense_diagnostics::{UserError, hint_for_limit, hint_of};

/// Function that returns the hint of an error if the error is of one type.
type HintOf = fn(&(dyn std::error::Error + 'static)) -> Option<String>;

/// One function for the error type of each crate. A test in tests/tidy compares the list with
/// the crates.
const HINTS: [HintOf; 12] = [
    hint_of::<condense_activation::Error>,
    hint_of::<condense_base::Error>,
    hint_of::<condense_check::Error>,
    hint_of::<condense_image::Error>,
    hint_of::<condense_installation::Error>,
    hint_of::<condense_modules::Error>,
    hint_of::<condense_oci::Error>,
    hint_of::<condense_prefix::Error>,
    hint_of::<condense_publish::Error>,
    hint_of::<condense_threads::Error>,
    hint_of::<condense_within::Error>,
    hint_of::<UserError>,
];

/// Returns the first hint that an error of the chain has.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let hint = HINTS.iter().find_map(|hint_of| hint_of(cause));
        hint.or_else(|| hint_for_limit(&cause.to_string()).map(str::to_owned))
    })
}
