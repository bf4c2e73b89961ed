//! Responsible for packages that could not be built from source.

use super::{PipContext, PipFailure, explain_request, missing_program};

/// Number of lines that are shown of the end of a compiler's output.
const LAST_LINES: usize = 6;
/// Number of lines that are shown from the first error, if it comes earlier.
const FIRST_LINES: usize = 3;
/// Texts around the compiler's own error.
const MARKS: [&str; 4] = [
    ": error: ",
    ": fatal error: ",
    "undefined reference to",
    "ERROR: ",
];
const ADVICE: &str =
    "ask for a version that has wheels for this Python, or take the package from conda-forge";

/// Output of a build, and the name of its package.
struct Build<'a> {
    package: Option<String>,
    /// Work that failed, in pip's words.
    work: &'a str,
    lines: Vec<&'a str>,
}

/// Explains the failure of a build.
pub(super) fn explain(lines: &[&str], context: &PipContext) -> Option<PipFailure> {
    let build = of_pip(lines)
        .or_else(|| of_old_pip(lines))
        .or_else(|| of_uv(lines))?;
    let package = match &build.package {
        Some(name) => format!("`{name}`"),
        None => "a package".to_owned(),
    };
    let installs_tools = build.work.contains("install build dependencies");
    if installs_tools && let Some(inner) = explain_request(&build.lines, context) {
        return Some(PipFailure {
            problem: format!(
                "what {package} is built with cannot be installed: {}",
                inner.problem
            ),
            ..inner
        });
    }
    let found = missing_program(&build.lines);
    let (reason, advice) = found.unwrap_or_else(|| (reason(&build), ADVICE.to_owned()));
    Some(
        PipFailure::new(format!("{package} cannot be built: {reason}"), advice)
            .with_details(excerpt(&build.lines))
            .with_log(),
    )
}

/// Returns the reason in the compiler's words, or else the work that failed.
fn reason(build: &Build) -> String {
    let mut lines = build.lines.iter().rev().map(|line| line.trim());
    if let Some(module) = lines.find_map(|line| {
        let rest = line.strip_prefix("ModuleNotFoundError: No module named '")?;
        rest.strip_suffix('\'')
    }) {
        return format!("its build needs the Python module `{module}`");
    }
    let mut lines = build.lines.iter();
    let of_compiler =
        lines.any(|line| line.contains(": error: ") || line.contains(": fatal error: "));
    if of_compiler {
        return "the compiler reports errors".to_owned();
    }
    format!("{} failed", build.work)
}

/// Returns the first lines about an error and the last lines.
fn excerpt<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let lines: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last_from = lines.len().saturating_sub(LAST_LINES);
    let is_error = |line: &str| MARKS.iter().any(|mark| line.contains(mark));
    let first = lines.iter().position(|line| is_error(line));
    match first {
        Some(first) if first < last_from => {
            let until = (first + FIRST_LINES).min(last_from);
            let rest = lines.len() - (LAST_LINES + 2 - FIRST_LINES).min(lines.len() - until);
            let mut shown = lines[first..until].to_vec();
            if rest > until {
                shown.push("…");
            }
            shown.extend(&lines[rest.max(until)..]);
            shown.truncate(super::DETAILS_MOST);
            shown
        }
        _ => lines[last_from..].to_vec(),
    }
}

/// Finds the output of a build in that of pip 21 and newer: between `╰─> [18 lines of output]` and
/// `[end of output]`.
fn of_pip<'a>(lines: &[&'a str]) -> Option<Build<'a>> {
    let at = lines
        .iter()
        .rposition(|line| line.contains("╰─> [") && line.contains("of output]"))?;
    let said = lines[..at].iter().rev();
    let work = said
        .clone()
        .find_map(|line| line.trim().strip_prefix("× "))
        .unwrap_or("the build");
    let work = work.split(" did not run").next().unwrap_or(work);
    let output = lines[at + 1..]
        .iter()
        .take_while(|line| line.trim() != "[end of output]");
    Some(Build {
        package: named(work, lines).or_else(|| last_collected(&lines[..at])),
        work,
        lines: output.map(|line| unindented(line, 6)).collect(),
    })
}

/// Finds the output of a build in that of pip 20 and older.
fn of_old_pip<'a>(lines: &[&'a str]) -> Option<Build<'a>> {
    let at = lines.iter().rposition(|line| {
        line.contains("Complete output (") || line.contains("Complete output from command")
    })?;
    let output = lines[at + 1..]
        .iter()
        .take_while(|line| !line.trim().starts_with("-----"));
    Some(Build {
        package: failed_wheel(lines).or_else(|| last_collected(&lines[..at])),
        work: "its setup.py",
        lines: output.map(|line| unindented(line, 2)).collect(),
    })
}

/// Finds the output of a build in that of uv.
fn of_uv<'a>(lines: &[&'a str]) -> Option<Build<'a>> {
    let at = lines
        .iter()
        .position(|line| line.contains("The build backend returned an error"))?;
    let name = lines[..=at]
        .iter()
        .rev()
        .find_map(|line| line.split_once("Failed to build `"))
        .map(|(_, rest)| rest.split(['`', ' ']).next().unwrap_or(rest).to_owned());
    let output = lines[at + 1..].iter();
    let output = output.take_while(|line| !line.trim_start().starts_with("hint: "));
    let output = output.filter(|line| {
        let line = line.trim();
        !matches!(line, "[stdout]" | "[stderr]") && !line.starts_with("╰─▶ Call to ")
    });
    let output: Vec<&str> = output.map(|line| unindented(line, 9)).collect();
    Some(Build {
        package: name,
        work: "its build backend",
        lines: output,
    })
}

/// Returns the package that pip's words about its work name: `Building wheel for cext`.
fn named(work: &str, lines: &[&str]) -> Option<String> {
    let name = work
        .strip_prefix("Building wheel for ")
        .and_then(|rest| rest.split_whitespace().next());
    name.map(str::to_owned).or_else(|| failed_wheel(lines))
}

fn failed_wheel(lines: &[&str]) -> Option<String> {
    let name = lines.iter().find_map(|line| {
        line.trim()
            .strip_prefix("ERROR: Failed building wheel for ")
    })?;
    Some(name.trim().to_owned())
}

/// Returns the package that pip has begun with last: `Collecting numpy>=2 (from …)` or
/// `Processing ./dir`.
fn last_collected(lines: &[&str]) -> Option<String> {
    let mut lines = lines.iter().rev().map(|line| line.trim());
    let rest = lines.find_map(|line| {
        line.strip_prefix("Collecting ")
            .or_else(|| line.strip_prefix("Processing "))
    })?;
    Some(rest.split(" (from").next().unwrap_or(rest).to_owned())
}

/// Removes the indentation that pip and uv add to the output of a build.
fn unindented(line: &str, most: usize) -> &str {
    let blanks = line.len() - line.trim_start_matches(' ').len();
    &line[blanks.min(most)..]
}
