//! Responsible for numbers of things in sentences.

/// Returns a number with its noun, which is in the plural unless the number is 1.
///
/// ```
/// use condense_diagnostics::counted;
/// assert_eq!(counted(1, "generation"), "1 generation");
/// assert_eq!(counted(2, "entry"), "2 entries");
/// ```
pub fn counted(count: u64, noun: &str) -> String {
    let stem = noun.strip_suffix('y');
    match stem {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn only_one_is_in_the_singular() {
        for (count, noun, expected) in [
            (0, "file", "0 files"),
            (1, "file", "1 file"),
            (2, "directory", "2 directories"),
            (2, "day", "2 days"),
        ] {
            assert_eq!(counted(count, noun), expected);
        }
    }
}
