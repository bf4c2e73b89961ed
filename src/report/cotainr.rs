//! Responsible for cotainr's words: its prefixes, its streams, its colours and its two log files.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
    path::Path,
    sync::Mutex,
};

use super::{Level, streams::Streams};

/// How much is said and where; as cotainr's flags say.
#[derive(Debug)]
pub(crate) struct Voice {
    /// -1 with `-q`, else how often `-v` was given.
    verbosity: i32,
    colour: bool,
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    out: Mutex<fs_err::File>,
    err: Mutex<fs_err::File>,
}

/// One line and where it goes.
pub(super) struct Said<'v> {
    text: String,
    colour: Option<&'static str>,
    is_problem: bool,
    voice: &'v Voice,
}

impl Voice {
    /// `log` is the path of the log files without `.out` and `.err`.
    ///
    /// # Errors
    /// Log files that cannot be made.
    pub(crate) fn new(verbosity: i32, colour: bool, log: Option<&Path>) -> std::io::Result<Self> {
        let create = |log: &Path, extension: &str| {
            // The name has dots of its own.
            let mut path = log.as_os_str().to_owned();
            path.push(extension);
            fs_err::File::create(path).map(Mutex::new)
        };
        let files = match log {
            Some(log) => Some(Files {
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

    /// What of the house's levels is said.
    pub(super) fn level(&self) -> Level {
        match self.verbosity {
            ..0 => Level::Error,
            0 | 1 => Level::Info,
            _ => Level::Debug,
        }
    }

    /// Whether lines of build steps are said.
    pub(super) fn says_output(&self) -> bool {
        self.verbosity >= 1
    }

    pub(super) fn say(&self, level: Level, text: &str) -> Said<'_> {
        let (word, colour) = match level {
            Level::Error => ("ERROR:", Some("1")),
            Level::Warning => ("WARNING:", Some("3")),
            Level::Info if self.verbosity >= 2 => ("INFO:", None),
            Level::Info => ("", None),
            Level::Debug => ("DEBUG:", Some("8")),
        };
        self.said("Cotainr", word, text, colour, level <= Level::Warning)
    }

    /// A line of a build step.
    pub(super) fn output(&self, line: &str) -> Said<'_> {
        self.said("CondaInstall.out", "", line, None, false)
    }

    fn said(
        &self,
        name: &str,
        word: &str,
        text: &str,
        colour: Option<&'static str>,
        is_problem: bool,
    ) -> Said<'_> {
        let time = if self.verbosity >= 2 {
            Cow::Owned(format!("{} - ", now("%Y-%m-%d %H:%M:%S,%3f")))
        } else {
            Cow::Borrowed("")
        };
        Said {
            text: format!("{time}{name}:-:{word} {text}"),
            colour,
            is_problem,
            voice: self,
        }
    }
}

impl Said<'_> {
    pub(super) fn write(&self, streams: &Streams) {
        let text = &self.text;
        let files = self.voice.files.as_ref();
        if let Some(file) = files.map(|files| {
            if self.is_problem {
                &files.err
            } else {
                &files.out
            }
        }) {
            let mut file = file.lock().expect("no thread panics while it writes");
            // A full disk shows elsewhere.
            let _ = writeln!(file, "{text}");
        }
        let paint = |terminal: bool| match self.colour {
            Some(colour) if terminal && self.voice.colour => {
                format!("\x1b[38;5;{colour}m{text}\x1b[0m\n")
            }
            _ => format!("{text}\n"),
        };
        if self.is_problem {
            streams.err(&paint(std::io::stderr().is_terminal()));
        } else {
            streams.out(&paint(std::io::stdout().is_terminal()));
        }
    }
}

/// The time of day, in UTC.
pub(crate) fn now(format: &str) -> String {
    jiff::Timestamp::now().strftime(format).to_string()
}
