//! Responsible for hints about errors of the operating system that are caused by a limit of the
//! shell or of the batch system.

use rustix::io::Errno;

/// Returns a hint about a limit if the text of an error contains the error number of one, such as
/// "Too many open files (os error 24)". The text is searched because libraries wrap the errors of
/// the system, but keep their text.
#[must_use]
pub fn hint_for_limit(text: &str) -> Option<&'static str> {
    let (_, rest) = text.rsplit_once("(os error ")?;
    let (number, _) = rest.split_once(')')?;
    match Errno::from_raw_os_error(number.parse().ok()?) {
        Errno::MFILE => Some("raise the limit on open files: `ulimit -n 4096`"),
        Errno::NOMEM => Some("raise the limit on memory: `ulimit -v unlimited`, or ask for more"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_recognised_by_the_number_of_the_error() {
        let hint = hint_for_limit("failed to read `x`: Too many open files (os error 24)");
        assert!(hint.is_some_and(|hint| hint.contains("ulimit -n")));
        assert_eq!(
            hint_for_limit("No such file or directory (os error 2)"),
            None
        );
        assert_eq!(hint_for_limit("(os error x)"), None);
    }
}
