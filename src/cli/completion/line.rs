//! Responsible for the words of a line that is being typed, with the quotes of shells.

use std::ffi::OsString;

/// Returns the words of a line up to the cursor, without their quotes. The last one is the word at
/// the cursor, which is empty behind a blank. Quotes that are not closed yet end with the line.
pub(in crate::cli) fn words(line: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(letters.by_ref().take_while(|letter| *letter != '\''));
            }
            '"' => double_quoted(&mut letters, word.get_or_insert_default()),
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.push(word.unwrap_or_default());
    words.into_iter().map(OsString::from).collect()
}

/// Adds the text up to the closing quote.
fn double_quoted(letters: &mut std::str::Chars, word: &mut String) {
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return,
            '\\' => match letters.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => {}
            },
            letter => word.push(letter),
        }
    }
}

/// Returns the word at the end of a line, without its quotes.
pub(in crate::cli) fn word(text: &str) -> String {
    let mut words = words(text);
    let last = words.pop().unwrap_or_default();
    last.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{word, words};

    #[test]
    fn lines_are_split_as_shells_do() {
        for (line, expected) in [
            ("condense ", vec!["condense", ""]),
            ("condense info my", vec!["condense", "info", "my"]),
            ("a  'two words' x", vec!["a", "two words", "x"]),
            (r"a two\ wo", vec!["a", "two wo"]),
            (r#"a "two w"#, vec!["a", "two w"]),
            (r#"a "q\"\$\n" ''"#, vec!["a", r#"q"$\n"#, ""]),
            ("a --site=lu", vec!["a", "--site=lu"]),
            ("a 'open", vec!["a", "open"]),
            ("a x\\", vec!["a", "x"]),
            ("", vec![""]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
        assert_eq!(word(r"two\ wo"), "two wo");
        assert_eq!(word(""), "");
    }
}
