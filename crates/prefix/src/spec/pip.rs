//! Responsible for the lines for pip: the entries under `pip:`, and requirements files with all
//! files that they include. The lines are rewritten such that pip can be started in any directory.

mod constraints;
mod local;
mod option;
mod requirement;

use std::path::{Path, PathBuf};

use super::{
    context::SpecContext,
    lines::{self, Line},
    problem::Problem,
};
use crate::{secrets::without_secrets, text};
use option::Flag;
use requirement::Requirement;

/// All lines for pip, and the local files that they name.
#[derive(Debug, Clone, Default)]
pub(super) struct PipSection {
    /// Lines as written in the file, without credentials.
    pub(super) written: Vec<String>,
    /// Lines that pip gets: included files are replaced by their lines, and paths are absolute.
    pub(super) lines: Vec<String>,
    /// Lines that identify this section: as written, with the lines of included files and of
    /// constraint files. They are the same wherever the directory of the files is.
    pub(super) identity: Vec<String>,
    /// Files and directories of this machine that pip reads.
    pub(super) local_paths: Vec<PathBuf>,
}

impl PipSection {
    /// Removes the lines that ask for these projects, by their normalised names.
    pub(super) fn remove(&mut self, names: &[String]) {
        let stays = |line: &String| {
            let requirement = crate::lock::parse_requirement(line);
            requirement.is_none_or(|requirement| {
                !names.contains(&crate::normalized_name(requirement.name.as_ref()))
            })
        };
        for lines in [&mut self.written, &mut self.lines, &mut self.identity] {
            lines.retain(stays);
        }
    }
}

/// Adds lines to a section. `folder` is the directory of the environment file,
/// where relative paths start.
pub(super) struct Reader<'a> {
    pub(super) section: &'a mut PipSection,
    pub(super) folder: &'a Path,
    pub(super) context: &'a SpecContext,
}

/// Greatest depth of files that include each other. Files written by hand stay far below it.
const MAX_DEPTH: usize = 32;

impl Reader<'_> {
    /// Adds an entry of `pip:`, which may have several lines.
    pub(super) fn add_entry(&mut self, text: &str) -> Result<(), Problem> {
        self.add_file(&lines::joined(text))
    }

    /// Adds all lines of a requirements file.
    pub(super) fn add_file(&mut self, lines: &[Line]) -> Result<(), Problem> {
        for line in lines {
            self.section
                .written
                .push(without_secrets(&line.text).into_owned());
            self.add(line, self.folder, &[])?;
        }
        Ok(())
    }

    fn add(&mut self, line: &Line, beside: &Path, open: &[PathBuf]) -> Result<(), Problem> {
        let problem = |message: String| line.problem(message);
        let text = line.text.as_str();
        if text.starts_with('-') {
            for flag in option::parse(text).map_err(problem)? {
                self.flag(flag, line, beside, open)?;
            }
            return Ok(());
        }
        let (requirement, options) = split_options(text);
        requirement::check_options(options).map_err(problem)?;
        let resolved = self
            .requirement(requirement, beside, false)
            .map_err(problem)?;
        self.push(
            text,
            [resolved.as_str(), options].join(" ").trim_end().to_owned(),
        );
        Ok(())
    }

    fn flag(
        &mut self,
        flag: Flag,
        line: &Line,
        beside: &Path,
        open: &[PathBuf],
    ) -> Result<(), Problem> {
        let problem = |message: String| line.problem(message);
        match flag {
            Flag::Plain(name) => self.push(name, name.to_owned()),
            Flag::Value(name, value) => {
                self.remember_url(&value).map_err(problem)?;
                let text = format!("{name} {}", quoted(&value).map_err(problem)?);
                self.push(&text, text.clone());
            }
            Flag::FindLinks(value) if is_url(&value) => {
                self.remember_url(&value).map_err(problem)?;
                let text = format!("--find-links {}", quoted(&value).map_err(problem)?);
                self.push(&text, text.clone());
            }
            Flag::FindLinks(value) => {
                let path = self.find(&value, &[beside, self.folder]).map_err(problem)?;
                let path = self.local(path);
                let text = format!("--find-links {}", quoted(&path).map_err(problem)?);
                self.push(&format!("--find-links {value}"), text);
            }
            Flag::Editable(what, options) => {
                let resolved = self.requirement(&what, beside, true).map_err(problem)?;
                let text = format!("-e {resolved} {options}");
                self.push(&format!("-e {what} {options}"), text.trim_end().to_owned());
            }
            Flag::Requirements(value) | Flag::Constraints(value) if is_remote(&value) => {
                // pip downloads the file. The line keeps its option, `-r` or `-c`.
                let text = line.text.clone();
                self.push(&text, text.clone());
            }
            Flag::Requirements(value) => {
                let path = self.find(&value, &[beside]).map_err(problem)?;
                self.include(&path, line, open)?;
            }
            Flag::Constraints(value) => {
                let path = self.find(&value, &[beside]).map_err(problem)?;
                self.constrain(&path, line, &[])?;
                let text = format!("-c {}", quoted(&path.to_string_lossy()).map_err(problem)?);
                self.section.lines.push(text);
            }
        }
        Ok(())
    }

    fn include(&mut self, path: &Path, line: &Line, open: &[PathBuf]) -> Result<(), Problem> {
        if open.iter().any(|other| other == path) || open.len() > MAX_DEPTH {
            return Err(line.problem(format!("`{}` includes itself", path.display())));
        }
        let text = read(path, line)?;
        let mut open = open.to_vec();
        open.push(path.to_owned());
        let beside = path.parent().unwrap_or(self.folder);
        for line in lines::joined(&text) {
            self.add(&line, beside, &open)
                .map_err(|problem| problem.or_in(path))?;
        }
        Ok(())
    }

    /// Returns the requirement with absolute paths. The path of an editable
    /// requirement must be a directory.
    fn requirement(
        &mut self,
        text: &str,
        beside: &Path,
        is_editable: bool,
    ) -> Result<String, String> {
        match requirement::parse(text)? {
            Requirement::Name if !is_editable => Ok(text.to_owned()),
            Requirement::Name => self.path("", text, "", beside, true),
            Requirement::Url { url, marker } => {
                // A requirement with a marker may be meant for other machines only, so its file may
                // be missing on this machine.
                match self.remember_url(&url) {
                    Err(_) if marker => {}
                    remembered => remembered?,
                }
                Ok(text.to_owned())
            }
            Requirement::Path {
                before,
                path,
                after,
            } => self.path(&before, &path, &after, beside, is_editable),
        }
    }

    fn push(&mut self, identity: &str, line: String) {
        self.section.identity.push(identity.trim().to_owned());
        self.section.lines.push(line);
    }
}

/// Returns true if pip could read the line itself; included files are not read.
pub(super) fn is_line(text: &str) -> bool {
    if text.starts_with('-') {
        return option::parse(text).is_ok();
    }
    let (requirement, options) = split_options(text);
    requirement::check_options(options).is_ok() && requirement::parse(requirement).is_ok()
}

/// Returns the reason why pip could not read a line, or `None` if it could.
pub(super) fn why_not(text: &str) -> Option<String> {
    let (requirement, _) = split_options(text);
    requirement::parse(requirement).err()
}

/// Splits a line into its requirement and its options. The options begin at the first word with a
/// dash, as in pip.
fn split_options(text: &str) -> (&str, &str) {
    let mut at = 0;
    for word in text.split(' ') {
        if word.starts_with('-') && at > 0 {
            return (text[..at].trim_end(), &text[at..]);
        }
        at += word.len() + 1;
    }
    (text, "")
}

/// Splits options into words as a shell does, like pip.
fn words(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| format!("`{text}`: a quotation mark is not closed"))
}

fn quoted(text: &str) -> Result<String, String> {
    shlex::try_quote(text)
        .map(std::borrow::Cow::into_owned)
        .map_err(|error| format!("`{text}`: {error}"))
}

fn is_url(text: &str) -> bool {
    text.contains("://")
}

fn is_remote(text: &str) -> bool {
    is_url(text) && !text.starts_with("file:")
}

/// Returns the text of a file that `line` includes.
fn read(path: &Path, line: &Line) -> Result<String, Problem> {
    let bytes = condense_input::read_named(path, condense_input::TEXT_MOST)
        .map_err(|error| line.problem(error.to_string()))?;
    text::decode_declared(&bytes).map_err(|decode_error| Problem::from(decode_error).or_in(path))
}
