//! Responsible for escaping text of unknown origin before it is written to a terminal. Control
//! characters could move the cursor, rename the window or hide other text.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

/// Returns whether a terminal interprets a character instead of displaying it. These are the
/// control characters except line ends and tabs, and the characters that change the direction of
/// text.
fn acts(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push(out: &mut String, c: char) {
    let code = u32::from(c);
    let _ = if code < 0x100 {
        write!(out, "\\x{code:02x}")
    } else {
        write!(out, "\\u{{{code:x}}}")
    };
}

/// Returns a text with its control characters escaped, for example as `\x1b`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    render(text, false)
}

/// Escapes the control characters in an output line of a program, except colours, which are reset
/// at the end of the line. If the program has overwritten the line with carriage returns, as
/// progress bars do, only its last state is returned.
pub(crate) fn visible_output(line: &str) -> Cow<'_, str> {
    let line = line.trim_end_matches('\r');
    let last = line.rsplit('\r').next().unwrap_or(line);
    match render(last, true) {
        Cow::Owned(text) if text.contains('\x1b') => (text + "\x1b[0m").into(),
        text => text,
    }
}

/// Escapes the control characters in one line of JSON, with the escapes of JSON.
pub(crate) fn visible_json(line: &str) -> Cow<'_, str> {
    if !line.contains(acts) {
        return line.into();
    }
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if acts(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.into()
}

fn render(text: &str, with_colours: bool) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = if with_colours { colour(rest) } else { 0 };
        let len = colour.max(c.len_utf8());
        if colour > 0 || !acts(c) {
            out.push_str(&rest[..len]);
        } else if !rest.starts_with("\r\n") {
            push(&mut out, c);
        }
        rest = &rest[len..];
    }
    out.into()
}

/// Returns the length of the escape sequence for a colour or a font weight at the start of a text,
/// or 0 if there is none.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != ';');
    match digits {
        // The number 8 would hide the text after the sequence.
        Some(end) if rest[end..].starts_with('m') && rest[..end].split(';').all(|n| n != "8") => {
            text.len() - rest.len() + end + 1
        }
        _ => 0,
    }
}

/// Writer for results. If the output is a terminal, control characters are escaped as by
/// [`visible`]; otherwise bytes are written unchanged.
pub(crate) struct Output<W: Write> {
    out: W,
    is_terminal: bool,
    /// First bytes of a character whose other bytes have not been written yet.
    begun: Vec<u8>,
}

impl<W: Write> Output<W> {
    /// Creates a writer that writes to `out`.
    pub(crate) fn new(out: W, is_terminal: bool) -> Self {
        Self {
            out,
            is_terminal,
            begun: Vec::new(),
        }
    }

    fn show(&mut self, bytes: &[u8], is_end: bool) -> io::Result<()> {
        let mut text = String::new();
        let mut chunks = bytes.utf8_chunks().peekable();
        self.begun.clear();
        while let Some(chunk) = chunks.next() {
            text.push_str(&visible(chunk.valid()));
            let odd = chunk.invalid();
            let may_go_on = chunks.peek().is_none() && !is_end;
            if may_go_on && std::str::from_utf8(odd).is_err_and(|e| e.error_len().is_none()) {
                self.begun.extend(odd);
            } else {
                for byte in odd {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            }
        }
        self.out.write_all(text.as_bytes())
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.out.write(bytes);
        }
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend(bytes);
        self.show(&whole, false)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let begun = std::mem::take(&mut self.begun);
        self.show(&begun, true)?;
        self.out.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        for (text, expected) in [
            ("plain, `ä` and → \t\n", "plain, `ä` and → \t\n"),
            ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
            ("a\rb\x08\x7f", "a\\x0db\\x08\\x7f"),
            ("a\r\nb", "a\nb"),
            ("c1 \u{9b}31m", "c1 \\x9b31m"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("nul \0", "nul \\x00"),
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn programs_may_have_colours_and_nothing_else() {
        for (line, expected) in [
            ("plain", "plain"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m"),
            ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
            ("\x1b[8mhidden", "\\x1b[8mhidden"),
            ("\x1b[2J\x1b[31", "\\x1b[2J\\x1b[31"),
            (" 1%\r50%\r100%\r", "100%"),
            ("crlf\r", "crlf"),
        ] {
            assert_eq!(visible_output(line), expected, "{line:?}");
        }
    }

    #[test]
    fn json_stays_json() {
        let line = serde_json::json!({"message": "\x1b \u{9b} \u{202e} \x7f"}).to_string();
        let seen = visible_json(&line);
        assert!(!seen.contains(acts), "{seen:?}");
        let read: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(read["message"], "\x1b \u{9b} \u{202e} \x7f");
    }

    #[test]
    fn results_are_exact_for_programs_and_visible_for_people() {
        let bytes = b"/a\x1b[2J\xff\xc3\xa4\xe2\x86\n";
        let through = |is_terminal: bool, at: usize| {
            let mut output = Output::new(Vec::new(), is_terminal);
            for part in [&bytes[..at], &bytes[at..]] {
                output.write_all(part).unwrap();
            }
            output.flush().unwrap();
            output.out
        };
        for at in 0..bytes.len() {
            assert_eq!(through(false, at), bytes);
            let seen = String::from_utf8(through(true, at)).unwrap();
            assert_eq!(seen, "/a\\x1b[2J\\xffä\\xe2\\x86\n", "{at}");
        }
    }
}
