//! Responsible for the formats of messages: one renderer for each kind of dialect, and one for
//! JSON.

use std::borrow::Cow;

use condense_build::Level;

use super::{
    streams::Streams,
    visible::{visible, visible_json, visible_output},
};

/// Message to show, from which credentials have been removed.
pub(super) struct Message<'a> {
    /// Importance of the message.
    pub(super) level: Level,
    /// Text of one or more lines.
    pub(super) text: &'a str,
    /// Seconds since the start of the run.
    pub(super) seconds: f64,
}

/// Format and output stream of a dialect's messages.
pub(super) trait Renderer: Send + Sync {
    /// Writes a message to the stream of the dialect.
    fn write(&self, message: &Message<'_>, streams: &Streams);

    /// Writes an output line of a build step.
    fn write_output(&self, message: &Message<'_>, streams: &Streams) {
        self.write(message, streams);
    }

    /// Writes an error to standard error. It is used if standard output cannot be written.
    fn write_to_stderr(&self, message: &Message<'_>, streams: &Streams);

    /// Returns whether output lines of build steps are shown, or `None` if that depends on the
    /// level.
    fn shows_output(&self) -> Option<bool> {
        None
    }

    /// Escapes the control characters of a message.
    fn escape<'t>(&self, text: &'t str) -> Cow<'t, str> {
        visible(text)
    }

    /// Escapes the control characters in an output line of a build step, except colours.
    fn escape_output<'t>(&self, line: &'t str) -> Cow<'t, str> {
        visible_output(line)
    }

    /// Returns whether messages go to standard output.
    fn uses_stdout(&self) -> bool {
        false
    }

    /// Returns whether progress bars may be drawn between the messages.
    fn allows_bars(&self) -> bool {
        true
    }
}

/// Renderer of Tykky's format: all messages on standard output, with prefixes such as `[ INFO ]`.
#[derive(Debug)]
pub(super) struct TykkyRenderer {
    /// Whether the prefixes have colours.
    pub(super) colour: bool,
}

impl TykkyRenderer {
    /// Indentation of the lines after the first one.
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

/// Renderer for `condense` itself: messages on standard error. Informational messages have no
/// prefix.
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

/// Renderer of JSON, one object on each line: `{"seconds": …, "level": …, "message": …}`. The
/// seconds are those since the start of the run.
#[derive(Debug)]
pub(super) struct JsonRenderer {
    /// Whether the dialect writes its messages to standard output.
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

/// Returns a text whose first line is prefixed with `first` and whose other lines are prefixed with
/// `others`. Each line ends with a newline.
fn indented(text: &str, first: &str, others: &str) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let start = if number == 0 { first } else { others };
        out.push_str(&format!("{start}{line}\n"));
    }
    out
}
