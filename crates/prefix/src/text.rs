//! Responsible for decoding the bytes of text files: byte order marks, UTF-16 and UTF-32 without
//! such marks, and the encodings that requirements files declare.
//!
//! PowerShell's `>` writes UTF-16. conda reads such an environment.yml, and pip such a requirements
//! file.

use encoding_rs::Encoding;

/// Reason why bytes are not text, and the line of the first wrong byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DecodeError {
    /// Number of the line, from 1.
    pub(crate) line: usize,
    /// Description of the fault.
    pub(crate) message: String,
}

/// Encodings that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Utf8,
    /// Characters of this many bytes, the lowest byte first or last.
    Wide {
        width: usize,
        little: bool,
    },
    Ascii,
    Latin1,
    Other(&'static Encoding),
}

/// Byte order marks. Where one mark is the beginning of another, the longer one comes first.
const MARKS: [(&[u8], Form); 5] = [
    (b"\xef\xbb\xbf", Form::Utf8),
    (b"\xff\xfe\0\0", wide(4, true)),
    (b"\0\0\xfe\xff", wide(4, false)),
    (b"\xff\xfe", wide(2, true)),
    (b"\xfe\xff", wide(2, false)),
];

/// Number of lines at the beginning that may declare an encoding, as in Python's own files.
const DECLARING_LINES: usize = 2;

const fn wide(width: usize, little: bool) -> Form {
    Form::Wide { width, little }
}

/// Decodes UTF-8, or the encoding that follows from a byte order mark or from the zeros in the
/// first characters.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
    let form = marked(bytes).or_else(|| unmarked(bytes));
    in_form(bytes, form.unwrap_or(Form::Utf8))
}

/// Decodes like [`decode`], but also follows `# -*- coding: NAME -*-` in one of the first two
/// lines, as pip does.
pub(crate) fn decode_declared(bytes: &[u8]) -> Result<String, DecodeError> {
    if let Some(form) = marked(bytes).or_else(|| unmarked(bytes)) {
        return in_form(bytes, form);
    }
    match declaration(bytes) {
        Some((line, name)) => {
            let form = named(&name).ok_or_else(|| DecodeError {
                line,
                message: format!("`coding: {name}` is no encoding that is known"),
            })?;
            in_form(bytes, form)
        }
        None => in_form(bytes, Form::Utf8),
    }
}

fn marked(bytes: &[u8]) -> Option<Form> {
    let found = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark));
    found.map(|(_, form)| *form)
}

/// Recognises UTF-16 and UTF-32 by their zeros. All kinds of files that are decoded begin with an
/// ASCII character.
fn unmarked(bytes: &[u8]) -> Option<Form> {
    match *bytes {
        [0, 0, 0, one, ..] if one != 0 => Some(wide(4, false)),
        [one, 0, 0, 0, ..] if one != 0 => Some(wide(4, true)),
        [0, one, 0, two, ..] if one != 0 && two != 0 => Some(wide(2, false)),
        [one, 0, two, 0, ..] if one != 0 && two != 0 => Some(wide(2, true)),
        _ => None,
    }
}

/// Returns the encoding that a comment declares, with the number of the comment's line.
fn declaration(bytes: &[u8]) -> Option<(usize, String)> {
    let lines = bytes.split(|byte| *byte == b'\n').take(DECLARING_LINES);
    for (at, line) in lines
        .enumerate()
        .filter(|(_, line)| line.first() == Some(&b'#'))
    {
        let line: String = line.iter().copied().map(char::from).collect();
        for (found, word) in line.match_indices("coding") {
            let Some(rest) = line[found + word.len()..].strip_prefix([':', '=']) else {
                continue;
            };
            let rest = rest.trim_start();
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            if end > 0 {
                return Some((at + 1, rest[..end].to_owned()));
            }
        }
    }
    None
}

/// Returns the encoding for a name. Python knows more spellings than the
/// web's standard of encodings.
fn named(name: &str) -> Option<Form> {
    let name = name.to_ascii_lowercase();
    let bare: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match bare.as_str() {
        "ascii" | "usascii" | "646" => return Some(Form::Ascii),
        "latin" | "latin1" | "l1" | "iso88591" | "88591" | "8859" | "cp819" => {
            return Some(Form::Latin1);
        }
        "utf8" | "utf8sig" | "u8" | "cp65001" => return Some(Form::Utf8),
        "macroman" => return Some(Form::Other(encoding_rs::MACINTOSH)),
        _ => {}
    }
    let spellings = [name.clone(), name.replace('_', "-"), bare];
    let mut encodings = spellings
        .iter()
        .filter_map(|label| Encoding::for_label_no_replacement(label.as_bytes()));
    encodings.next().map(Form::Other)
}

fn in_form(bytes: &[u8], form: Form) -> Result<String, DecodeError> {
    let text = match form {
        Form::Utf8 => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                return Err(decode_error(
                    &bytes[..error.valid_up_to()],
                    "not UTF-8 text",
                ));
            }
        },
        Form::Wide { width, little } => decode_units(bytes, width, little)?,
        Form::Ascii => match bytes.iter().position(|byte| !byte.is_ascii()) {
            Some(at) => {
                return Err(decode_error(
                    &bytes[..at],
                    "not the ASCII text that it says to be",
                ));
            }
            None => bytes.iter().copied().map(char::from).collect(),
        },
        Form::Latin1 => bytes.iter().copied().map(char::from).collect(),
        Form::Other(encoding) => encoding
            .decode_without_bom_handling_and_without_replacement(bytes)
            .ok_or_else(|| DecodeError {
                line: 1,
                message: format!("not the {} text that it says to be", encoding.name()),
            })?
            .into_owned(),
    };
    if let Some(at) = text.find('\0') {
        let message = "a NUL byte stands here, this is no text";
        return Err(decode_error(&text.as_bytes()[..at], message));
    }
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

/// Decodes UTF-16 and UTF-32.
fn decode_units(bytes: &[u8], width: usize, little: bool) -> Result<String, DecodeError> {
    let unit = |unit: &[u8]| {
        let add = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        if little {
            unit.iter().rev().fold(0, add)
        } else {
            unit.iter().fold(0, add)
        }
    };
    let units = bytes.chunks_exact(width);
    let is_cut = !units.remainder().is_empty();
    let units = units.map(unit);
    let characters: Vec<Option<char>> = if width == 2 {
        let decoded = char::decode_utf16(units.map(|unit| unit as u16));
        decoded.map(Result::ok).collect()
    } else {
        units.map(char::from_u32).collect()
    };
    let text: String = characters
        .iter()
        .copied()
        .map_while(|found| found)
        .collect();
    if is_cut || characters.contains(&None) {
        return Err(decode_error(
            text.as_bytes(),
            &format!("not UTF-{} text", 8 * width),
        ));
    }
    Ok(text)
}

fn decode_error(before: &[u8], message: &str) -> DecodeError {
    DecodeError {
        line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let bytes = |unit: u16| {
            if little {
                unit.to_le_bytes()
            } else {
                unit.to_be_bytes()
            }
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn wide_characters_are_read_with_and_without_a_mark() {
        let text = "# café\r\nnumpy 🐍\r\n";
        for little in [true, false] {
            let utf32 = |text: &str| -> Vec<u8> {
                let bytes = |c: char| {
                    if little {
                        u32::from(c).to_le_bytes()
                    } else {
                        u32::from(c).to_be_bytes()
                    }
                };
                text.chars().flat_map(bytes).collect()
            };
            assert_eq!(decode(&utf16(text, little)).as_deref(), Ok(text));
            assert_eq!(decode(&utf32(text)).as_deref(), Ok(text));
            let marked = format!("\u{feff}{text}");
            assert_eq!(decode(&utf16(&marked, little)).as_deref(), Ok(text));
            assert_eq!(decode(&utf32(&marked)).as_deref(), Ok(text));
        }
        assert_eq!(
            decode(format!("\u{feff}{text}").as_bytes()).as_deref(),
            Ok(text)
        );
    }

    #[test]
    fn declared_encodings_are_those_of_python() {
        for (head, bytes, expected) in [
            ("# -*- coding: latin-1 -*-", &b"\xe9\x85"[..], "é\u{85}"),
            ("# coding=Latin_1", b"\xe9", "é"),
            (
                "# a line first\n# vim: set fileencoding=iso-8859-15 :",
                b"\xa4",
                "€",
            ),
            ("#coding: cp1252", b"\x80", "€"),
            ("# coding: shift_jis", b"\x83\x65", "テ"),
            ("# coding: koi8_r", b"\xc1", "а"),
            ("# coding: utf-8", "é".as_bytes(), "é"),
            ("# coding: utf8-sig", "é".as_bytes(), "é"),
            (" # coding: latin-1", "é".as_bytes(), "é"),
            ("a\nb\n# coding: latin-1", "é".as_bytes(), "é"),
            ("# encoding is a word", "é".as_bytes(), "é"),
        ] {
            let file = [head.as_bytes(), b"\n", bytes].concat();
            assert_eq!(
                decode_declared(&file),
                Ok(format!("{head}\n{expected}")),
                "{head}"
            );
        }
        // conda reads the file as UTF-8, whatever the file declares.
        assert!(decode(b"# coding: latin-1\n\xe9").is_err());
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_with_their_line() {
        let at = |found: Result<String, DecodeError>| {
            let decode_error = found.expect_err("no text");
            format!("{}: {}", decode_error.line, decode_error.message)
        };
        assert_eq!(at(decode(b"a\nb\n\xff")), "3: not UTF-8 text");
        assert_eq!(
            at(decode(b"a\nb\0c")),
            "2: a NUL byte stands here, this is no text"
        );
        let mut cut = utf16("\u{feff}a\nb", true);
        cut.pop();
        assert_eq!(at(decode(&cut)), "2: not UTF-16 text");
        let lone = [&utf16("\u{feff}a\nb", true)[..], b"\0\xd8c\0"].concat();
        assert_eq!(at(decode(&lone)), "2: not UTF-16 text");
        assert_eq!(
            at(decode_declared(b"a\n# coding: klingon\n")),
            "2: `coding: klingon` is no encoding that is known"
        );
        assert_eq!(
            at(decode_declared(b"# coding: ascii\n\xe9")),
            "2: not the ASCII text that it says to be"
        );
    }
}
