//! Responsible for the facts at the head of the page.

use condense_check::Severity;
use condense_installation::render_time;
use indicatif::{HumanBytes, HumanCount};

use super::{
    Page,
    html::{counted, each, escape},
};
use crate::contents::PackageKind;

/// Renders the facts, each with its name.
pub(super) fn render(page: &Page) -> String {
    let mut facts = vec![("Packages", packages(page))];
    if let Some(image) = &page.contents.image {
        let codec = match &page.receipt.image {
            Some(record) => record.compression.clone(),
            None => image.codec.clone(),
        };
        let before = image.total.bytes;
        facts.push((
            "Image",
            [
                HumanBytes(image.bytes).to_string(),
                format!("of {} before compression, {codec}", HumanBytes(before)),
            ],
        ));
        facts.push((
            "Files",
            [
                HumanCount(image.total.files).to_string(),
                "in one file".to_owned(),
            ],
        ));
    }
    facts.push(("Findings", findings(page)));
    let generation = match page.history.len() {
        0 | 1 => page.receipt.generation.to_string(),
        count => format!("{} of {count}", page.receipt.generation),
    };
    let built = render_time(page.receipt.created);
    facts.push(("Generation", [generation, format!("built {built}")]));
    let facts = each(&facts, |(name, [value, more])| {
        format!(
            "<div><dt>{name}</dt><dd><b>{}</b> <span>{}</span></dd></div>\n",
            escape(value),
            escape(more)
        )
    });
    format!("<dl class=\"summary\">\n{facts}</dl>\n")
}

fn packages(page: &Page) -> [String; 2] {
    let packages = &page.contents.packages;
    let of = |kind| packages.iter().filter(|one| one.kind == kind).count();
    [
        packages.len().to_string(),
        format!(
            "{} of conda, {} of pip",
            of(PackageKind::Conda),
            of(PackageKind::Pip)
        ),
    ]
}

fn findings(page: &Page) -> [String; 2] {
    let of = |severity| {
        let findings = page.findings.iter();
        findings
            .filter(|finding| finding.code.severity == severity)
            .count()
    };
    let words = [
        (of(Severity::Error), "error", "errors"),
        (of(Severity::Warning), "warning", "warnings"),
        (of(Severity::Note), "note", "notes"),
    ];
    let words: Vec<String> = words
        .iter()
        .filter(|(count, _, _)| *count > 0)
        .map(|(count, one, many)| counted(*count, one, many))
        .collect();
    [page.findings.len().to_string(), words.join(", ")]
}
