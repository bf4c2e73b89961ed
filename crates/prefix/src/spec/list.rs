//! Responsible for files with one package per line: lists of packages for conda, the output of
//! `conda list --export`, and requirements files.

use std::path::Path;

use super::{
    EnvironmentSpec, Kind, Requested,
    context::SpecContext,
    environment, explicit,
    lines::{self, Line},
    package::{match_spec, shown},
    pip,
    problem::Problem,
};
use crate::{progress::Warning, secrets::without_secrets};

/// Build strings that `conda list --export` writes for packages that pip has installed.
const FROM_PYPI: [&str; 2] = ["pypi_0", "pypi"];

/// Program that a file of lines is meant for, if the lines themselves do not decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// pip reads the file, whatever its lines are.
    Pip,
    /// conda, if both programs understand every line. pip, if as many lines are for pip only as for
    /// conda only and some line is not understood by both.
    PipRather,
    /// conda in both of these cases.
    CondaRather,
}

/// Reads a file of lines. Lines that both conda and pip understand are read as conda's, unless
/// `reading` says otherwise.
pub(super) fn read(
    text: &str,
    folder: &Path,
    context: &SpecContext,
    reading: Reading,
) -> Result<EnvironmentSpec, Problem> {
    let lines = lines::plain(text);
    let mut spec = EnvironmentSpec {
        text: text.to_owned(),
        ..EnvironmentSpec::default()
    };
    if lines.iter().any(|line| line.text == explicit::MARK) {
        spec.kind = Kind::Explicit;
        spec.archives = explicit::archives(&lines, folder)?;
        platform(text, context, &mut spec);
        packages_in_comments(text, &mut spec);
        if spec.archives.is_empty() {
            return Err(Problem::new(1, 1, "there is no package below `@EXPLICIT`"));
        }
        return Ok(spec);
    }
    let joined = lines::joined(text);
    if joined.is_empty() {
        return Err(Problem::new(
            1,
            1,
            "the file is empty: expected packages, one a line, or an environment.yml",
        ));
    }
    refuse_toml(&lines)?;
    if reading == Reading::Pip || is_for_pip(&lines, &joined, folder, reading) {
        spec.kind = Kind::Requirements;
        let mut reader = pip::Reader {
            section: &mut spec.pip,
            folder,
            context,
        };
        reader.add_file(&joined)?;
        return Ok(spec);
    }
    spec.kind = Kind::List;
    platform(text, context, &mut spec);
    for line in &lines {
        package(line, folder, context, &mut spec)?;
    }
    environment::complete(&mut spec, folder);
    Ok(spec)
}

/// Returns true if the file is for pip: it has an option of pip, or more lines that only pip can
/// read than lines that only conda can read. If both numbers are equal, `reading` decides. All
/// lines count, so that an error is reported for the line with the mistake, and not for the first
/// line that the other program cannot read.
fn is_for_pip(lines: &[Line], joined: &[Line], folder: &Path, reading: Reading) -> bool {
    let is_option = |line: &Line| {
        let mut characters = line.text.chars();
        characters.next() == Some('-') && characters.next().is_some_and(|c| !c.is_whitespace())
    };
    if joined.iter().any(is_option) {
        return true;
    }
    let (mut of_conda, mut of_pip, mut of_nobody) = (0, 0, 0);
    for line in if joined.len() < lines.len() {
        joined
    } else {
        lines
    } {
        match (
            match_spec(&line.text, folder).is_ok(),
            pip::is_line(&line.text),
        ) {
            (true, false) => of_conda += 1,
            (false, true) => of_pip += 1,
            (false, false) => of_nobody += 1,
            (true, true) => {}
        }
    }
    match of_pip.cmp(&of_conda) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => of_conda + of_nobody > 0 && reading == Reading::PipRather,
    }
}

/// Refuses pyproject.toml, uv.lock, poetry.lock, pixi.toml and similar files.
fn refuse_toml(lines: &[Line]) -> Result<(), Problem> {
    let Some(first) = lines.first() else {
        return Ok(());
    };
    let text = first.text.as_str();
    let is_table = text.starts_with('[') && text.ends_with(']');
    if is_table || text.starts_with("version = ") || text.starts_with("lock-version = ") {
        return Err(first.problem(
            "this is TOML, expected an environment.yml, a list of packages or a requirements file",
        ));
    }
    Ok(())
}

/// Returns true if pip could read every line, too.
pub(super) fn could_be_requirements(text: &str) -> bool {
    lines::joined(text)
        .iter()
        .all(|line| pip::is_line(&line.text))
}

fn package(
    line: &Line,
    folder: &Path,
    context: &SpecContext,
    spec: &mut EnvironmentSpec,
) -> Result<(), Problem> {
    let text = line.text.as_str();
    if let Some((name, version)) = from_pypi(text) {
        let requirement = format!("{name}=={version}");
        let mut reader = pip::Reader {
            section: &mut spec.pip,
            folder,
            context,
        };
        reader
            .add_entry(&requirement)
            .map_err(|problem| line.problem(problem.message))?;
        spec.warnings.push(Warning::at_line(
            line.number,
            format!("`{text}` came from PyPI, so pip installs `{requirement}`"),
        ));
        return Ok(());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let parsed = match_spec(text, folder).map_err(|error| {
        let text = shown(text);
        line.problem(if looks_like_table(&words) {
            format!("`{text}` looks like the table of `conda list`; expected the output of `conda list --export` or `conda list --explicit`")
        } else if let Some(why) = pip::why_not(&text) {
            format!("`{text}` is not a package spec: {error} (nor is it one for pip: {why})")
        } else {
            format!("`{text}` is not a package spec: {error}; pip could read this line, but not all lines of the file")
        })
    })?;
    spec.specs.push(Requested {
        spec: parsed,
        written: without_secrets(text).into_owned(),
    });
    Ok(())
}

/// Returns name and version of a package that pip had installed, written like `rich=13.7.1=pypi_0`.
fn from_pypi(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split('=');
    let (name, version, build) = (words.next()?, words.next()?, words.next()?);
    (FROM_PYPI.contains(&build) && words.next().is_none() && !version.is_empty())
        .then_some((name, version))
}

/// Returns true for words like those of a line in the table of `conda list`:
/// `numpy  1.26.4  py311h64a7726_0  conda-forge`.
fn looks_like_table(words: &[&str]) -> bool {
    words.len() == 4 && words[1].starts_with(|c: char| c.is_ascii_digit())
}

/// Warns if the list is for another platform, according to the line `# platform: osx-arm64` that
/// conda writes at the top of its lists.
fn platform(text: &str, context: &SpecContext, spec: &mut EnvironmentSpec) {
    let ours = context.architecture.subdir().as_str();
    for (at, line) in text.lines().enumerate() {
        let Some(platform) = line.trim().strip_prefix("# platform:") else {
            continue;
        };
        let platform = platform.trim();
        if platform != ours && platform != "noarch" {
            spec.warnings.push(Warning::at_line(
                at + 1,
                format!("the list was made for {platform}, here it is used for {ours}"),
            ));
        }
    }
}

/// Warns about packages for pip in comments. conda-lock writes them as comments, which no other
/// program reads.
fn packages_in_comments(text: &str, spec: &mut EnvironmentSpec) {
    let of_pip: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((at, line.trim().strip_prefix("# pip ")?)))
        .collect();
    if let Some((at, _)) = of_pip.first() {
        let names: Vec<String> = of_pip
            .iter()
            .map(|(_, text)| format!("`{}`", text.split_whitespace().next().unwrap_or_default()))
            .collect();
        spec.warnings.push(Warning::at_line(at + 1, format!(
                "packages for pip in comments are not installed, as with conda: {}; the lock file itself has them",
                names.join(", ")
            )));
    }
}
