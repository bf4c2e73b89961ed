//! Responsible for the findings of the page.

use condense_check::{Finding, Severity};

use super::html::with_code;

/// Renders findings, the most severe first.
pub(super) fn render(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "<p>none</p>\n".to_owned();
    }
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| rank(finding.code.severity));
    sorted.into_iter().map(render_one).collect()
}

/// Returns the place of a severity in the order of the page.
fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Note => 2,
    }
}

fn render_one(finding: &Finding) -> String {
    let severity = finding.code.severity;
    format!(
        "<article class=\"finding {severity}\">\n\
         <h3><span class=\"badge\">{severity}</span> {name}</h3>\n<p>{what}</p>\n\
         <dl><dt>Seen</dt><dd>{seen}</dd><dt>Why</dt><dd>{why}</dd>\
         <dt>Fix</dt><dd>{fix}</dd></dl>\n</article>\n",
        name = finding.code.name,
        what = with_code(&finding.what),
        seen = with_code(&finding.location),
        why = with_code(finding.code.why),
        fix = with_code(&finding.fix),
    )
}
