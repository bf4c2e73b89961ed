//! Responsible for all speech: the only file that prints.
//!
//! In Tykky's dialect everything a script may look for goes to standard output with its prefix (`[
//! INFO ]`, `[ WARNING ]`, `[ ERROR ]`), errors included. Bars go to standard error and only to a
//! terminal; elsewhere every step is one line.

pub(crate) mod cotainr;
mod part;
mod refusal;
mod streams;
mod visible;

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{BufRead, IsTerminal, Read, Write},
    process::ExitCode,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use condense_oci::Stage as PullStage;
use condense_prefix::{Stage, Warning, without_secrets};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) use condense_diagnostics::UserError;
pub(crate) use part::Part;
pub(crate) use refusal::hint;
use streams::{Screen, Streams};
use visible::{Output, visible, visible_json, visible_output};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Errors only.
    Error,
    /// And warnings.
    Warning,
    /// And each step.
    Info,
    /// And what steps print, with the time of day.
    Debug,
}

impl Level {
    /// From Tykky's `CW_LOG_LEVEL`; anything that is no number means the default.
    pub(crate) fn from_number(text: &str) -> Self {
        match text.trim().parse::<i64>() {
            Ok(..=0) => Self::Error,
            Ok(1) => Self::Warning,
            Ok(3..) => Self::Debug,
            _ => Self::Info,
        }
    }
}

/// Whose words and streams are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Tykky's: everything on standard output, with its prefixes.
    Tykky,
    /// `condense`'s own: results on standard output, messages on standard error.
    House,
}

/// The voice of one run.
pub(crate) struct Report {
    level: AtomicU8,
    colour: bool,
    house: AtomicBool,
    json: AtomicBool,
    cotainr: OnceLock<cotainr::Voice>,
    streams: Streams,
    bars: MultiProgress,
    interactive: bool,
    active: Mutex<HashMap<Part, Active>>,
    cancelled: Arc<AtomicBool>,
    times: Mutex<Vec<(Part, Duration)>>,
    started: Instant,
}

struct Active {
    bar: ProgressBar,
    since: Instant,
    done: AtomicU64,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("level", &self.level())
            .finish_non_exhaustive()
    }
}

/// Most bytes of an answer to a question. No user types more.
const ANSWER_MOST: u64 = 64 << 10;

/// Lines that follow the first are indented to stand under its text.
const INDENT: &str = "         ";

impl Report {
    /// A voice that says what `level` allows; `cancelled` is set by signals.
    pub(crate) fn new(level: Level, colour_wanted: bool, cancelled: Arc<AtomicBool>) -> Self {
        let interactive =
            std::io::stderr().is_terminal() && !has_dumb_terminal() && level >= Level::Info;
        let target = if interactive {
            ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 12)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            level: AtomicU8::new(level as u8),
            colour: colour_wanted && std::io::stdout().is_terminal(),
            house: AtomicBool::new(false),
            json: AtomicBool::new(false),
            cotainr: OnceLock::new(),
            streams: Streams::of_process(),
            bars: MultiProgress::with_draw_target(target),
            interactive,
            active: Mutex::default(),
            cancelled,
            times: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// From now on in these words.
    pub(crate) fn speak(&self, speech: Speech) {
        let house = speech == Speech::House;
        self.house.store(house, Ordering::Relaxed);
    }

    /// From now on in cotainr's words, as loud as its flags say; the first voice stays.
    pub(crate) fn speak_as_cotainr(&self, voice: cotainr::Voice) {
        let voice = self.cotainr.get_or_init(|| voice);
        self.set_level(voice.level());
    }

    /// Asks on standard output, as Python does, and reads one line; nothing when there is none to
    /// come.
    ///
    /// # Errors
    /// Standard input that cannot be read.
    pub(crate) fn ask(&self, question: &str) -> std::io::Result<Option<String>> {
        self.print(&visible(question));
        let mut line = String::new();
        let length = std::io::stdin()
            .lock()
            .take(ANSWER_MOST)
            .read_line(&mut line)?;
        Ok((length > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// From now on as much as this; bars go where nothing but errors is wanted.
    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        if level < Level::Info {
            self.bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// From now on one JSON object a line, and no bars: `{"seconds": since the start, "level": …,
    /// "message": …}`.
    pub(crate) fn set_json(&self) {
        self.json.store(true, Ordering::Relaxed);
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Error,
            1 => Level::Warning,
            2 => Level::Info,
            _ => Level::Debug,
        }
    }

    fn is_json(&self) -> bool {
        self.json.load(Ordering::Relaxed)
    }

    fn is_interactive(&self) -> bool {
        self.interactive && !self.is_json() && self.level() >= Level::Info
    }

    /// True once a signal asked to stop.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The flag itself, for crates that look at it in their own loops.
    pub(crate) fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// A step or a result.
    pub(crate) fn info(&self, text: impl AsRef<str>) {
        self.say(Level::Info, "INFO", "32", text.as_ref());
    }

    /// Something is not as it should be, but the work goes on.
    pub(crate) fn warning(&self, text: impl AsRef<str>) {
        self.say(Level::Warning, "WARNING", "33", text.as_ref());
    }

    /// Detail for those who asked for it.
    pub(crate) fn debug(&self, text: impl AsRef<str>) {
        if self.level() >= Level::Debug {
            self.say(Level::Debug, &self.debug_word(), "36", text.as_ref());
        }
    }

    fn debug_word(&self) -> String {
        format!("DEBUG {:.2}s", self.started.elapsed().as_secs_f64())
    }

    /// Why the run failed: the error, its causes, and the way out.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let mut text = sentence(error.as_ref());
        let mut said = text.clone();
        for cause in error.chain().skip(1) {
            let cause_text = sentence(cause);
            if !said.contains(&cause_text) {
                text.push_str(&format!("\ncaused by: {cause_text}"));
                said.push_str(&cause_text);
            }
        }
        if let Some(hint) = hint(error) {
            text.push_str(&format!("\nhint: {hint}"));
        }
        self.say(Level::Error, "ERROR", "31", &text);
    }

    /// Writes a result that is not a message to standard output. On a terminal, characters that
    /// would act on it are written out.
    pub(crate) fn data(&self, text: &str) {
        let text: Cow<'_, str> = if std::io::stdout().is_terminal() {
            visible(text)
        } else {
            text.into()
        };
        self.print(&format!("{text}\n"));
    }

    /// Writes a result in this program's own words, which may have colours.
    pub(crate) fn coloured(&self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// Returns a writer for a result that is not text. It treats terminals as [`Report::data`]
    /// does.
    pub(crate) fn bytes(&self) -> impl Write {
        Output::new(self.streams.bytes(), std::io::stdout().is_terminal())
    }

    /// Returns the exit status of a run that would end with `code`. A result that standard output
    /// did not take is a failure, which is reported on standard error. A reader that has stopped
    /// reading is no failure.
    pub(crate) fn conclude(&self, code: ExitCode) -> ExitCode {
        let Some(error) = self.streams.failure() else {
            return code;
        };
        self.problem(&format!(
            "failed to write to standard output: {error}\nhint: {}",
            refusal::hint_of_stream(error)
        ));
        if code == ExitCode::SUCCESS {
            ExitCode::FAILURE
        } else {
            code
        }
    }

    /// Returns whether a run has failed only because standard output did not take its bytes.
    /// [`Report::conclude`] reports that failure.
    pub(crate) fn has_lost_its_bytes(&self, error: &anyhow::Error) -> bool {
        self.streams.has_lost_bytes()
            && error
                .chain()
                .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
                .any(|cause| self.streams.has_said(cause))
    }

    /// Writes an error to standard error, in the form of the command that runs.
    fn problem(&self, text: &str) {
        let line = if let Some(voice) = self.cotainr.get() {
            let said = voice.say(Level::Error, text);
            self.bars.suspend(|| said.write(&self.streams));
            return;
        } else if self.is_json() {
            self.as_json("ERROR", text)
        } else if self.house.load(Ordering::Relaxed) {
            in_house_words(Level::Error, text)
        } else {
            in_tykky_s_words("ERROR", text)
        };
        self.bars.suspend(|| self.streams.err(&line));
    }

    fn say(&self, level: Level, word: &str, colour: &str, text: &str) {
        // A library, a file or a server may have put anything into the text. Credentials are left
        // out, and characters that act on a terminal are written out.
        let text = without_secrets(text);
        let text = if self.is_json() { text } else { visible(&text) };
        self.write(level, word, colour, &text);
    }

    /// Reports a line of a program, which may have colours.
    fn say_output(&self, level: Level, word: &str, colour: &str, line: &str) {
        let line = without_secrets(line);
        let line = if self.is_json() {
            line
        } else {
            visible_output(&line)
        };
        self.write(level, word, colour, &line);
    }

    fn write(&self, level: Level, word: &str, colour: &str, text: &str) {
        if level > self.level() {
            return;
        }
        if let Some(voice) = self.cotainr.get() {
            self.bars
                .suspend(|| voice.say(level, text).write(&self.streams));
            return;
        }
        let house = self.house.load(Ordering::Relaxed);
        let out = if self.is_json() {
            self.as_json(word, text)
        } else if house {
            in_house_words(level, text)
        } else if self.colour {
            in_tykky_s_words(&format!("\x1b[{colour}m{word}\x1b[0m"), text)
        } else {
            in_tykky_s_words(word, text)
        };
        if house {
            self.bars.suspend(|| self.streams.err(&out));
            return;
        }
        self.print(&out);
        if level == Level::Error && self.streams.is_lost() {
            // A lost standard output shows no error, so standard error gets it as well.
            self.problem(text);
        }
    }

    fn as_json(&self, word: &str, text: &str) -> String {
        let line = serde_json::json!({
            "seconds": (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "level": word.split(' ').next().unwrap_or(word).to_lowercase(),
            "message": text,
        });
        format!("{}\n", visible_json(&line.to_string()))
    }

    fn print(&self, text: &str) {
        self.bars.suspend(|| self.streams.out(text));
    }

    /// A part begins; `total` in bytes or pieces.
    pub(crate) fn begin(&self, part: Part, total: Option<u64>) {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let bar = self.bars.add(bar);
        let template = match (total, part.in_bytes()) {
            (None, _) => "{spinner} {prefix} {wide_msg}",
            (_, true) => "{prefix:20} [{bar:30}] {bytes}/{total_bytes} {wide_msg}",
            (_, false) => "{prefix:20} [{bar:30}] {pos}/{len} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(part.words().0);
        // A bar without a thread of its own moves only when the work does.
        if self.is_interactive() && condense_threads::require(1).is_ok() {
            bar.enable_steady_tick(Duration::from_millis(120));
        } else if matches!(
            part,
            Part::Prefix(Stage::Fetch | Stage::Run) | Part::Pull(_) | Part::Pack
        ) {
            self.info(part.words().0);
        }
        let active = Active {
            bar,
            since: Instant::now(),
            done: AtomicU64::new(0),
        };
        self.lock_active().insert(part, active);
    }

    /// A part has come further.
    pub(crate) fn advance(&self, part: Part, amount: u64) {
        if let Some(active) = self.lock_active().get(&part) {
            active.done.fetch_add(amount, Ordering::Relaxed);
            active.bar.inc(amount);
        }
    }

    fn detail(&self, part: Part, text: &str) {
        if let Some(active) = self.lock_active().get(&part) {
            active.bar.set_message(visible(text).into_owned());
        }
    }

    /// A part has ended; its line stays.
    pub(crate) fn end(&self, part: Part) {
        let Some(active) = self.lock_active().remove(&part) else {
            return;
        };
        active.bar.finish_and_clear();
        self.bars.remove(&active.bar);
        let took = active.since.elapsed();
        let done = active.done.load(Ordering::Relaxed);
        let amount = match done {
            0 => String::new(),
            _ if part.in_bytes() => format!(", {}", HumanBytes(done)),
            _ => format!(" ({done})"),
        };
        self.info(format!(
            "{}{amount} in {:.1} s",
            part.words().1,
            took.as_secs_f64()
        ));
        self.times
            .lock()
            .expect("no thread panics while it holds the times")
            .push((part, took));
    }

    /// Seconds of every part so far, on one line.
    pub(crate) fn timing(&self) -> String {
        let times = self
            .times
            .lock()
            .expect("no thread panics while it holds the times");
        let words: Vec<String> = times
            .iter()
            .map(|(part, took)| format!("{} {:.2} s", part.short(), took.as_secs_f64()))
            .collect();
        format!(
            "{}; {:.2} s in all",
            words.join(", "),
            self.started.elapsed().as_secs_f64()
        )
    }

    fn lock_active(&self) -> std::sync::MutexGuard<'_, HashMap<Part, Active>> {
        self.active
            .lock()
            .expect("no thread panics while it holds the bars")
    }
}

impl condense_prefix::Progress for Report {
    fn begin(&self, stage: Stage, total: Option<u64>) {
        self.begin(Part::Prefix(stage), total);
    }

    fn advance(&self, stage: Stage, amount: u64) {
        self.advance(Part::Prefix(stage), amount);
    }

    fn detail(&self, stage: Stage, text: &str) {
        self.detail(Part::Prefix(stage), text);
        if stage == Stage::Run && !self.is_interactive() {
            self.info(format!("Build step: {text}"));
        }
    }

    fn output(&self, line: &str) {
        self.detail(Part::Prefix(Stage::Run), line);
        if let Some(voice) = self.cotainr.get() {
            if voice.says_output() {
                let line = without_secrets(line);
                let line = visible_output(&line);
                self.bars
                    .suspend(|| voice.output(&line).write(&self.streams));
            }
        } else if self.is_interactive() {
            self.say_output(Level::Debug, &self.debug_word(), "36", line);
        } else {
            self.say_output(Level::Info, "INFO", "32", line);
        }
    }

    fn end(&self, stage: Stage, _took: Duration) {
        self.end(Part::Prefix(stage));
    }

    fn cancelled(&self) -> bool {
        self.cancelled()
    }

    fn warn(&self, warning: Warning) {
        match warning {
            Warning::Message { .. } | Warning::Notice(_) => self.info(warning.to_string()),
            _ => self.warning(warning.to_string()),
        }
    }
}

impl condense_oci::Progress for Report {
    fn begin(&self, stage: PullStage, bytes: u64) {
        self.begin(Part::Pull(stage), Some(bytes));
    }

    fn advance(&self, stage: PullStage, bytes: u64) {
        self.advance(Part::Pull(stage), bytes);
    }

    fn end(&self, stage: PullStage) {
        self.end(Part::Pull(stage));
    }

    fn warn(&self, text: String) {
        self.warning(text);
    }
}

impl condense_image::Progress for Report {
    fn packed(&self, bytes: u64) {
        self.advance(Part::Pack, bytes);
    }
}

/// Returns whether the terminal says that it can draw nothing.
fn has_dumb_terminal() -> bool {
    std::env::var_os("TERM").is_none_or(|name| name == "dumb")
}

/// Returns the text in Tykky's form: the first line with a prefix, the others below its text.
fn in_tykky_s_words(word: &str, text: &str) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        if number == 0 {
            out.push_str(&format!("[ {word} ] {line}\n"));
        } else {
            out.push_str(&format!("{INDENT}{line}\n"));
        }
    }
    out
}

/// `condense`'s own form: information as it is, anything worse with its name.
fn in_house_words(level: Level, text: &str) -> String {
    let prefix = match level {
        Level::Error => "error: ",
        Level::Warning => "warning: ",
        Level::Info | Level::Debug => "",
    };
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let start = if number == 0 { prefix } else { "  " };
        out.push_str(&format!("{start}{line}\n"));
    }
    out
}

/// One error without its causes; a text that already ends with its cause keeps it.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    error.to_string().trim_end().to_owned()
}

/// How the program is called; goes to standard error.
pub(crate) fn usage(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(text));
}
