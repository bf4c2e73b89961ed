//! Responsible for quoting values in shell text, and for checking the names of variables. This is
//! the only module that knows the rules of a POSIX shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};

/// Quotes a word so that every POSIX shell reads back the same bytes. Words without special
/// characters stay unquoted.
#[must_use]
pub fn quote(word: impl AsRef<OsStr>) -> OsString {
    let bytes = word.as_ref().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(byte);
    // A leading `=` or `~` is special in some shells, so the rule for the first byte is stricter.
    if bytes
        .first()
        .is_some_and(|first| first.is_ascii_alphanumeric() || b"_/.-+".contains(first))
        && bytes.iter().all(plain)
    {
        return word.as_ref().to_owned();
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'\'');
    for byte in bytes {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// Quotes every word of a command line and joins them with blanks.
#[must_use]
pub fn quote_line(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> OsString {
    let mut line = OsString::new();
    for word in words {
        if !line.is_empty() {
            line.push(" ");
        }
        line.push(quote(word));
    }
    line
}

/// Escapes text for the inside of `"${NAME:+…}"`. Besides the characters that are special in double
/// quotes, `}` is escaped, because it would end the expansion.
pub(crate) fn escape_in_expansion(text: &str) -> String {
    escape(text, &['\\', '"', '$', '`', '}'])
}

/// Escapes a value for `SINGULARITYENV_*`, which the runtime evaluates like text between double
/// quotes.
pub(crate) fn escape_evaluated(value: &OsStr) -> OsString {
    let mut escaped = Vec::with_capacity(value.len());
    for byte in value.as_bytes() {
        if b"\\$`".contains(byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    OsString::from_vec(escaped)
}

fn escape(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Checks that a shell and the runtime can pass on a variable of this name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let mut characters = name.chars();
    let good = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|other| other.is_ascii_alphanumeric() || other == '_');
    if good {
        Ok(())
    } else {
        Err(Error::Value {
            value: name.to_owned(),
            expected: "a name for a variable",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    fn check(word: &str, expected: &str) {
        assert_eq!(quote(word).to_str().unwrap(), expected, "{word:?}");
    }

    #[test]
    fn plain_words_stay_bare_and_the_rest_is_quoted() {
        check("/opt/a-b_c.1", "/opt/a-b_c.1");
        check("--bind", "--bind");
        check("", "''");
        check("a b", "'a b'");
        check("it's", r"'it'\''s'");
        check("$HOME", "'$HOME'");
        check("~", "'~'");
        check("=x", "'=x'");
        check("a\nb", "'a\nb'");
    }

    #[test]
    fn the_shell_reads_back_the_same_bytes() {
        for word in [
            "",
            "a b",
            "'",
            "\"",
            "\\",
            "$(x)`y`",
            "*",
            "\n",
            "é",
            "a'b\"c\\d$e`f",
            "-n",
            "#",
            "!",
            "\t",
        ] {
            let script = format!("printf %s. {}", quote(word).to_str().unwrap());
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(output.stdout, format!("{word}.").as_bytes(), "{word:?}");
        }
    }

    #[test]
    fn the_shell_reads_back_text_inside_an_expansion() {
        for text in [
            "",
            ":",
            "a b",
            "}",
            "{",
            "'",
            "\"",
            "\\",
            "$(x)",
            "`y`",
            "*",
            "\n",
            "é",
            "a'}b\"c\\d",
        ] {
            let script = format!(
                "X=v; printf %s. \"${{X:+{}$X}}\"",
                escape_in_expansion(text)
            );
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(
                String::from_utf8(output.stdout).unwrap(),
                format!("{text}v."),
                "{text:?}"
            );
        }
    }
}
