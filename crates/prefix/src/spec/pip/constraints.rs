//! Responsible for constraint files. pip reads them itself, with all files that they include, so
//! they must exist where pip runs.

use std::path::{Path, PathBuf};

use super::{
    MAX_DEPTH, Reader, is_remote,
    option::{self, Flag},
    read, requirement, split_options,
};
use crate::spec::{
    lines::{self, Line},
    problem::Problem,
};

impl Reader<'_> {
    /// Adds the constraint file to the local files that pip needs, and checks and records its
    /// lines. `line` is the line that names the file.
    pub(super) fn constrain(
        &mut self,
        path: &Path,
        line: &Line,
        open: &[PathBuf],
    ) -> Result<(), Problem> {
        if open.iter().any(|other| other == path) || open.len() > MAX_DEPTH {
            return Err(line.problem(format!("`{}` includes itself", path.display())));
        }
        let text = read(path, line)?;
        self.local(path.to_owned());
        let mut open = open.to_vec();
        open.push(path.to_owned());
        for line in lines::joined(&text) {
            self.section.identity.push(format!("-c {}", line.text));
            self.constraint(path, &line, &open)
                .map_err(|problem| problem.or_in(path))?;
        }
        Ok(())
    }

    fn constraint(&mut self, path: &Path, line: &Line, open: &[PathBuf]) -> Result<(), Problem> {
        let problem = |message: String| line.problem(message);
        if line.text.starts_with('-') {
            let beside = path.parent().unwrap_or(self.folder);
            for flag in option::parse(&line.text).map_err(problem)? {
                if let Flag::Requirements(value) | Flag::Constraints(value) = flag
                    && !is_remote(&value)
                {
                    let nested = self.find(&value, &[beside]).map_err(problem)?;
                    self.constrain(&nested, line, open)?;
                }
            }
            return Ok(());
        }
        let (text, options) = split_options(&line.text);
        requirement::check_options(options).map_err(problem)?;
        requirement::parse(text).map_err(problem)?;
        Ok(())
    }
}
