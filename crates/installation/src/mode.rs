//! Responsible for the kinds of installations and Tykky's words for them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Kind of an installation. Receipts and Tykky's `conf.yaml` store it as one of Tykky's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum InstallationMode {
    /// An environment of conda packages.
    Conda,
    /// A Python virtual environment.
    Venv,
    /// Wrappers for the programs of a container.
    WrapContainer,
    /// Wrappers for the programs of a directory.
    WrapDirectory,
    /// A word that this version does not know, from a later Tykky or condense.
    Unknown(String),
}

impl FromStr for InstallationMode {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Self, Infallible> {
        Ok(match word {
            "conda" => Self::Conda,
            "venv" => Self::Venv,
            "wrapcont" => Self::WrapContainer,
            "wrapdisk" => Self::WrapDirectory,
            other => Self::Unknown(other.to_owned()),
        })
    }
}

impl fmt::Display for InstallationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Conda => "conda",
            Self::Venv => "venv",
            Self::WrapContainer => "wrapcont",
            Self::WrapDirectory => "wrapdisk",
            Self::Unknown(word) => word,
        })
    }
}

impl From<String> for InstallationMode {
    fn from(word: String) -> Self {
        let Ok(mode) = word.parse();
        mode
    }
}

impl From<InstallationMode> for String {
    fn from(mode: InstallationMode) -> Self {
        mode.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_written_as_it_was_read() {
        for word in ["conda", "venv", "wrapcont", "wrapdisk", "later"] {
            let mode = InstallationMode::from(word.to_owned());
            assert_eq!(String::from(mode.clone()), word);
            assert_eq!(
                matches!(mode, InstallationMode::Unknown(_)),
                word == "later"
            );
        }
    }
}
