//! Responsible for the page that shows an installation or a SIF: sizes by package, the lock, findings,
//! provenance. The page refers to no other file.

mod tiles;

use std::path::Path;

use anyhow::bail;
use condense_check::Finding;
use condense_diagnostics::UserError;
use condense_image::Reader;
use condense_installation::{Receipt, render_time};
use indicatif::HumanBytes;

use crate::{
    check::{CheckTarget, check},
    contents::{Contents, Subject, SubjectKind},
    generation::IMAGE,
    sif_facts::SifFacts,
};

const STYLE: &str = include_str!("html_report/style.css");
/// Policy of the page: a browser fetches nothing, even if a name contains markup.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Returns the page of an installation or of a SIF.
///
/// # Errors
/// Returns an error if `path` is neither of them or cannot be read.
pub fn html_report(path: &Path, target: CheckTarget) -> anyhow::Result<String> {
    if path.is_file() {
        return of_sif(&Subject::open(path, None)?, target);
    }
    let dir = path;
    let receipt = Receipt::load(dir)?;
    let (_, findings) = check(dir, None, target)?;
    let image = dir.join(IMAGE);
    let sizes = if image.exists() {
        sizes(&Reader::open_raw(&image)?)?
    } else {
        Vec::new()
    };
    let lock = match &receipt.lock {
        Some(record) => Some(condense_input::read_to_string(
            dir.join("share").join(&record.path),
            condense_input::RECORD_MOST,
        )?),
        None => None,
    };
    let provenance = provenance(&receipt);
    Ok(render(dir, &provenance, &sizes, lock.as_deref(), &findings))
}

/// Returns the page of a SIF, whose labels say where it comes from.
fn of_sif(subject: &Subject, target: CheckTarget) -> anyhow::Result<String> {
    let path = subject.path();
    if subject.kind() != SubjectKind::Sif {
        bail!(UserError::new(
            format!("`{}` is neither an installation nor a .sif", path.display()),
            format!("`condense packages {}` lists its packages", path.display()),
        ));
    }
    let facts = SifFacts::load(subject)?;
    let (_, findings) = check(path, None, target)?;
    let sizes = sizes(&Reader::open(path)?)?;
    let lock = subject.lock_text()?.map(|(_, text)| text);
    let created = facts.created.map(|time| ("made", render_time(time)));
    let mut provenance: Vec<(&str, String)> = created.into_iter().collect();
    provenance.push(("size", HumanBytes(facts.size_bytes).to_string()));
    let labels = facts.labels.iter();
    provenance.extend(labels.map(|(name, value)| (name.as_str(), value.clone())));
    Ok(render(path, &provenance, &sizes, lock.as_deref(), &findings))
}

/// Returns the bytes of each package before compression, the largest first. Byte code counts to the
/// package of its source.
fn sizes(reader: &Reader) -> anyhow::Result<Vec<(String, u64)>> {
    let contents = Contents::of_image(reader)?;
    let packages = contents.packages.iter().map(|package| {
        let space = package.space.unwrap_or_default();
        (format!("{} {}", package.name, package.version), space.bytes)
    });
    let others = [
        ("files of no package".to_owned(), contents.other.bytes),
        (
            "files outside of environments".to_owned(),
            contents.outside.bytes,
        ),
    ];
    let mut sizes: Vec<(String, u64)> = packages.chain(others).collect();
    sizes.retain(|(_, size)| *size > 0);
    sizes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    Ok(sizes)
}

fn render(
    dir: &Path,
    provenance: &[(&str, String)],
    sizes: &[(String, u64)],
    lock: Option<&str>,
    findings: &[Finding],
) -> String {
    let title = escape(&dir.display().to_string());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
        <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><title>{title}</title><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
    );
    let total: u64 = sizes.iter().map(|(_, size)| size).sum();
    page.push_str(&format!(
        "<h2>Sizes by package</h2>\n<p>{} before compression</p>\n{}{}",
        HumanBytes(total),
        tiles::render(sizes),
        render_sizes(sizes)
    ));
    page.push_str("<h2>Findings</h2>\n");
    if findings.is_empty() {
        page.push_str("<p>none</p>\n");
    }
    for finding in findings {
        let severity = finding.code.severity;
        page.push_str(&format!(
            "<p><b class=\"{severity}\">{severity}: {}</b><br>{}<br>seen: {}<br>why: {}<br>fix: {}</p>\n",
            finding.code.name,
            escape(&finding.what),
            escape(&finding.location),
            escape(finding.code.why),
            escape(&finding.fix)
        ));
    }
    page.push_str("<h2>Provenance</h2>\n<table class=\"facts\">\n");
    for (name, value) in provenance {
        page.push_str(&format!(
            "<tr><th>{}</th><td><code>{}</code></td></tr>\n",
            escape(name),
            escape(value)
        ));
    }
    page.push_str("</table>\n<h2>Lock</h2>\n<table id=\"lock\">\n<tr><th>package</th><th>from</th><th>sha256</th></tr>\n");
    for [name, from, digest] in lock.map(locked).unwrap_or_default() {
        page.push_str(&format!(
            "<tr><td>{}</td><td><code>{}</code></td><td><code>{}</code></td></tr>\n",
            escape(&name),
            escape(&from),
            escape(&digest)
        ));
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

/// Renders the table of all sizes. In the treemap, small packages have no names.
fn render_sizes(sizes: &[(String, u64)]) -> String {
    let mut table = format!(
        "<details><summary>All {} parts</summary>\n<table id=\"sizes\">\n",
        sizes.len()
    );
    for (name, size) in sizes {
        table.push_str(&format!(
            "<tr><td><code>{}</code></td><td class=\"size\">{}</td></tr>\n",
            escape(name),
            HumanBytes(*size)
        ));
    }
    table + "</table>\n</details>\n"
}

fn provenance(receipt: &Receipt) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("command", receipt.arguments.join(" ")),
        (
            "built",
            format!(
                "{} by condense {}",
                render_time(receipt.created),
                receipt.tool_version
            ),
        ),
        ("base", receipt.base.reference.clone()),
    ];
    rows.extend(
        receipt
            .base
            .sha256
            .clone()
            .map(|digest| ("base sha256", digest)),
    );
    if let Some(image) = &receipt.image {
        rows.push((
            "image",
            format!(
                "{} ({}), {} entries",
                HumanBytes(image.size_bytes),
                image.compression,
                image.entries
            ),
        ));
        rows.push(("image sha256", image.sha256.clone()));
    }
    rows.push(("mount point", receipt.mount_point.display().to_string()));
    rows.push(("generation", receipt.generation.to_string()));
    for input in &receipt.inputs {
        rows.push((
            "input",
            format!("{} {}", input.path.display(), input.sha256),
        ));
    }
    if let Some(lock) = &receipt.lock {
        rows.push(("lock sha256", lock.sha256.clone()));
    }
    rows
}

/// Returns the name, URL and digest of each package in a lock.
fn locked(text: &str) -> Vec<[String; 3]> {
    let Ok(lock) = serde_yaml::from_str::<serde_yaml::Value>(text) else {
        return Vec::new();
    };
    let packages = lock.get("packages").and_then(|list| list.as_sequence());
    let mut rows: Vec<[String; 3]> = packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let word = |key: &str| package.get(key).and_then(|value| value.as_str());
            let url = word("conda").or_else(|| word("pypi"))?;
            let file = url.rsplit('/').next().unwrap_or(url);
            Some([
                word("name").unwrap_or(file).to_owned(),
                url.to_owned(),
                word("sha256").unwrap_or_default().to_owned(),
            ])
        })
        .collect();
    rows.sort();
    rows
}

/// Escapes text for elements and for attributes in quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
