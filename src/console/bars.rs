//! Responsible for the progress of phases: progress bars on a terminal, the time of each phase, and
//! the line for the log at its end.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use condense_build::Phase;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::streams::Screen;

/// Bars of the active phases, and times of those that have ended.
pub(super) struct Bars {
    multi: MultiProgress,
    are_shown: bool,
    active: Mutex<HashMap<Phase, Active>>,
    times: Mutex<Vec<(Phase, Duration)>>,
    started: Instant,
}

struct Active {
    bar: ProgressBar,
    since: Instant,
    done: AtomicU64,
}

impl Bars {
    /// Creates bars. They are drawn on standard error if `are_shown`, and otherwise only measure
    /// times. `started` is the start of the run.
    pub(super) fn new(are_shown: bool, started: Instant) -> Self {
        let target = if are_shown {
            ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 12)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            multi: MultiProgress::with_draw_target(target),
            are_shown,
            active: Mutex::default(),
            times: Mutex::default(),
            started,
        }
    }

    /// Returns whether the terminal can show bars.
    pub(super) fn are_shown(&self) -> bool {
        self.are_shown
    }

    /// Stops drawing the bars.
    pub(super) fn hide(&self) {
        self.multi.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Clears the bars while `write` writes to the terminal.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        self.multi.suspend(write);
    }

    /// Starts a phase with a bar, or with a spinner if the amount of work is unknown.
    pub(super) fn begin(&self, phase: Phase, total: Option<u64>) {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let bar = self.multi.add(bar);
        let template = template(total.is_some(), phase.is_in_bytes(), Screen::columns());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(phase.words().0);
        let active = Active {
            bar,
            since: Instant::now(),
            done: AtomicU64::new(0),
        };
        self.lock().insert(phase, active);
    }

    /// Starts a thread that redraws the bar of a phase several times per second.
    pub(super) fn animate(&self, phase: Phase) {
        if let Some(active) = self.lock().get(&phase) {
            active.bar.enable_steady_tick(Duration::from_millis(120));
        }
    }

    /// Adds to the finished amount of work of a phase.
    pub(super) fn advance(&self, phase: Phase, amount: u64) {
        if let Some(active) = self.lock().get(&phase) {
            active.done.fetch_add(amount, Ordering::Relaxed);
            active.bar.inc(amount);
        }
    }

    /// Shows a text after the bar of a phase.
    pub(super) fn detail(&self, phase: Phase, text: &str) {
        if let Some(active) = self.lock().get(&phase) {
            active.bar.set_message(text.to_owned());
        }
    }

    /// Ends a phase. Returns its line for the log, or `None` if the phase had not begun.
    pub(super) fn end(&self, phase: Phase) -> Option<String> {
        let active = self.lock().remove(&phase)?;
        active.bar.finish_and_clear();
        self.multi.remove(&active.bar);
        let took = active.since.elapsed();
        self.lock_times().push((phase, took));
        let done = active.done.load(Ordering::Relaxed);
        let amount = match done {
            0 => String::new(),
            _ if phase.is_in_bytes() => format!(", {}", HumanBytes(done)),
            _ => format!(" ({done})"),
        };
        let seconds = took.as_secs_f64();
        Some(format!("{}{amount} in {seconds:.1} s", phase.words().1))
    }

    /// Returns one line with the seconds of each ended phase and of the run.
    pub(super) fn timing(&self) -> String {
        let times = self.lock_times();
        let words: Vec<String> = times
            .iter()
            .map(|(phase, took)| format!("{} {:.2} s", phase.short(), took.as_secs_f64()))
            .collect();
        format!(
            "{}; {:.2} s in all",
            words.join(", "),
            self.started.elapsed().as_secs_f64()
        )
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Phase, Active>> {
        self.active
            .lock()
            .expect("no thread panics while it holds the bars")
    }

    fn lock_times(&self) -> MutexGuard<'_, Vec<(Phase, Duration)>> {
        self.times
            .lock()
            .expect("no thread panics while it holds the times")
    }
}

/// Returns the form of a bar on a terminal with this number of columns. The last part takes the
/// rest of the line, and nothing if there is none, so that no line wraps.
fn template(has_total: bool, is_in_bytes: bool, columns: u16) -> &'static str {
    match (columns, has_total, is_in_bytes) {
        (40.., false, _) => "{spinner} {prefix} {elapsed} {wide_msg}",
        (90.., true, true) => "{prefix:20} [{bar:20}] {bytes}/{total_bytes} {elapsed} {wide_msg}",
        (90.., true, false) => "{prefix:20} [{bar:20}] {pos}/{len} {elapsed} {wide_msg}",
        (60.., true, true) => "{prefix} [{bar:8}] {percent}% {elapsed} {wide_msg}",
        (60.., true, false) => "{prefix} [{bar:8}] {pos}/{len} {elapsed} {wide_msg}",
        (40.., true, true) => "{prefix} {percent}% {wide_msg}",
        (40.., true, false) => "{prefix} {pos}/{len} {wide_msg}",
        (_, true, true) => "{percent}% {wide_msg}",
        (_, true, false) => "{pos}/{len} {wide_msg}",
        (_, false, _) => "{spinner} {wide_msg}",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use indicatif::TermLike;

    use super::*;

    /// Terminal that remembers what is drawn.
    #[derive(Debug, Clone)]
    struct Drawn {
        columns: u16,
        text: Arc<Mutex<String>>,
    }

    impl Drawn {
        fn add(&self, text: &str) {
            self.text.lock().unwrap().push_str(text);
        }
    }

    impl TermLike for Drawn {
        fn width(&self) -> u16 {
            self.columns
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.add(text);
            self.add("\n");
            Ok(())
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.add(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.add("\n");
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Row B30: no line is longer than the terminal, whatever its width and its phase.
    #[test]
    fn bars_do_not_wrap_on_narrow_terminals() {
        let phases = [
            Phase::Publish,
            Phase::Pack,
            Phase::Prefix(condense_prefix::Phase::Run),
            Phase::Prefix(condense_prefix::Phase::Fetch),
        ];
        for (columns, phase, has_total) in [20, 39, 40, 59, 60, 89, 90, 200]
            .into_iter()
            .flat_map(|columns| phases.map(|phase| (columns, phase)))
            .flat_map(|(columns, phase)| [true, false].map(|total| (columns, phase, total)))
        {
            let drawn = Drawn {
                columns,
                text: Arc::default(),
            };
            let target = ProgressDrawTarget::term_like(Box::new(drawn.clone()));
            let in_bytes = phase.is_in_bytes();
            let total = if in_bytes { 1_234_567_890 } else { 312 };
            let bar = ProgressBar::with_draw_target(has_total.then_some(total), target);
            let form = template(has_total, in_bytes && has_total, columns);
            bar.set_style(ProgressStyle::with_template(form).unwrap());
            bar.set_prefix(phase.words().0);
            bar.set_message("downloading 3 of 12: a-very-long-name-1.0-py3-none-any.whl (18 MB)");
            bar.set_position(total - 7);
            bar.force_draw();
            let text = drawn.text.lock().unwrap();
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(
                longest.is_some_and(|longest| longest > 5),
                "{columns} {phase:?}: {text}"
            );
            let most = usize::from(columns);
            assert!(longest <= Some(most), "{columns} {phase:?}: {text}");
        }
    }
}
