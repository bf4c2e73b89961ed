//! Responsible for finding the hint and the location of an error from any
//! crate.

use std::path::{Path, PathBuf};

use condense_diagnostics::{Hint, Location, Shortage, UserError, hint_for_limit, hint_of};

/// Function that returns an error as one with a hint if the error is of one type.
type HintOf = for<'e> fn(&'e (dyn std::error::Error + 'static)) -> Option<&'e dyn Hint>;

/// One function for the error type of each crate. A test in tests/tidy compares the list with
/// the crates.
const HINTS: [HintOf; 17] = [
    hint_of::<condense_activation::Error>,
    hint_of::<condense_base::Error>,
    hint_of::<condense_check::Error>,
    hint_of::<condense_definition::Error>,
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
    hint_of::<crate::root_script::Error>,
];

/// Returns the hint about what is used up if the error is about that, or else the first hint that
/// an error of the chain has.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(hint) = hint_about_shortage(error) {
        return Some(hint);
    }
    error.chain().find_map(|cause| {
        let hint = known(cause).and_then(Hint::hint);
        hint.or_else(|| hint_for_limit(&cause.to_string()).map(str::to_owned))
    })
}

/// Returns the hint for a full file system, a quota, or a file that is too large.
fn hint_about_shortage(error: &anyhow::Error) -> Option<String> {
    // The output of a step may be about anything, and its own hint is about its reason.
    let mut causes = error.chain();
    if causes.any(|cause| {
        let known = cause.downcast_ref::<condense_prefix::Error>();
        matches!(known, Some(condense_prefix::Error::Step { .. }))
    }) {
        return None;
    }
    let shortage = error.chain().find_map(|cause| {
        let number = cause.downcast_ref::<std::io::Error>();
        let number = number.and_then(std::io::Error::raw_os_error);
        match number {
            Some(number) => Shortage::of_number(number),
            None => Shortage::in_text(&cause.to_string()),
        }
    })?;
    let texts = error.chain().map(ToString::to_string);
    let path = texts.filter_map(|text| absolute_path(&text)).last();
    Some(shortage.hint(path.as_deref()))
}

/// Returns the last absolute path that the text of an error has in backticks or quotes. The path
/// is taken from the text because each library has it in another type.
fn absolute_path(text: &str) -> Option<PathBuf> {
    let mut words = text.rsplit(['`', '"']);
    let path = words.find(|word| word.starts_with('/'))?;
    Some(Path::new(path).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of_number(number: i32, path: &str) -> Option<String> {
        let error = std::io::Error::from_raw_os_error(number);
        let error = anyhow::Error::new(error).context(format!("failed to write `{path}`"));
        hint(&error)
    }

    /// Rows B20 and B28: each shortage names what is used up and where.
    #[test]
    fn what_is_used_up_is_named_for_any_error_of_any_library() {
        let quota = of_number(122, "/nowhere/x").expect("a hint");
        assert!(
            quota.starts_with("your quota of bytes or of files on `/`"),
            "{quota}"
        );
        let large = of_number(27, "/nowhere/x").expect("a hint");
        assert!(
            large.contains("`ulimit -f unlimited`") || large.contains("`/`"),
            "{large}"
        );
        let space = of_number(28, "/nowhere/cw-ABCDEF/x").expect("a hint");
        assert!(space.contains("--tmpdir"), "{space}");
        assert_eq!(
            of_number(28, "/dev/full").as_deref(),
            Some("free some space, or write to another file system")
        );
        assert_eq!(of_number(2, "/nowhere/x"), None);
    }

    #[test]
    fn paths_are_found_in_the_texts_of_libraries() {
        for (text, expected) in [
            ("failed to write `/a/b`", Some("/a/b")),
            ("failed to copy `x` to `/c d`", Some("/c d")),
            ("failed to create file \"/e\"", Some("/e")),
            ("no path", None),
        ] {
            assert_eq!(
                absolute_path(text).as_deref(),
                expected.map(Path::new),
                "{text}"
            );
        }
    }
}
