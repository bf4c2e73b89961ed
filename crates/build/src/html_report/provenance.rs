//! Responsible for where an installation comes from: its receipt and its lock.

use std::ffi::OsString;

use condense_installation::{Receipt, quote_line, render_time};
use indicatif::{HumanBytes, HumanCount};

use super::{
    Origin,
    html::{counted, each, escape, framed},
};

/// Renders what the receipt or the labels say.
pub(super) fn render(origin: &Origin) -> String {
    let facts = match origin {
        Origin::Installation(receipt) => facts(receipt),
        Origin::Sif(sif) => sif
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect(),
    };
    let rows = each(&facts, |(name, value)| {
        format!(
            "<tr><th scope=\"row\">{}</th><td><code>{}</code></td></tr>\n",
            escape(name),
            escape(value)
        )
    });
    format!("<table class=\"facts\">\n<tbody>\n{rows}</tbody>\n</table>\n")
}

/// Returns the command line of a build as a shell would read it.
pub(super) fn command(receipt: &Receipt) -> String {
    let words: Vec<OsString> = receipt.arguments.iter().map(OsString::from).collect();
    quote_line(&words).display().to_string()
}

fn facts(receipt: &Receipt) -> Vec<(&str, String)> {
    let mut rows = vec![
        ("command", command(receipt)),
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
    if receipt.base.path.as_os_str() != receipt.base.reference.as_str() {
        rows.push(("base file", receipt.base.path.display().to_string()));
    }
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
                "{} ({}), {} files and directories",
                HumanBytes(image.size_bytes),
                image.compression,
                HumanCount(image.entries)
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

/// Renders the packages of a lock.
pub(super) fn render_lock(text: Option<&str>) -> String {
    let rows = text.map(locked).unwrap_or_default();
    if rows.is_empty() {
        return String::new();
    }
    let count = counted(rows.len(), "archive", "archives");
    let rows = each(&rows, |[name, kind, from, digest]| {
        format!(
            "<tr><th scope=\"row\">{} <span class=\"badge {kind}\">{kind}</span></th>\
             <td><code>{}</code></td><td><code>{}</code></td></tr>\n",
            escape(name),
            escape(from),
            escape(digest)
        )
    });
    let table = format!(
        "<table class=\"facts lock\">\n<thead><tr><th scope=\"col\">Package</th>\
         <th scope=\"col\">From</th><th scope=\"col\">SHA-256</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n"
    );
    format!(
        "<details><summary>{count} with their digests</summary>\n{}</details>\n",
        framed("Lock", &table)
    )
}

/// Returns the name, kind, URL and digest of each package in a lock.
fn locked(text: &str) -> Vec<[String; 4]> {
    let Ok(lock) = serde_yaml::from_str::<serde_yaml::Value>(text) else {
        return Vec::new();
    };
    let packages = lock.get("packages").and_then(|list| list.as_sequence());
    let mut rows: Vec<[String; 4]> = packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let word = |key: &str| package.get(key).and_then(|value| value.as_str());
            let conda = word("conda").map(|url| (url, "conda"));
            let (url, kind) = conda.or_else(|| word("pypi").map(|url| (url, "pip")))?;
            let file = url.rsplit('/').next().unwrap_or(url);
            Some([
                word("name").unwrap_or(file).to_owned(),
                kind.to_owned(),
                url.to_owned(),
                word("sha256").unwrap_or_default().to_owned(),
            ])
        })
        .collect();
    rows.sort();
    rows
}
