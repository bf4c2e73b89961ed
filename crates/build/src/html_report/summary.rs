//! Responsible for the facts at the head of the page.

use condense_check::Severity;
use condense_installation::render_time;
use indicatif::{HumanBytes, HumanCount};

use super::{
    Origin, Page,
    html::{counted, each, escape},
};
use crate::contents::PackageKind;

/// Renders the facts, each with its name.
pub(super) fn render(page: &Page) -> String {
    let mut facts = vec![("Packages", packages(page))];
    if let Some(image) = &page.contents.image {
        let record = match &page.origin {
            Origin::Installation(receipt) => receipt.image.as_ref(),
            Origin::Sif(_) => None,
        };
        let codec = record.map_or(&image.codec, |record| &record.compression);
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
    match &page.origin {
        Origin::Installation(receipt) => {
            let generation = match page.history.len() {
                0 | 1 => receipt.generation.to_string(),
                count => format!("{} of {count}", receipt.generation),
            };
            let built = render_time(receipt.created);
            facts.push(("Generation", [generation, format!("built {built}")]));
        }
        Origin::Sif(sif) => {
            let made = sif.created.map(render_time).unwrap_or_default();
            let base = sif.label("condense.base").unwrap_or("unknown");
            facts.push(("Base", [base.to_owned(), format!("made {made}")]));
        }
    }
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
