//! Responsible for damage to files. `bytes` damages files that are read by position, `text` damages
//! files that are read by lines, words and nesting.

use crate::Random;

/// The largest size of a damaged text, in bytes.
const LENGTH_MAX: usize = 1 << 18;
/// The largest number of repetitions of one part.
const REPEATED_MAX: usize = 20_000;

/// Words at which readers of text often fail.
const WORDS: [&str; 62] = [
    "",
    "\0",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "\\\n",
    "\u{feff}",
    "é",
    "🐍",
    "\u{2028}",
    "\u{85}",
    "\u{1b}[31m",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "3.10",
    "NaN",
    ".inf",
    "true",
    "null",
    "~",
    "''",
    "\"\"",
    "\"",
    "'",
    "`",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "[[[[",
    "}}}}",
    "- ",
    ": ",
    ", ",
    "# ",
    "? ",
    "| ",
    "> ",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!str ",
    "!!binary ",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "../",
    "/",
    "://",
    "@",
    "%2e%2e%2f",
    "${X}",
    "==",
    ">=1,<2|3",
    "*",
];

/// Damages one to four places: overwrites them with wrong values, copies a part of the file over
/// them, or cuts the file there. Headers and tables say how the rest is read, so half of the damage
/// goes to the first 128 or the last 700 bytes.
pub fn bytes(file: &mut Vec<u8>, _seeds: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let length = file.len();
        if length == 0 {
            return;
        }
        let at = match random.below(4) {
            0 => random.below(length.min(128)),
            1 => length - 1 - random.below(length.min(700)),
            _ => random.below(length),
        };
        let value: u64 = match random.below(9) {
            0 => {
                file[at] ^= 1 << random.below(8);
                continue;
            }
            1 => {
                file[at] = random.draw() as u8;
                continue;
            }
            2 => {
                let from = random.below(length);
                let part = 1 + random.below(64.min(length - from.max(at)));
                file.copy_within(from..from + part, at);
                continue;
            }
            3 if random.once_in(8) => {
                file.truncate(at.max(1));
                continue;
            }
            4 => 0,
            5 => u64::MAX,
            6 => i64::MAX as u64,
            7 => (length as u64).wrapping_sub(random.below(8) as u64),
            _ => random.draw() >> random.below(64),
        };
        let width = [1, 2, 4, 8][random.below(4)].min(length - at);
        file[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// Changes one to six places: bytes, words, lines, parts from the other files. Sometimes cuts the
/// file or changes its encoding.
pub fn text(file: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(6) {
        match random.below(12) {
            0 if !file.is_empty() => {
                let at = random.below(file.len());
                file[at] ^= 1 << random.below(8);
            }
            1 if !file.is_empty() => {
                let at = random.below(file.len());
                file[at] = random.draw() as u8;
            }
            2 | 3 => {
                let at = random.below(file.len() + 1);
                let word = random.of(&WORDS).as_bytes();
                file.splice(at..at, word.iter().copied());
            }
            4 => {
                let (from, to) = word_at(file, random);
                let word = random.of(&WORDS).as_bytes();
                file.splice(from..to, word.iter().copied());
            }
            5 => {
                let (from, to) = word_at(file, random);
                let other = random.of(seeds);
                let (other_from, other_to) = word_at(other, random);
                file.splice(from..to, other[other_from..other_to].iter().copied());
            }
            6 => {
                let (from, to) = line_at(file, random);
                file.drain(from..to);
            }
            7 => {
                let (at, _) = line_at(file, random);
                let other = random.of(seeds);
                let (from, to) = line_at(other, random);
                file.splice(at..at, other[from..to].iter().copied());
            }
            8 => {
                let (from, to) = line_at(file, random);
                let line = file[from..to].to_vec();
                let (at, _) = line_at(file, random);
                file.splice(at..at, line);
            }
            9 => repeat(file, random),
            10 if random.once_in(4) => {
                let at = random.below(file.len() + 1);
                file.truncate(at);
            }
            11 if random.once_in(8) => widen(file, random),
            _ => indent(file, random),
        }
        file.truncate(LENGTH_MAX);
    }
}

/// Finds the word at a random place, which consists of letters, digits, `_` and `.`. Finds the
/// single byte there if it is none of these.
fn word_at(file: &[u8], random: &mut Random) -> (usize, usize) {
    let at = random.below(file.len());
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
    if !file.get(at).is_some_and(is_part) {
        return (at, (at + 1).min(file.len()));
    }
    let before = file[..at].iter().rev().take_while(|byte| is_part(byte));
    let behind = file[at..].iter().take_while(|byte| is_part(byte));
    (at - before.count(), at + behind.count())
}

/// Finds the line at a random place, including its line end.
fn line_at(file: &[u8], random: &mut Random) -> (usize, usize) {
    let at = random.below(file.len());
    let from = file[..at].iter().rposition(|byte| *byte == b'\n');
    let to = file[at..].iter().position(|byte| *byte == b'\n');
    let from = from.map_or(0, |found| found + 1);
    (from, to.map_or(file.len(), |found| at + found + 1))
}

/// Repeats a small part many times, which makes deep nesting, long lines and many lines.
fn repeat(file: &mut Vec<u8>, random: &mut Random) {
    let (from, to) = if random.once_in(2) {
        line_at(file, random)
    } else {
        word_at(file, random)
    };
    let part = if random.once_in(3) {
        random.of(&WORDS).as_bytes().to_vec()
    } else {
        file[from..to].to_vec()
    };
    let most = [4, 70, 1000, REPEATED_MAX][random.below(4)];
    let times = random.below(most).min(LENGTH_MAX / part.len().max(1));
    file.splice(from..from, part.repeat(times));
}

/// Gives a line a random number of leading blanks, at most eight.
fn indent(file: &mut Vec<u8>, random: &mut Random) {
    let (from, to) = line_at(file, random);
    let blanks = file[from..to].iter().take_while(|byte| **byte == b' ');
    let blanks = blanks.count();
    let wanted = random.below(9);
    file.splice(from..from + blanks, vec![b' '; wanted]);
}

/// Encodes the file as UTF-16, with or without a byte order mark.
fn widen(file: &mut Vec<u8>, random: &mut Random) {
    let mark = if random.once_in(2) { "\u{feff}" } else { "" };
    let text = format!("{mark}{}", String::from_utf8_lossy(file));
    let is_little = random.once_in(2);
    let units = text.encode_utf16();
    *file = if is_little {
        units.flat_map(u16::to_le_bytes).collect()
    } else {
        units.flat_map(u16::to_be_bytes).collect()
    };
}
