//! Responsible for parsing requirements in pip's syntax. pep508_rs panics at names and extras that
//! end with a dot, a dash or an underscore, so such requirements are not passed to it.

use pep508_rs::{Requirement, VerbatimUrl};

/// Returns the parsed requirement, or `None` if it is not valid.
pub(crate) fn parse_requirement(line: &str) -> Option<Requirement<VerbatimUrl>> {
    let line = line.trim();
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let (name, rest) = line.split_at(line.find(|c| !is_part(c)).unwrap_or(line.len()));
    let extras = rest.trim_start().strip_prefix('[');
    let extras = extras.and_then(|rest| rest.split_once(']'));
    let extras = extras.map_or("", |(extras, _)| extras).split(',');
    let ends_well = |word: &str| !word.trim().ends_with(['.', '-', '_']);
    if !ends_well(name) || !extras.into_iter().all(ends_well) {
        return None;
    }
    line.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_requirement;

    #[test]
    fn names_at_which_the_parser_panics_are_not_parsed() {
        for line in [
            "pygm...>=2",
            "ipy-(>=7)",
            "a_ ; x",
            "rich[a-]",
            "rich[ok, b._ ]>1",
        ] {
            assert!(parse_requirement(line).is_none(), "{line}");
        }
        for line in [
            "rich",
            "Rich.py_x>=13",
            "rich[a-b, c]>=1; extra == 'x'",
            "a @ https://host/a.whl",
        ] {
            assert!(parse_requirement(line).is_some(), "{line}");
        }
    }
}
