//! Responsible for the forms of messages: one renderer for each dialect, and one for JSON.

use std::borrow::Cow;

use condense_build::Level;

use super::{
    streams::Streams,
    visible::{visible, visible_json, visible_output},
};

/// A message without credentials.
pub(super) struct Message<'a> {
    /// Importance of the message.
    pub(super) level: Level,
    /// Text of one or more lines.
    pub(super) text: &'a str,
    /// Seconds since the start of the run.
    pub(super) seconds: f64,
}

/// Form and stream of a dialect's messages.
pub(super) trait Renderer: Send + Sync {
    /// Writes a message.
    fn write(&self, message: &Message<'_>, streams: &Streams);

    /// Writes a line that a build step has printed.
    fn write_output(&self, message: &Message<'_>, streams: &Streams) {
        self.write(message, streams);
    }

    /// Writes an error to standard error, for a run whose standard output is lost.
    fn write_to_stderr(&self, message: &Message<'_>, streams: &Streams);

    /// Returns whether lines of build steps are shown, or `None` if that depends on the level.
    fn shows_output(&self) -> Option<bool> {
        None
    }

    /// Writes out the characters that act on a terminal.
    fn escape<'t>(&self, text: &'t str) -> Cow<'t, str> {
        visible(text)
    }

    /// Writes out the characters of a build step's line that act on a terminal, but for colours.
    fn escape_output<'t>(&self, line: &'t str) -> Cow<'t, str> {
        visible_output(line)
    }

    /// Returns whether messages go to standard output.
    fn uses_stdout(&self) -> bool {
        false
    }

    /// Returns whether progress bars may be drawn beside the messages.
    fn allows_bars(&self) -> bool {
        true
    }
}

/// Tykky's form: everything on standard output, with `[ INFO ]` and its kind in front.
#[derive(Debug)]
pub(super) struct TykkyRenderer {
    /// Whether the words in front have colours.
    pub(super) colour: bool,
}

impl TykkyRenderer {
    /// Indent of the lines after the first, which puts them below its text.
    const INDENT: &str = "         ";

    fn render(message: &Message<'_>, colour: bool) -> String {
        let (word, number) = match message.level {
            Level::Error => ("ERROR".to_owned(), 31),
            Level::Warning => ("WARNING".to_owned(), 33),
            Level::Info => ("INFO".to_owned(), 32),
            Level::Debug => (format!("DEBUG {:.2}s", message.seconds), 36),
        };
        let word = if colour {
            format!("\x1b[{number}m{word}\x1b[0m")
        } else {
            word
        };
        indented(message.text, &format!("[ {word} ] "), Self::INDENT)
    }
}

impl Renderer for TykkyRenderer {
    fn write(&self, message: &Message<'_>, streams: &Streams) {
        streams.out(&Self::render(message, self.colour));
    }

    fn write_to_stderr(&self, message: &Message<'_>, streams: &Streams) {
        streams.err(&Self::render(message, false));
    }

    fn uses_stdout(&self) -> bool {
        true
    }
}

/// The form of `condense` itself: messages on standard error, without a word in front of
/// information.
#[derive(Debug)]
pub(super) struct CondenseRenderer;

impl Renderer for CondenseRenderer {
    fn write(&self, message: &Message<'_>, streams: &Streams) {
        let prefix = match message.level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
            Level::Info | Level::Debug => "",
        };
        streams.err(&indented(message.text, prefix, "  "));
    }

    fn write_to_stderr(&self, message: &Message<'_>, streams: &Streams) {
        self.write(message, streams);
    }
}

/// One JSON object a line: `{"seconds": since the start, "level": …, "message": …}`.
#[derive(Debug)]
pub(super) struct JsonRenderer {
    /// Whether the dialect has its messages on standard output.
    pub(super) to_stdout: bool,
}

impl JsonRenderer {
    fn render(message: &Message<'_>) -> String {
        let level = match message.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        let line = serde_json::json!({
            "seconds": (message.seconds * 1000.0).round() / 1000.0,
            "level": level,
            "message": message.text,
        });
        format!("{}\n", visible_json(&line.to_string()))
    }
}

impl Renderer for JsonRenderer {
    fn write(&self, message: &Message<'_>, streams: &Streams) {
        let line = Self::render(message);
        if self.to_stdout {
            streams.out(&line);
        } else {
            streams.err(&line);
        }
    }

    fn write_to_stderr(&self, message: &Message<'_>, streams: &Streams) {
        streams.err(&Self::render(message));
    }

    fn escape<'t>(&self, text: &'t str) -> Cow<'t, str> {
        text.into()
    }

    fn escape_output<'t>(&self, line: &'t str) -> Cow<'t, str> {
        line.into()
    }

    fn uses_stdout(&self) -> bool {
        self.to_stdout
    }

    fn allows_bars(&self) -> bool {
        false
    }
}

/// Returns the lines of a text, each with its end: the first behind `first`, the others behind
/// `others`.
fn indented(text: &str, first: &str, others: &str) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let start = if number == 0 { first } else { others };
        out.push_str(&format!("{start}{line}\n"));
    }
    out
}
