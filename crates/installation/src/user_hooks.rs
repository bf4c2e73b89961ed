//! Responsible for the user's own lines at the end of common.sh. Each generation takes them over
//! from the previous one.

use std::path::Path;

use crate::error::{Error, Result};

/// Line of condense's common.sh after which the user's own lines begin.
pub(crate) const MARK: &str = "# The user's own:";

/// Beginnings of the last two lines of Tykky's common.sh. The user's own lines follow them.
const TYKKY_ENDS: [&str; 2] = ["export install_root=", "export env_root="];

/// Variables that Tykky's common.sh sets and condense's common.sh does not.
const TYKKY_ONLY_VARIABLES: [&str; 7] = [
    "_DIRS",
    "_excludes",
    "_tmp_arr",
    "_venvd",
    "_v_in_use",
    "SINGULARITYENV_DEFAULT_PATH",
    "SINGULARITYENV_DEFAULT_LD_LIBRARY_PATH",
];

/// Text that a user has given with `--environ` or added to common.sh by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserHooks {
    /// Number of its first line in common.sh, counted from 1.
    pub first_line: usize,
    /// Text with the newline of its last line.
    pub text: String,
}

impl UserHooks {
    /// Reads the user's own text from a generation of condense. Returns `None` if there is none, or
    /// if common.sh is not UTF-8.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if common.sh cannot be read.
    pub fn from_generation(dir: &Path) -> Result<Option<Self>> {
        Self::read(dir, &[MARK])
    }

    /// Reads the user's own text from an installation of Tykky. Returns `None` if there is none, or
    /// if common.sh is not UTF-8.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if common.sh cannot be read.
    pub fn from_tykky(dir: &Path) -> Result<Option<Self>> {
        Self::read(dir, &TYKKY_ENDS)
    }

    fn read(dir: &Path, ends: &[&str]) -> Result<Option<Self>> {
        let bytes = condense_input::read(dir.join("common.sh"), condense_input::TEXT_MOST)
            .map_err(Error::Io)?;
        let Ok(common) = String::from_utf8(bytes) else {
            return Ok(None);
        };
        let lines: Vec<&str> = common.split_inclusive('\n').collect();
        let is_end = |found: &[&str]| {
            let mut pairs = found.iter().zip(ends);
            pairs.all(|(line, end)| line.starts_with(end))
        };
        let behind = lines.windows(ends.len()).position(is_end);
        let behind = behind.map_or(lines.len(), |at| at + ends.len());
        let text = lines[behind..].concat();
        Ok((!text.trim().is_empty()).then_some(Self {
            first_line: behind + 1,
            text,
        }))
    }

    /// Returns the lines that use a variable that only Tykky's wrappers set: line number, line, and
    /// name of the variable.
    pub fn tykky_only_lines(&self) -> Vec<(usize, &str, &'static str)> {
        let lines = self.text.lines().enumerate();
        let known = lines.filter(|(_, line)| !line.trim_start().starts_with('#'));
        known
            .filter_map(|(number, line)| {
                let name = TYKKY_ONLY_VARIABLES
                    .iter()
                    .find(|name| has_word(line, name))?;
                Some((self.first_line + number, line, *name))
            })
            .collect()
    }
}

/// Checks whether `name` occurs in the line as a whole word.
pub(crate) fn has_word(line: &str, name: &str) -> bool {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    line.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&line[..at], &line[at + name.len()..]);
        !before.ends_with(is_part) && !behind.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Read = fn(&Path) -> Result<Option<UserHooks>>;

    #[test]
    fn own_text_follows_the_last_generated_line_of_condense_or_tykky() {
        let dir = tempfile::tempdir().unwrap();
        let check = |read: Read, common: &str, expected: Option<(usize, &str)>| {
            fs_err::write(dir.path().join("common.sh"), common).unwrap();
            let found = read(dir.path()).unwrap();
            let found = found
                .as_ref()
                .map(|own| (own.first_line, own.text.as_str()));
            assert_eq!(found, expected, "{common}");
        };
        let ours: Read = UserHooks::from_generation;
        check(
            ours,
            "a=1\n# The user's own:\nb=2\n\nc=3",
            Some((3, "b=2\n\nc=3")),
        );
        check(ours, "a=1\n# The user's own:\n\n", None);
        check(ours, "a=1\n", None);
        let tykky: Read = UserHooks::from_tykky;
        let own = "export install_root=/X\nexport env_root=/X/env1/\n";
        check(tykky, &format!("#!/bin/bash\n{own}"), None);
        check(
            tykky,
            &format!("a\n{own}b=1\n{own}c=1\n"),
            Some((4, &format!("b=1\n{own}c=1\n"))),
        );
        check(tykky, "export env_root=/X/env1/\nb=1\n", None);
    }

    #[test]
    fn variables_that_only_tykky_sets_are_reported() {
        let own = UserHooks {
            first_line: 7,
            text: "export A=$_C_DIR\n# _DIRS\nfor d in ${_DIRS[@]}; do :; done\nMY_DIRS=1\n"
                .to_owned(),
        };
        assert_eq!(
            own.tykky_only_lines(),
            [(9, "for d in ${_DIRS[@]}; do :; done", "_DIRS")]
        );
    }
}
