//! Responsible for reading `os-release`, the file in which a distribution names itself.

use serde::Serialize;

/// Paths of the file, in the order of their precedence.
pub(crate) const PATHS: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// A distribution as its `os-release` names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Distribution {
    /// Name for people, for example `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: Option<String>,
    /// Name for programs, for example `debian`.
    pub id: Option<String>,
    /// Version for programs, for example `12`; rolling distributions have none.
    pub version_id: Option<String>,
}

impl Distribution {
    /// Parses the text of an `os-release` file.
    pub fn parse(text: &str) -> Self {
        parse(text)
    }

    /// Returns the distribution of this machine. All fields are `None` if the machine has no
    /// `os-release` file.
    pub fn from_host() -> Self {
        let mut texts = PATHS.iter().filter_map(|path| {
            let path = std::path::Path::new("/").join(path);
            condense_input::read_to_string(path, condense_input::TEXT_MOST).ok()
        });
        texts.next().map(|text| parse(&text)).unwrap_or_default()
    }
}

/// Parses the three values that are needed. If a key occurs more than once, the last value counts,
/// as in a shell.
pub(crate) fn parse(text: &str) -> Distribution {
    let mut distribution = Distribution::default();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once('=') else {
            continue;
        };
        let field = match key {
            "PRETTY_NAME" => &mut distribution.pretty_name,
            "ID" => &mut distribution.id,
            "VERSION_ID" => &mut distribution.version_id,
            _ => continue,
        };
        *field = Some(unquote(value)).filter(|value| !value.is_empty());
    }
    distribution
}

/// Removes the shell quoting that the specification of `os-release` allows.
fn unquote(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            if quote == '\'' {
                return inner.to_owned();
            }
            let mut plain = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                plain.push(if c == '\\' {
                    chars.next().unwrap_or(c)
                } else {
                    c
                });
            }
            return plain;
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_quoting_are_read() {
        let check = |text: &str, expected: [Option<&str>; 3]| {
            let found = parse(text);
            let found = [&found.pretty_name, &found.id, &found.version_id];
            assert_eq!(found.map(Option::as_deref), expected, "{text}");
        };
        check(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n",
            [
                Some("Debian GNU/Linux 12 (bookworm)"),
                Some("debian"),
                Some("12"),
            ],
        );
        check(
            "# comment\nNAME=x\n ID='opensuse-leap' \nVERSION_ID=15.6\r\nPRETTY_NAME=\"a \\\"b\\\" \\$c\"",
            [Some("a \"b\" $c"), Some("opensuse-leap"), Some("15.6")],
        );
        check(
            "ID=arch\nID=\"artix\"\nVERSION_ID=",
            [None, Some("artix"), None],
        );
        check("\u{0}garbage", [None, None, None]);
        check("ID=\"", [None, Some("\""), None]);
    }
}
