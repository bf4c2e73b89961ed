//! Responsible for representing one finding, and for summarising several.

use std::fmt;

use serde::Serialize;

use crate::code::{Code, Severity};

/// One problem or remark of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Kind of the finding, which also explains why it matters.
    pub code: &'static Code,
    /// Description in one sentence without a full stop.
    pub what: String,
    /// Place at which the problem was found: a file, a line, a package, a setting.
    pub location: String,
    /// Advice on how to fix the problem: the general advice of the code, or better advice for this
    /// case.
    pub fix: String,
}

impl Finding {
    pub(crate) fn new(
        code: &'static Code,
        what: impl Into<String>,
        location: impl Into<String>,
    ) -> Self {
        Self {
            code,
            what: what.into(),
            location: location.into(),
            fix: code.fix.to_owned(),
        }
    }

    pub(crate) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Renders the complete finding in four lines.
    pub fn render(&self) -> String {
        let Self {
            code,
            what,
            location,
            fix,
        } = self;
        format!(
            "{}[{}]: {what}\n  seen: {location}\n  why:  {}\n  fix:  {fix}",
            code.severity, code.name, code.why
        )
    }
}

/// One line with the description, the place and the name of the code.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} ({})", self.code.name, self.what, self.location)
    }
}

#[derive(Serialize)]
struct AsJson<'a> {
    code: &'a str,
    severity: Severity,
    what: &'a str,
    seen: &'a str,
    why: &'a str,
    fix: &'a str,
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AsJson {
            code: self.code.name,
            severity: self.code.severity,
            what: &self.what,
            seen: &self.location,
            why: self.code.why,
            fix: &self.fix,
        }
        .serialize(serializer)
    }
}

/// Findings sorted by severity, the most severe first, separated from those that the user allows.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Findings that count, without the allowed ones.
    pub findings: Vec<Finding>,
    /// Findings whose codes the user allows.
    pub allowed: Vec<Finding>,
}

impl Verdict {
    /// Sorts the findings and separates those whose codes are `allowed`.
    pub fn new(mut findings: Vec<Finding>, allowed: &[&'static Code]) -> Self {
        findings.sort_by_key(|finding| (finding.code.severity, finding.code.name));
        let (allowed, findings) = findings
            .into_iter()
            .partition(|finding| allowed.contains(&finding.code));
        Self { findings, allowed }
    }

    /// Returns the number of findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.code.severity == severity)
            .count()
    }

    /// Returns whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Summarises the counts: `1 error, 2 warnings, 1 allowed`, or `no findings` if there are none.
    pub fn summary(&self) -> String {
        let counts = [
            (self.count(Severity::Error), "error"),
            (self.count(Severity::Warning), "warning"),
            (self.count(Severity::Note), "note"),
        ];
        let mut words: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
        if !self.allowed.is_empty() {
            words.push(format!("{} allowed", self.allowed.len()));
        }
        if words.is_empty() {
            "no findings".to_owned()
        } else {
            words.join(", ")
        }
    }
}

/// Shortens a list of names: `a, b and 3 more`.
pub(crate) fn some_of<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 2;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len() {
        0 => String::new(),
        count if count <= SHOWN => shown.join(" and "),
        count => format!("{} and {} more", shown.join(", "), count - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code;

    #[test]
    fn errors_come_first_and_allowed_ones_do_not_count() {
        let warning = Finding::new(&code::CHANNEL_TERMS, "w", "there");
        let error = Finding::new(&code::MPI_ABI, "e", "here");
        let both = vec![warning, error.clone()];
        let verdict = Verdict::new(both.clone(), &[]);
        assert_eq!(verdict.findings[0], error);
        assert_eq!(verdict.summary(), "1 error, 1 warning");
        assert!(verdict.has_errors());
        let verdict = Verdict::new(both, &[&code::MPI_ABI]);
        assert!(!verdict.has_errors());
        assert_eq!(verdict.summary(), "1 warning, 1 allowed");
        assert_eq!(Verdict::default().summary(), "no findings");
    }

    #[test]
    fn a_finding_says_what_where_why_and_how() {
        let finding = Finding::new(&code::MPI_ABI, "what", "where").with_fix("how");
        let text = finding.render();
        for words in ["error[mpi-abi]: what", "seen: where", "why:  ", "fix:  how"] {
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(finding.to_string(), "[mpi-abi] what (where)");
        let json = serde_json::to_value(&finding).expect("plain text");
        assert_eq!(json["severity"], "error");
        assert_eq!(json["why"], code::MPI_ABI.why);
    }
}
