//! Responsible for cotainr's format of messages: its prefixes, streams, colours and two log files.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
    path::Path,
    sync::Mutex,
};

use condense_build::Level;

use super::{
    renderer::{Message, Renderer},
    streams::Streams,
};

/// Name of the logger before cotainr's own messages.
const OWN_LOGGER: &str = "Cotainr";
/// Name of the logger before output lines of the installation.
const INSTALL_LOGGER: &str = "CondaInstall.out";

/// Renderer of messages in cotainr's format.
#[derive(Debug)]
pub(crate) struct CotainrRenderer {
    /// Number of `-v` options, or -1 with `-q`.
    verbosity: i32,
    colour: bool,
    files: Option<LogFiles>,
}

/// Log files of `--log-to-file`.
#[derive(Debug)]
struct LogFiles {
    out: Mutex<fs_err::File>,
    err: Mutex<fs_err::File>,
}

impl CotainrRenderer {
    /// Creates a renderer. `log` is the path of the log files without `.out` and `.err`.
    ///
    /// # Errors
    /// Returns an error if a log file cannot be created.
    pub(crate) fn new(verbosity: i32, colour: bool, log: Option<&Path>) -> std::io::Result<Self> {
        let create = |log: &Path, extension: &str| {
            // The name contains dots, so the extension is appended and not replaced.
            let mut path = log.as_os_str().to_owned();
            path.push(extension);
            fs_err::File::create(path).map(Mutex::new)
        };
        let files = match log {
            Some(log) => Some(LogFiles {
                out: create(log, ".out")?,
                err: create(log, ".err")?,
            }),
            None => None,
        };
        Ok(Self {
            verbosity,
            colour,
            files,
        })
    }

    /// Returns the least important level that is shown.
    pub(super) fn level(&self) -> Level {
        match self.verbosity {
            ..0 => Level::Error,
            0 | 1 => Level::Info,
            _ => Level::Debug,
        }
    }

    /// Writes one line to its stream and its log file.
    fn write_line(
        &self,
        logger: &str,
        word: &str,
        message: &Message<'_>,
        colour: Option<&str>,
        stream: Stream<'_>,
    ) {
        let is_problem = message.level <= Level::Warning;
        let time = if self.verbosity >= 2 {
            Cow::Owned(format!("{} - ", now("%Y-%m-%d %H:%M:%S,%3f")))
        } else {
            Cow::Borrowed("")
        };
        let text = format!("{time}{logger}:-:{word} {}", message.text);
        if let Some(files) = &self.files {
            let file = if is_problem { &files.err } else { &files.out };
            let mut file = file.lock().expect("no thread panics while it writes");
            // An error is ignored. If the disk is full, other writes of the run fail and report it.
            let _ = writeln!(file, "{text}");
        }
        let paint = |is_terminal: bool| match colour {
            Some(colour) if is_terminal && self.colour => {
                format!("\x1b[38;5;{colour}m{text}\x1b[0m\n")
            }
            _ => format!("{text}\n"),
        };
        match stream {
            Stream::ByLevel(streams) if !is_problem => {
                streams.out(&paint(std::io::stdout().is_terminal()));
            }
            Stream::ByLevel(streams) | Stream::Stderr(streams) => {
                streams.err(&paint(std::io::stderr().is_terminal()));
            }
        }
    }

    fn write_message(&self, message: &Message<'_>, stream: Stream<'_>) {
        let (word, colour) = match message.level {
            Level::Error => ("ERROR:", Some("1")),
            Level::Warning => ("WARNING:", Some("3")),
            Level::Info if self.verbosity >= 2 => ("INFO:", None),
            Level::Info => ("", None),
            Level::Debug => ("DEBUG:", Some("8")),
        };
        self.write_line(OWN_LOGGER, word, message, colour, stream);
    }
}

/// Stream of a message.
#[derive(Clone, Copy)]
enum Stream<'a> {
    /// Standard error for problems, standard output for all other messages, as in cotainr.
    ByLevel(&'a Streams),
    /// Standard error for all messages.
    Stderr(&'a Streams),
}

impl Renderer for CotainrRenderer {
    fn write(&self, message: &Message<'_>, streams: &Streams) {
        self.write_message(message, Stream::ByLevel(streams));
    }

    fn write_output(&self, message: &Message<'_>, streams: &Streams) {
        let message = Message {
            level: Level::Info,
            ..*message
        };
        self.write_line(INSTALL_LOGGER, "", &message, None, Stream::ByLevel(streams));
    }

    fn write_to_stderr(&self, message: &Message<'_>, streams: &Streams) {
        self.write_message(message, Stream::Stderr(streams));
    }

    fn shows_output(&self) -> Option<bool> {
        Some(self.verbosity >= 1)
    }
}

/// Returns the current time in UTC, in the format `format` of strftime.
pub(crate) fn now(format: &str) -> String {
    jiff::Timestamp::now().strftime(format).to_string()
}
