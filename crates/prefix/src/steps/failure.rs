//! Responsible for explaining a failure of pip or uv: the reason in one sentence, the few lines
//! that matter, and advice.
//!
//! The output of pip 19 to 25 and of uv is recognised. The tests show their words.

mod compiler;
mod index;
mod limits;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use super::diagnosis::diagnose;
pub(super) use index::{is_retry, missing_requirement, reason_of_retry};
pub(super) use limits::hint_for_status;

/// Maximum number of lines that follow the sentence.
const DETAILS_MOST: usize = 8;
/// Maximum length of a line in characters.
const LINE_MOST: usize = 240;

/// Reason why pip or uv has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipFailure {
    /// Reason in one sentence.
    pub problem: String,
    /// Lines of the output that the sentence does not repeat.
    pub details: Vec<String>,
    /// Advice in one sentence.
    pub advice: Option<String>,
    /// Whether the rest of the output may help as well, as after a compiler's errors.
    pub needs_log: bool,
}

/// Facts about the environment into which packages were installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipContext {
    /// Version of Python: `3.11`; `None` if it is not known.
    pub python: Option<String>,
    /// Lines of pip's own log about archives that it left out and pages that it did not get.
    pub log: String,
    /// Directory in which the packages were built.
    pub dir: Option<PathBuf>,
    /// Whether pip was not allowed to build packages, since there is no container.
    pub only_wheels: bool,
}

impl PipContext {
    /// Returns the Python and the machine that archives must fit.
    fn target(&self) -> String {
        let machine = std::env::consts::ARCH;
        match &self.python {
            Some(version) => format!("Python {version} on {machine}"),
            None => format!("this Python on {machine}"),
        }
    }
}

impl PipFailure {
    fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            problem: shortened(&problem.into()),
            details: Vec::new(),
            advice: Some(advice.into()),
            needs_log: false,
        }
    }

    fn with_details<S: AsRef<str>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        let mut lines = lines.into_iter();
        let shown = lines.by_ref().take(DETAILS_MOST);
        self.details = shown.map(|line| shortened(line.as_ref())).collect();
        let more = lines.count();
        if more > 0 {
            self.details.push(format!("… and {more} more lines"));
        }
        self
    }

    fn with_log(mut self) -> Self {
        self.needs_log = true;
        self
    }
}

/// Returns the reason for a failure of pip or uv with this output, or `None` if the output shows
/// none.
pub fn explain_pip_failure(lines: &[&str], context: &PipContext) -> Option<PipFailure> {
    without_uv(lines)
        .or_else(|| limits::explain(lines, context))
        .or_else(|| compiler::explain(lines, context))
        .or_else(|| explain_request(lines, context))
}

/// Explains that there is no uv. The scripts of the build steps say so after pip's own failure.
fn without_uv(lines: &[&str]) -> Option<PipFailure> {
    let mut lines = lines.iter();
    let line = lines.find(|line| line.starts_with("--uv: there is no uv"))?;
    Some(PipFailure::new(
        *line,
        "add `uv` to the conda packages, put it on PATH, or leave out `--uv`",
    ))
}

/// Explains a failure that comes before any package is built.
fn explain_request(lines: &[&str], context: &PipContext) -> Option<PipFailure> {
    hashes(lines)
        .or_else(|| conflict(lines))
        .or_else(|| index::explain(lines, context))
        .or_else(|| of_uv(lines))
        .or_else(|| other(lines))
}

/// Returns whether a line begins the text with which pip or uv ends after an error.
pub(super) fn begins_failure(line: &str) -> bool {
    let line = line.trim_start();
    ["ERROR: ", "error: ", "× "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Returns whether pip goes on with its work in a line after an error.
pub(super) fn goes_on(line: &str) -> bool {
    let starts = [
        "Collecting ",
        "Building wheel",
        "Downloading ",
        "Installing ",
        "Successfully ",
        "Running setup.py ",
    ];
    let line = line.trim_start();
    starts.iter().any(|start| line.starts_with(start))
}

/// Explains digests that do not match, or that some requirements lack.
fn hashes(lines: &[&str]) -> Option<PipFailure> {
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    if let Some(at) = at("DO NOT MATCH THE HASHES") {
        let after = &lines[at + 1..];
        let value = |name: &str| {
            let mut lines = after.iter();
            lines.find_map(|line| line.trim().strip_prefix(name).map(str::trim))
        };
        let expected = value("Expected ")?.trim_start_matches("sha256").trim();
        let package = after.iter().find(|line| !line.trim().is_empty())?;
        let package = package.split(" (from -r").next().unwrap_or(package);
        let (package, url) = package.split_once(" from ").unwrap_or((package, ""));
        return Some(
            PipFailure::new(
                format!(
                    "the archive of `{}` has another digest than the file asks for",
                    package.trim()
                ),
                HASH_ADVICE,
            )
            .with_details([
                format!("archive  {}", url.trim().trim_end_matches(':')),
                format!("expected {expected}"),
                format!("got      {}", value("Got")?),
            ]),
        );
    }
    if let Some(at) = lines.iter().position(|line| is_hash_mismatch_of_uv(line)) {
        let digests = lines[at + 1..].iter().map(|line| line.trim());
        let digests = digests.filter(|line| !line.is_empty()).take(4);
        let digests: Vec<&str> = digests.collect();
        let package = lines[at].split('`').nth(1).unwrap_or("a package");
        let problem =
            format!("the archive of `{package}` has another digest than the file asks for");
        return Some(PipFailure::new(problem, HASH_ADVICE).with_details(digests));
    }
    let advice = "write `NAME==VERSION --hash=sha256:…` for every requirement and everything that it needs, or for none; `condense lock` does without hand-written digests";
    for (text, problem) in [
        (
            "Hashes are required in --require-hashes mode",
            "some requirements have a `--hash` and these have none",
        ),
        (
            "all requirements must have their versions pinned with ==",
            "with `--hash` in the file each version must be pinned with `==`; these are not",
        ),
    ] {
        if let Some(at) = at(text) {
            let rest = indented(&lines[at + 1..]).into_iter();
            let rest = rest.map(|line| line.split(" --hash").next().unwrap_or(line));
            return Some(PipFailure::new(problem, advice).with_details(rest));
        }
    }
    None
}

const HASH_ADVICE: &str = "if the archive was replaced on purpose, write the new digest or a new lock; otherwise do not use it, somebody may have changed it";

fn is_hash_mismatch_of_uv(line: &str) -> bool {
    line.contains("Hash mismatch for `")
}

/// Explains requirements that exclude each other.
fn conflict(lines: &[&str]) -> Option<PipFailure> {
    let at = lines
        .iter()
        .position(|line| line.contains("The conflict is caused by:"))?;
    let causes = indented(&lines[at + 1..]);
    Some(
        PipFailure::new(
            "these requirements exclude each other",
            "loosen one of these versions, or leave one of the packages out",
        )
        .with_details(causes),
    )
}

/// Returns the lines at the beginning that are indented, without their indentation.
fn indented<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let lines = lines.iter().skip_while(|line| line.trim().is_empty());
    let lines = lines.take_while(|line| line.starts_with("    "));
    lines.map(|line| line.trim()).collect()
}

/// Explains a failure in uv's own words, which are short.
fn of_uv(lines: &[&str]) -> Option<PipFailure> {
    let is_start = |line: &str| {
        let line = line.trim_start();
        line.starts_with("× ") || line.starts_with("error: ")
    };
    let at = lines.iter().rposition(|line| is_start(line))?;
    let cause = |line: &str| {
        let line = line.trim_start();
        let marks = ["cause: ", "Caused by: ", "╰─▶ ", "├─▶ ", "╰─> "];
        let mut marks = marks.iter();
        marks
            .find_map(|mark| line.strip_prefix(mark))
            .map(str::to_owned)
    };
    let first = lines[at].trim_start();
    let first = first
        .trim_start_matches("× ")
        .trim_start_matches("error: ")
        .trim();
    let rest = &lines[at + 1..];
    let hint = rest
        .iter()
        .find_map(|line| line.trim_start().strip_prefix("hint: "));
    let causes: Vec<String> = rest.iter().filter_map(|line| cause(line)).collect();
    if let Some(reason) = causes.iter().find(|reason| reason.starts_with("Because ")) {
        let reason = reason.replacen("Because ", "because ", 1);
        let further = rest.iter().map(|line| line.trim());
        let further = further.filter(|line| line.starts_with("And because "));
        let further: Vec<String> = further.map(|line| ended(line).to_owned()).collect();
        let advice = hint.unwrap_or("ask for versions that exist and fit each other");
        return Some(
            PipFailure::new(format!("no solution, {}", ended(&reason)), ended(advice))
                .with_details(further),
        );
    }
    if causes.is_empty() {
        return None;
    }
    if let Some((url, reason)) = index::unreachable_for_uv(first, &causes) {
        return Some(index::no_answer(&url, &reason));
    }
    let problem = format!("{}: {}", lower_first(first), causes.join(": "));
    Some(PipFailure {
        advice: hint.map(|hint| ended(hint).to_owned()),
        ..PipFailure::new(problem, "").with_log()
    })
}

/// Explains a failure by pip's own last error.
fn other(lines: &[&str]) -> Option<PipFailure> {
    let errors = lines
        .iter()
        .filter_map(|line| line.trim_start().strip_prefix("ERROR: "));
    let errors: Vec<&str> = errors.collect();
    let text = errors
        .iter()
        .rev()
        .find(|text| !text.starts_with("Exception:"))?;
    if let Some(found) = diagnose(text) {
        return Some(PipFailure::new(found.problem, found.advice));
    }
    let advice = if text.contains("is not a supported wheel on this platform") {
        Some("ask for a wheel for this Python and machine, or name the package without its file")
    } else if text.contains("Invalid requirement") {
        Some("correct the line: a name, then versions, such as `rich>=13`")
    } else if text.contains("neither 'setup.py' nor 'pyproject.toml' found") {
        Some("name the directory that has the project's pyproject.toml")
    } else {
        None
    };
    Some(PipFailure {
        advice: advice.map(str::to_owned),
        ..PipFailure::new(lower_first(ended(text)), "").with_log()
    })
}

/// Returns what builds a package lacks, if an output line names it.
fn missing_program(lines: &[&str]) -> Option<(String, String)> {
    let found = lines.iter().find_map(|line| diagnose(line))?;
    Some((found.problem, found.advice))
}

fn ended(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}

/// Returns a text whose first word has a small letter, unless it is a name or an abbreviation.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let second_is_lower = text.chars().nth(1).is_some_and(char::is_lowercase);
    match chars.next() {
        Some(first) if second_is_lower => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// Returns a line that is not longer than a few lines of a terminal.
pub(super) fn shortened(line: &str) -> String {
    let line = index::with_few_versions(line);
    if line.chars().count() <= LINE_MOST {
        return line.into_owned();
    }
    let start: String = line.chars().take(LINE_MOST).collect();
    format!("{start}…")
}
