//! Responsible for reading what `capture.bash` left behind.

use super::{
    Error,
    capture::unreadable,
    log::{self, Event},
    worlds::Environment,
};
use crate::within::Within;

/// What a world's shell was like before the first script, or after one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// What a program would get.
    pub(super) variables: Environment,
    /// umask, working directory, options, limits: what a program inherits besides, or a later
    /// script would notice.
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
    build_dir: &Within,
    world: usize,
    scripts: usize,
) -> Result<Option<Outcome>, Error> {
    let path = |suffix: &str| format!("{world:03}.{suffix}");
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
        // 124: ended by the limit; 137: killed, since it did not end then either.
        timed_out: text("status")?.is_some_and(|status| status == "124" || status == "137"),
        output: last_lines(&text("output")?.unwrap_or_default()),
    }))
}

/// What the texts of a state are, behind the variables.
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
    // Every text is ended: what is left is nothing, or a state that broke off.
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

/// Reads what `declare -xp` prints: `declare -x NAME="VALUE"`, where other letters may stand beside
/// the x. Arrays are not passed to programs, nor variables without a value.
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
