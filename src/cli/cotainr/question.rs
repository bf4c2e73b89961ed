//! Responsible for asking the user whether a file may be overwritten.

use std::path::Path;

use anyhow::bail;

use crate::console::Console;
use condense_diagnostics::UserError;

/// Number of invalid answers after which the answer counts as no.
const ATTEMPTS: u32 = 1000;

/// Asks until the answer is yes or no, and returns true for yes.
///
/// # Errors
/// Returns an error at the end of standard input.
pub(super) fn may_overwrite(path: &Path, console: &Console) -> anyhow::Result<bool> {
    let mut question = format!(
        "{} already exists. Would you like to overwrite it? [yes/no]\n>>> ",
        path.display()
    );
    for _ in 0..ATTEMPTS {
        let Some(answer) = console.ask(&question)? else {
            bail!(UserError::new(
                format!(
                    "`{}` is there already, and nobody answers on standard input whether it may be overwritten",
                    path.display()
                ),
                "say so with `--yes`",
            ));
        };
        match parse(&answer) {
            Some(answer) => return Ok(answer),
            None => {
                question = format!("You answered \"{answer}\". Please answer yes or no.\n>>> ");
            }
        }
    }
    console.usage(&format!(
        "You provided an invalid answer {ATTEMPTS} times in a row. Now assuming you meant \"no\"."
    ));
    Ok(false)
}

fn parse(answer: &str) -> Option<bool> {
    match answer.to_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn b61_yes_and_no_in_any_case() {
        for (answer, expected) in [
            ("yes", Some(true)),
            ("yEs", Some(true)),
            ("YES", Some(true)),
            ("no", Some(false)),
            ("NO", Some(false)),
            ("y", None),
            ("n", None),
            ("", None),
            ("yes ", None),
        ] {
            assert_eq!(parse(answer), expected, "{answer:?}");
        }
    }
}
