//! Responsible for reading what `capture.bash` left behind.

use std::path::Path;

use super::{
    Error,
    capture::read_existing,
    log::{self, Event},
    worlds::Environment,
};

/// What a world's shell was like before the first script, or after one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// What a program would get.
    pub(super) variables: Environment,
    /// umask, working directory, options, limits: what a program inherits besides, or a later script would notice.
    pub(super) shell: Environment,
}

/// What happened in one world.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Before the first script, then after each that was left.
    pub(super) states: Vec<State>,
    /// Per script, the commands that ran; none for the real activation.
    pub(super) logs: Vec<Vec<Event>>,
    /// The script that the guard ended before a command, and that command.
    pub(super) stopped: Option<(usize, String)>,
    /// The script that was begun last.
    pub(super) at: Option<usize>,
    /// Whether all scripts of this world were left.
    pub(super) whole: bool,
    /// Whether the time limit ended it.
    pub(super) timed_out: bool,
    /// The last lines of what the scripts printed.
    pub(super) output: String,
}

/// Lines of a script's output that an error shows.
const SHOWN_LINES: usize = 20;

/// Reads one world's results; none where it was not tried.
pub(super) fn load(
    build_dir: &Path,
    world: usize,
    scripts: usize,
) -> Result<Option<Outcome>, Error> {
    let path = |suffix: &str| build_dir.join(format!("{world:03}.{suffix}"));
    let Some(states) = read_existing(&path("states"))? else {
        return Ok(None);
    };
    let mut logs = Vec::new();
    for script in 0..scripts {
        logs.push(
            read_existing(&path(&format!("{script}.log")))?
                .map_or_else(Vec::new, |log| log::parse(&log)),
        );
    }
    let text = |suffix: &str| -> Result<Option<String>, Error> {
        Ok(read_existing(&path(suffix))?
            .map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    };
    let stopped = text("stopped")?.and_then(|line| {
        let (script, command) = line.split_once(' ')?;
        Some((script.parse().ok()?, command.to_owned()))
    });
    Ok(Some(Outcome {
        states: parse_states(&states),
        logs,
        stopped,
        at: text("at")?.and_then(|number| number.parse().ok()),
        whole: path("whole").exists(),
        // 124: ended by the limit; 137: killed, since it did not end then either.
        timed_out: text("status")?.is_some_and(|status| status == "124" || status == "137"),
        output: last_lines(&text("output")?.unwrap_or_default()),
    }))
}

fn parse_states(bytes: &[u8]) -> Vec<State> {
    let mut states = Vec::new();
    let mut state = State::default();
    let mut entries: Vec<&[u8]> = bytes.split(|&byte| byte == 0).collect();
    entries.pop(); // Every entry is ended: what is left is nothing, or a dump that broke off.
    for entry in entries {
        if entry.is_empty() {
            states.push(std::mem::take(&mut state));
            continue;
        }
        let entry = String::from_utf8_lossy(entry);
        let Some((name, value)) = entry.split_once('=') else {
            continue;
        };
        match name.strip_prefix('@') {
            Some(setting) => state.shell.insert(setting.to_owned(), value.to_owned()),
            None => state.variables.insert(name.to_owned(), value.to_owned()),
        };
    }
    states
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
