//! Responsible for programs of a step that could not write: a full file system, a quota, a limit
//! on the size of files.

use std::path::Path;

use condense_diagnostics::Shortage;

use super::{PipContext, PipFailure, ended};

/// Exit status of a program that SIGXFSZ has ended, as shells give it.
const BY_SIGXFSZ: i32 = 128 + 25;

/// Number of lines at the end of an output in which the reason is looked for.
const LAST_LINES: usize = 40;

/// Explains a program that could not write. The words of the program are part of the sentence.
pub(super) fn explain(lines: &[&str], context: &PipContext) -> Option<PipFailure> {
    let from = lines.len().saturating_sub(LAST_LINES);
    let mut last = lines[from..].iter().rev();
    let (line, shortage) = last.find_map(|line| Some((line.trim(), Shortage::in_text(line)?)))?;
    let line = line.strip_prefix("ERROR: ").unwrap_or(line);
    let advice = shortage.hint(context.dir.as_deref());
    Some(PipFailure::new(ended(line), advice))
}

/// Returns the advice for a step that the limit on the size of files has ended.
pub(in crate::steps) fn hint_for_status(status: i32, dir: Option<&Path>) -> Option<String> {
    (status == BY_SIGXFSZ).then(|| Shortage::FileSize.hint(dir))
}
