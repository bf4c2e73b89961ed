//! Responsible for parsing the log of the commands that a script ran.

/// One entry of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A command as written, including redirections, before it runs.
    Command(String),
    /// A simple command as executed: every word expanded, without redirections.
    Executed(Vec<String>),
    /// The words between `[[` and `]]`, expanded but still quoted: unquoted text may be a pattern.
    Condition(Vec<String>),
    /// The expanded word that a `case` statement compares.
    CaseWord(String),
}

/// Parses a log in the format that `capture.bash` describes. Bytes that are not UTF-8 (half a
/// sentinel) become replacement characters, which count as part of a sentinel like every character
/// that is not ASCII.
pub(super) fn parse(log: &[u8]) -> Vec<Event> {
    let log = String::from_utf8_lossy(log);
    let mut events = Vec::new();
    let mut rest: &str = &log;
    while let Some(start) = rest.find(['\u{1}', '\u{3}', '\u{5}']) {
        let kind = rest.as_bytes()[start];
        rest = &rest[start + 1..];
        if kind == 1 {
            // The character is repeated once per level of nesting.
            rest = rest.trim_start_matches('\u{1}');
            let Some((place, behind)) = rest.split_once('\u{2}') else {
                break;
            };
            let (depth, function) = place.split_once(' ').unwrap_or(("1", place));
            let end = behind
                .find(['\u{1}', '\u{3}', '\u{5}'])
                .unwrap_or(behind.len());
            let text = behind[..end].trim_end_matches('\n');
            let mut words = split_words(text);
            rest = &behind[end..];
            // The commands of the capture itself, of its guard, and the calls of the guard.
            let own = depth == "1"
                || function.starts_with("__condense")
                || words
                    .first()
                    .is_some_and(|word| word.starts_with("__condense"));
            if !own && words.first().is_some_and(|word| word == "[[") {
                words = split_quoted(text.trim_start_matches("[[").trim_end_matches("]]"));
                events.push(Event::Condition(words));
            } else if !own {
                events.push(Event::Executed(words));
            }
        } else {
            let Some((text, behind)) = rest.split_once('\u{4}') else {
                break;
            };
            let text = text.to_owned();
            events.push(if kind == 3 {
                Event::Command(text)
            } else {
                Event::CaseWord(text)
            });
            rest = behind;
        }
    }
    events
}

/// Splits a command as bash prints it: blanks separate words, and quotes of all four kinds are
/// removed.
pub(super) fn split_words(text: &str) -> Vec<String> {
    split(text).into_iter().map(|(_, word)| word).collect()
}

/// Splits a command into words and keeps their quotes.
fn split_quoted(text: &str) -> Vec<String> {
    split(text).into_iter().map(|(quoted, _)| quoted).collect()
}

fn split(text: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let bytes = text.as_bytes();
    let (mut at, mut start) = (0, 0);
    let mut end_word = |word: &mut Option<Vec<u8>>, start: usize, at: usize| {
        if let Some(word) = word.take() {
            words.push((
                String::from_utf8_lossy(&bytes[start..at]).into_owned(),
                String::from_utf8_lossy(&word).into_owned(),
            ));
        }
    };
    while at < bytes.len() {
        if word.is_none() {
            start = at;
        }
        match bytes[at] {
            b' ' | b'\t' | b'\n' => end_word(&mut word, start, at),
            b'\'' => {
                let end = bytes[at + 1..]
                    .iter()
                    .position(|&byte| byte == b'\'')
                    .map_or(bytes.len(), |length| at + 1 + length);
                word.get_or_insert_default().extend(&bytes[at + 1..end]);
                at = end;
            }
            b'$' if bytes.get(at + 1) == Some(&b'\'') => {
                at = unescape(bytes, at + 2, word.get_or_insert_default());
                continue;
            }
            b'"' => {
                word.get_or_insert_default();
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    if bytes[at] == b'\\'
                        && at + 1 < bytes.len()
                        && b"\\\"$`".contains(&bytes[at + 1])
                    {
                        at += 1;
                    }
                    word.get_or_insert_default().push(bytes[at]);
                    at += 1;
                }
            }
            b'\\' if at + 1 < bytes.len() => {
                at += 1;
                word.get_or_insert_default().push(bytes[at]);
            }
            other => word.get_or_insert_default().push(other),
        }
        at += 1;
    }
    end_word(&mut word, start, bytes.len());
    words
}

/// Appends the text of `$'…'`, starting after its opening quote. Returns the position after its
/// closing quote.
fn unescape(bytes: &[u8], mut at: usize, word: &mut Vec<u8>) -> usize {
    while at < bytes.len() && bytes[at] != b'\'' {
        if bytes[at] != b'\\' || at + 1 >= bytes.len() {
            word.push(bytes[at]);
            at += 1;
            continue;
        }
        at += 1;
        match bytes[at] {
            b'0'..=b'7' => {
                let digits = bytes[at..]
                    .iter()
                    .take(3)
                    .take_while(|byte| (b'0'..=b'7').contains(byte))
                    .count();
                word.push(bytes[at..at + digits].iter().fold(0_u8, |value, digit| {
                    value.wrapping_mul(8).wrapping_add(digit - b'0')
                }));
                at += digits;
                continue;
            }
            b'n' => word.push(b'\n'),
            b't' => word.push(b'\t'),
            b'r' => word.push(b'\r'),
            b'a' => word.push(7),
            b'b' => word.push(8),
            b'v' => word.push(11),
            b'f' => word.push(12),
            b'E' | b'e' => word.push(27),
            other => word.push(other),
        }
        at += 1;
    }
    at + 1
}

/// Splits `NAME=VALUE` or `NAME+=VALUE`.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let name = name.strip_suffix('+').unwrap_or(name);
    super::variables::is_name(name).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::{Event, parse, split_words};

    #[test]
    fn words() {
        for (text, expected) in [
            ("'[' -n 'a b' ']'", &["[", "-n", "a b", "]"][..]),
            ("A=$'\\305\\200x\\n' ''", &["A=\u{140}x\n", ""]),
            ("a\\ b 'c'\\''d' \"e\\$f g\"", &["a b", "c'd", "e$f g"]),
            ("", &[]),
        ] {
            assert_eq!(split_words(text), expected, "{text}");
        }
    }

    #[test]
    fn a_log() {
        let log = b"\x011 \x02. /env/a.sh\n\x03case $x in \x04\x05a b\x04\x01\x012 f\x02A='1\n2'\n\x01\x013 __condense_guard\x02shift\n\x012 source\x02[[ -n a\\*b ]]\n\x011 \x02set +x\n";
        let owned = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            parse(log),
            [
                Event::Command("case $x in ".to_owned()),
                Event::CaseWord("a b".to_owned()),
                Event::Executed(owned(&["A=1\n2"])),
                Event::Condition(owned(&["-n", "a\\*b"])),
            ]
        );
    }
}
