//! Responsible for parsing the result files of `capture.bash`.

use super::{
    Error,
    capture::unreadable,
    log::{self, Event},
    trials::Environment,
};
use condense_within::Within;

/// State of the shell of a trial before the first script, or after a script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Environment variables that a program would inherit.
    pub(super) variables: Environment,
    /// umask, working directory, options, limits: settings that a program inherits or that a later
    /// script would notice.
    pub(super) shell: Environment,
}

/// Result of one trial.
#[derive(Debug)]
pub(super) struct Outcome {
    /// State before the first script, then after each finished script.
    pub(super) states: Vec<State>,
    /// Commands that ran, per script; empty for the real activation.
    pub(super) logs: Vec<Vec<Event>>,
    /// Script that the guard ended before a command, and that command.
    pub(super) stopped: Option<(usize, String)>,
    /// Number of the script that was started last.
    pub(super) at: Option<usize>,
    /// Whether all scripts of this trial were finished.
    pub(super) whole: bool,
    /// Whether the time limit ended the trial.
    pub(super) timed_out: bool,
    /// Last lines that the scripts printed.
    pub(super) output: String,
}

/// Number of lines of a script's output that an error shows.
const SHOWN_LINES: usize = 20;

/// Reads the results of one trial; `None` if the trial was not run.
pub(super) fn load(
    build_dir: &Within,
    trial: usize,
    scripts: usize,
) -> Result<Option<Outcome>, Error> {
    let path = |suffix: &str| format!("{trial:03}.{suffix}");
    let read = |suffix: &str| build_dir.read(path(suffix)).map_err(unreadable);
    if read("output")?.is_none() {
        return Ok(None);
    }
    let states = read("states")?.unwrap_or_default();
    let mut logs = Vec::new();
    for script in 0..scripts {
        logs.push(read(&format!("{script}.log"))?.map_or_else(Vec::new, |log| log::parse(&log)));
    }
    let text = |suffix: &str| -> Result<Option<String>, Error> {
        Ok(read(suffix)?.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
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
        whole: build_dir.is_file(path("whole")),
        // `timeout` exits with 124 if it ended the shell at the limit, and with 137 if it had to
        // kill the shell because the shell did not end at the limit.
        timed_out: text("status")?.is_some_and(|status| status == "124" || status == "137"),
        output: last_lines(&text("output")?.unwrap_or_default()),
    }))
}

/// Meanings of the texts of a state that follow the variables.
const SETTINGS: [&str; 6] = [
    "functions",
    "umask",
    "limits",
    "working directory",
    "options",
    "separators",
];

fn parse_states(bytes: &[u8]) -> Vec<State> {
    let mut texts: Vec<&[u8]> = bytes.split(|&byte| byte == 0).collect();
    // Every text is ended by NUL: the rest is empty, or an incomplete state.
    texts.pop();
    let states = texts.chunks_exact(SETTINGS.len() + 1);
    states
        .map(|texts| State {
            variables: parse_declarations(&String::from_utf8_lossy(texts[0])),
            shell: SETTINGS
                .iter()
                .zip(&texts[1..])
                .map(|(setting, text)| {
                    (
                        (*setting).to_owned(),
                        String::from_utf8_lossy(text).into_owned(),
                    )
                })
                .collect(),
        })
        .collect()
}

/// Parses the output of `declare -xp`: `declare -x NAME="VALUE"`, possibly with other letters
/// beside the x. Programs do not inherit arrays, nor variables without a value.
fn parse_declarations(text: &str) -> Environment {
    let mut variables = Environment::new();
    let mut words = log::split_words(text).into_iter();
    while let Some(word) = words.next() {
        if word != "declare" {
            continue;
        }
        let flags = words.next().unwrap_or_default();
        let declared = words.next().unwrap_or_default();
        let passed = !flags.contains(['a', 'A']);
        if let Some((name, value)) = log::assignment(&declared).filter(|_| passed) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    variables
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Environment, parse_states};

    #[test]
    fn states() {
        let first = "declare -x A=\"a \\\"b\\\" \\$c\nd\"\ndeclare -rx B=$'\\305\\200'\ndeclare -x C\ndeclare -ax D=([0]=\"x\")\n";
        let states = parse_states(format!("{first}\0\00022\n\0l\0/\0o\0 \t\0half").as_bytes());
        assert_eq!(states.len(), 1);
        let expected = [("A", "a \"b\" $c\nd"), ("B", "\u{140}")];
        let expected: Environment = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(states[0].variables, expected);
        assert_eq!(states[0].shell["umask"], "0022\n");
        assert_eq!(states[0].shell["separators"], " \t");
    }
}
