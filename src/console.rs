//! Responsible for all output of the program. No other module prints.
//!
//! In Tykky's dialect all messages, including errors, go to standard output with a prefix (`[ INFO
//! ]`, `[ WARNING ]`, `[ ERROR ]`), because scripts may search for them there. Progress bars are
//! drawn on standard error, and only on a terminal; otherwise each step is one line.

mod bars;
pub(crate) mod cotainr;
mod json;
mod log;
pub(crate) mod memory;
mod renderer;
mod streams;
mod visible;

use std::{
    borrow::Cow,
    io::{BufRead, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use condense_build::{Level, Phase, Reporter, hint};
use condense_diagnostics::hint_for_limit;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_prefix::without_secrets;

use bars::Bars;
use cotainr::CotainrRenderer;
use json::JsonAnswer;
use renderer::{CondenseRenderer, JsonRenderer, Message, Renderer, TykkyRenderer};
use streams::Streams;
use visible::{Output, visible, visible_json};

/// Format of the messages of a run.
#[derive(Debug)]
pub(crate) enum OutputStyle {
    /// Tykky's format: all messages on standard output, with prefixes.
    Tykky,
    /// Format of `condense` itself: results on standard output, messages on standard error.
    Condense,
    /// cotainr's format: its prefixes, streams and log files.
    Cotainr(CotainrRenderer),
}

/// Terminal and output streams of a run.
pub(crate) struct Console {
    style: RwLock<Style>,
    colour: bool,
    streams: Streams,
    bars: Bars,
    answer: JsonAnswer,
    cancelled: Arc<AtomicBool>,
    started: Instant,
    /// Directory of the logs of failed build steps.
    log_dir: PathBuf,
}

/// Format of messages, and the least important level that is shown.
#[derive(Clone)]
struct Style {
    level: Level,
    renderer: Arc<dyn Renderer>,
    /// Whether messages go to standard error in every format, since the result of the run is on
    /// standard output.
    to_stderr: bool,
}

impl Style {
    fn write(&self, message: &Message<'_>, streams: &Streams) {
        if self.to_stderr {
            self.renderer.write_to_stderr(message, streams);
        } else {
            self.renderer.write(message, streams);
        }
    }

    fn uses_stdout(&self) -> bool {
        self.renderer.uses_stdout() && !self.to_stderr
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("level", &self.style().level)
            .finish_non_exhaustive()
    }
}

/// Maximum length of an answer to a question in bytes. Users do not type more.
const ANSWER_MOST: u64 = 64 << 10;

/// Returns the level for a value of Tykky's `CW_LOG_LEVEL`. A value that is not a number means
/// [`Level::Info`].
fn level_from_number(text: &str) -> Level {
    match text.trim().parse::<i64>() {
        Ok(..=0) => Level::Error,
        Ok(1) => Level::Warning,
        Ok(3..) => Level::Debug,
        _ => Level::Info,
    }
}

impl Console {
    /// Creates the console of a run. It has Tykky's style until [`Console::set_style`] is called.
    /// Level and colours come from environment variables. `cancelled` is the flag that signals set.
    pub(crate) fn new(env_vars: &EnvVars, cancelled: Arc<AtomicBool>) -> Self {
        let level = env_vars
            .get(env_vars::CW_LOG_LEVEL)
            .map_or(Level::Info, level_from_number);
        let has_drawing = env_vars
            .get(env_vars::TERM)
            .is_some_and(|name| name != "dumb");
        let colour = has_drawing
            && env_vars
                .get(env_vars::USE_COLOR)
                .is_none_or(|word| word == "yes")
            && env_vars.get(env_vars::NO_COLOR).is_none()
            && env_vars.get(env_vars::CLICOLOR) != Some("0")
            && std::io::stdout().is_terminal();
        let has_terminal = has_drawing && std::io::stderr().is_terminal();
        let started = Instant::now();
        Self {
            style: RwLock::new(Style {
                level,
                renderer: Arc::new(TykkyRenderer { colour }),
                to_stderr: false,
            }),
            colour,
            streams: Streams::of_process(),
            bars: Bars::new(has_terminal && level >= Level::Info, started),
            answer: JsonAnswer::default(),
            cancelled,
            started,
            log_dir: env_vars.cache_dir(None).join(log::DIR),
        }
    }

    fn style(&self) -> Style {
        self.style
            .read()
            .expect("no thread panics while it holds the style")
            .clone()
    }

    fn change_style(&self, change: impl FnOnce(&mut Style)) {
        let mut style = self
            .style
            .write()
            .expect("no thread panics while it holds the style");
        change(&mut style);
        if style.level < Level::Info || !style.renderer.allows_bars() {
            self.bars.hide();
        }
    }

    /// Sets the format of all further messages.
    pub(crate) fn set_style(&self, style: OutputStyle) {
        self.change_style(|current| {
            current.renderer = match style {
                OutputStyle::Tykky => Arc::new(TykkyRenderer {
                    colour: self.colour,
                }),
                OutputStyle::Condense => Arc::new(CondenseRenderer),
                OutputStyle::Cotainr(renderer) => {
                    current.level = renderer.level();
                    Arc::new(renderer)
                }
            };
        });
    }

    /// Writes all further messages as JSON, one object on each line, and draws no bars.
    pub(crate) fn set_json(&self) {
        self.change_style(|style| {
            let to_stdout = style.uses_stdout();
            style.renderer = Arc::new(JsonRenderer { to_stdout });
        });
    }

    /// Writes all further messages to standard error, in any format.
    pub(crate) fn set_messages_to_stderr(&self) {
        self.change_style(|style| style.to_stderr = true);
    }

    /// Sets the least important level that is shown. Bars are drawn only if [`Level::Info`] is
    /// shown.
    pub(crate) fn set_level(&self, level: Level) {
        self.change_style(|style| style.level = level);
    }

    /// Prints a question on standard output, as Python does, and reads one line. Returns `None` at
    /// the end of standard input.
    ///
    /// # Errors
    /// Returns an error if standard input cannot be read.
    pub(crate) fn ask(&self, question: &str) -> std::io::Result<Option<String>> {
        self.print(&visible(question));
        let mut line = String::new();
        let length = std::io::stdin()
            .lock()
            .take(ANSWER_MOST)
            .read_line(&mut line)?;
        Ok((length > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// Returns whether a signal has cancelled the run.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Shows a message about a step or a result.
    pub(crate) fn info(&self, text: impl AsRef<str>) {
        self.message(Level::Info, text.as_ref());
    }

    /// Shows a warning about a problem that does not end the run.
    pub(crate) fn warning(&self, text: impl AsRef<str>) {
        self.message(Level::Warning, text.as_ref());
    }

    /// Shows the error of a failed run with its causes and its hint.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let texts = sentences(error);
        if self.wants_json() {
            self.answer.keep(json::error_as_json(error, &texts));
        }
        let mut text = texts.join("\ncaused by: ");
        if let Some(hint) = hint(error) {
            text.push_str(&format!("\nhint: {hint}"));
        }
        self.message(Level::Error, &text);
    }

    /// Shows a secret on standard error if that is a terminal, and nowhere else. Returns whether it
    /// was shown.
    pub(crate) fn secret(&self, text: &str) -> bool {
        let has_terminal = std::io::stderr().is_terminal();
        if has_terminal {
            self.streams.err(&format!("{text}\n"));
        }
        has_terminal
    }

    /// Writes a result, which is not a message, to standard output. On a terminal, control
    /// characters are escaped.
    pub(crate) fn data(&self, text: &str) {
        self.print(&format!("{}\n", self.shown(text)));
    }

    /// Returns a text as [`Console::data`] would write it, for [`Console::coloured`].
    #[allow(clippy::unused_self, reason = "the console knows where texts go")]
    pub(crate) fn shown<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if std::io::stdout().is_terminal() {
            visible(text)
        } else {
            text.into()
        }
    }

    /// Returns whether results on standard output have colours.
    pub(crate) fn has_colour(&self) -> bool {
        self.colour
    }

    /// Writes a result that is text of this program itself and may have colours.
    pub(crate) fn coloured(&self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// Asks for the answer of the run as JSON: [`Console::json`] gives the result, and
    /// [`Console::conclude`] an error if there is no result.
    pub(crate) fn answer_in_json(&self) {
        self.answer.want();
    }

    /// Returns whether the user wants the answer as JSON.
    pub(crate) fn wants_json(&self) -> bool {
        self.answer.is_wanted()
    }

    /// Writes the result of the command `name`, for example `image-ls`, as an object whose first
    /// field is its schema.
    pub(crate) fn json(&self, name: &str, result: serde_json::Value) {
        self.answer.give();
        self.write_json(&json::with_schema(name, result));
    }

    fn write_json(&self, text: &str) {
        let text: Cow<'_, str> = if std::io::stdout().is_terminal() {
            visible_json(text)
        } else {
            text.into()
        };
        self.print(&format!("{text}\n"));
    }

    /// Writes a text about a mistake in the command line to standard error.
    pub(crate) fn usage(&self, text: &str) {
        if self.wants_json() {
            self.answer.keep(json::usage_as_json(text));
        }
        let _ = writeln!(std::io::stderr().lock(), "{}", visible(text));
    }

    /// Returns a writer for a result that is not text. On a terminal it escapes control characters,
    /// as [`Console::data`] does.
    pub(crate) fn bytes(&self) -> impl Write {
        self.answer.give();
        Output::new(self.streams.bytes(), std::io::stdout().is_terminal())
    }

    /// Writes the error of a run with `--json` that has no result. Returns the exit status of a run
    /// that would otherwise be `code`. If a result could not be
    /// written to standard output, the run has failed, and the error is reported on standard error.
    /// A closed pipe is no failure.
    pub(crate) fn conclude(&self, code: ExitCode) -> ExitCode {
        if let Some(error) = self.answer.error(code) {
            self.write_json(&error);
        }
        let Some(error) = self.streams.failure() else {
            return code;
        };
        let text = format!(
            "failed to write to standard output: {error}\nhint: {}",
            hint_for_stdout(error)
        );
        self.write_to_stderr(&self.style(), &text);
        if code == ExitCode::SUCCESS {
            ExitCode::FAILURE
        } else {
            code
        }
    }

    /// Returns a writer of bytes to standard error.
    pub(crate) fn error_bytes() -> impl Write {
        std::io::stderr()
    }

    /// Returns whether `error` is only the failure to write bytes to standard output.
    /// [`Console::conclude`] reports that failure.
    pub(crate) fn has_lost_its_bytes(&self, error: &anyhow::Error) -> bool {
        self.streams.has_lost_bytes()
            && error
                .chain()
                .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
                .any(|cause| self.streams.is_stdout_error(cause))
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn write_to_stderr(&self, style: &Style, text: &str) {
        let message = Message {
            level: Level::Error,
            text,
            seconds: self.seconds(),
        };
        let write = || style.renderer.write_to_stderr(&message, &self.streams);
        self.bars.suspend(write);
    }

    fn is_interactive(&self, style: &Style) -> bool {
        self.bars.are_shown() && style.renderer.allows_bars() && style.level >= Level::Info
    }

    fn print(&self, text: &str) {
        self.bars.suspend(|| self.streams.out(text));
    }
}

impl Reporter for Console {
    fn message(&self, level: Level, text: &str) {
        let style = self.style();
        if level > style.level {
            return;
        }
        // The text may contain anything from libraries, files and servers. Credentials are removed,
        // and control characters are escaped.
        let text = without_secrets(text);
        let text = style.renderer.escape(&text);
        let message = Message {
            level,
            text: &text,
            seconds: self.seconds(),
        };
        self.bars.suspend(|| style.write(&message, &self.streams));
        if level == Level::Error && style.uses_stdout() && self.streams.is_lost() {
            // The error is written to standard error as well, because standard output cannot be
            // written.
            self.write_to_stderr(&style, &text);
        }
    }

    fn begin(&self, phase: Phase, total: Option<u64>) {
        let is_interactive = self.is_interactive(&self.style());
        self.bars.begin(phase, total);
        // A bar without a thread of its own is redrawn only when the work advances.
        if is_interactive && condense_threads::require(1).is_ok() {
            self.bars.animate(phase);
        } else if matches!(
            phase,
            Phase::Prefix(condense_prefix::Phase::Fetch | condense_prefix::Phase::Run)
                | Phase::Pull(_)
                | Phase::Pack
        ) {
            self.info(phase.words().0);
        }
    }

    fn advance(&self, phase: Phase, amount: u64) {
        self.bars.advance(phase, amount);
    }

    fn detail(&self, phase: Phase, text: &str) {
        self.bars.detail(phase, &visible(text));
        if phase == Phase::Prefix(condense_prefix::Phase::Run)
            && !self.is_interactive(&self.style())
        {
            self.info(format!("Build step: {text}"));
        }
    }

    fn output(&self, line: &str) {
        self.bars
            .detail(Phase::Prefix(condense_prefix::Phase::Run), &visible(line));
        let style = self.style();
        let level = if self.is_interactive(&style) {
            Level::Debug
        } else {
            Level::Info
        };
        if !style
            .renderer
            .shows_output()
            .unwrap_or(level <= style.level)
        {
            return;
        }
        let line = without_secrets(line);
        let line = style.renderer.escape_output(&line);
        let message = Message {
            level,
            text: &line,
            seconds: self.seconds(),
        };
        self.bars
            .suspend(|| style.renderer.write_output(&message, &self.streams));
    }

    fn activity(&self, text: &str) {
        self.bars
            .detail(Phase::Prefix(condense_prefix::Phase::Run), &visible(text));
    }

    fn keep_log(&self, step: &str, lines: &[&str]) -> Option<PathBuf> {
        log::keep(&self.log_dir, step, lines)
    }

    fn end(&self, phase: Phase) {
        if let Some(text) = self.bars.end(phase) {
            self.info(text);
        }
    }

    fn timing(&self) -> String {
        self.bars.timing()
    }

    fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }
}

/// Returns the text of one error without its causes. A text that already contains its cause is not
/// changed.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    error.to_string().trim_end().to_owned()
}

/// Returns the texts of an error and its causes. A cause that an earlier text contains is left out.
fn sentences(error: &anyhow::Error) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = sentence(cause);
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
    }
    texts
}

/// Returns the hint for a result that could not be written to standard output.
fn hint_for_stdout(error: &std::io::Error) -> &'static str {
    hint_for_limit(&error.to_string()).unwrap_or(match error.kind() {
        std::io::ErrorKind::StorageFull => "free some space, or send it to another file",
        _ if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => {
            "standard output is closed: send it to a file, or to /dev/null"
        }
        _ => "send it to another file",
    })
}
