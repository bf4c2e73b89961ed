//! Responsible for what becomes of the user's own lines in common.sh.

use condense_installation::UserHooks;

use super::previous::PreviousGeneration;
use crate::report::Report;

/// The lines of the visible generation that the next one takes over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OwnLines {
    /// What `--environ` has given, which it replaces when it is given again.
    pub(super) given: Option<String>,
    /// What was written behind that by hand.
    pub(super) by_hand: Option<String>,
}

impl PreviousGeneration {
    /// Reads them, and says what is not taken over as it is; `is_given` says that `--environ`
    /// replaces what it had given.
    ///
    /// # Errors
    /// When common.sh cannot be read.
    pub(super) fn own_lines(&self, is_given: bool, report: &Report) -> anyhow::Result<OwnLines> {
        let gives_way = |own: &UserHooks| {
            report.warning(format!(
                "your own lines in `common.sh`, from line {}, give way to those of `--environ`; the generation before keeps them",
                own.first_line
            ));
        };
        let Some(tykky) = &self.tykky else {
            let Some(own) = UserHooks::from_generation(&self.dir)? else {
                return Ok(OwnLines::default());
            };
            let remembered = self.receipt.update_state.launch.as_deref();
            let given = remembered.and_then(|launch| launch.extra_text.as_deref());
            let lines = told_apart(&own.text, given);
            if is_given && lines.given.as_deref() != given {
                gives_way(&own);
            }
            return Ok(lines);
        };
        // What was given and what was written behind it look the same here.
        let own = UserHooks::from_tykky(&self.dir)?;
        match &own {
            Some(own) if is_given => gives_way(own),
            Some(own) => {
                report.info(format!(
                    "Your own lines in Tykky's `common.sh`, from line {}, are carried over",
                    own.first_line
                ));
                for (number, line, name) in own.tykky_only_lines() {
                    report.warning(format!(
                        "line {number} of Tykky's `common.sh` asks for `{name}`, which only Tykky's wrappers have: `{}`",
                        line.trim()
                    ));
                }
            }
            None if tykky.extra_text && !is_given => report.warning(
                "what `--environ` gave to Tykky cannot be told from Tykky's own lines in `common.sh`: give it again with `--environ`",
            ),
            None => {}
        }
        Ok(OwnLines {
            given: own.map(|own| own.text),
            by_hand: None,
        })
    }
}

/// Text behind our own lines, by what was given; where that was changed, nobody knows which is
/// which.
fn told_apart(text: &str, given: Option<&str>) -> OwnLines {
    let end = given.unwrap_or_default().trim_end_matches('\n');
    let (given, rest) = match text.strip_prefix(end) {
        Some(rest) if end.is_empty() || rest.is_empty() || rest.starts_with('\n') => {
            (given.map(str::to_owned), rest)
        }
        _ => (Some(text.to_owned()), ""),
    };
    let rest = rest.strip_prefix('\n').unwrap_or(rest);
    OwnLines {
        given,
        by_hand: (!rest.trim().is_empty()).then(|| rest.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_and_what_was_written_behind_it() {
        let check = |text: &str, given: Option<&str>, expected: (Option<&str>, Option<&str>)| {
            let lines = told_apart(text, given);
            let found = (lines.given.as_deref(), lines.by_hand.as_deref());
            assert_eq!(found, expected, "{text}");
        };
        check("a=1\n", Some("a=1\n"), (Some("a=1\n"), None));
        check("a=1\n", Some("a=1"), (Some("a=1"), None));
        check("a=1\nb=2\n", Some("a=1\n"), (Some("a=1\n"), Some("b=2\n")));
        check(
            "a=1\n\nb=2",
            Some("a=1\n\n"),
            (Some("a=1\n\n"), Some("\nb=2")),
        );
        check("b=2\n", None, (None, Some("b=2\n")));
        check("a=12\n", Some("a=1\n"), (Some("a=12\n"), None));
        check("c=3\na=1\n", Some("a=1\n"), (Some("c=3\na=1\n"), None));
    }
}
