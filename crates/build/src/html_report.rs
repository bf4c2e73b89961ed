//! Responsible for the page that shows an installation or a SIF: findings, sizes by package,
//! changes between generations, provenance and lock. The page refers to no other file, so that it
//! can be sent as it is; its script only sorts and filters tables.

mod changes;
mod findings;
mod html;
mod packages;
mod provenance;
mod summary;
mod tiles;

use std::path::Path;

use anyhow::bail;
use base64::{Engine, prelude::BASE64_STANDARD};
use condense_check::Finding;
use condense_diagnostics::UserError;
use condense_installation::{Destination, History, Receipt, State};
use sha2::{Digest, Sha256};

use crate::{
    check::{CheckTarget, check},
    contents::{Contents, Subject, SubjectKind},
    sif_facts::SifFacts,
};
use changes::Step;
use html::{each, escape};

const STYLE: &str = include_str!("html_report/style.css");
/// Script that adds buttons for sorting and a field for filtering. All content is there without it.
const SCRIPT: &str = include_str!("html_report/sort.js");

/// Everything that the page shows.
struct Page {
    /// Path by which the user named the installation.
    path: String,
    origin: Origin,
    contents: Contents,
    findings: Vec<Finding>,
    lock: Option<String>,
    /// Generations, the oldest first. Empty if the directory is that of one generation.
    history: Vec<Step>,
}

/// Records of where an image comes from.
enum Origin {
    Installation(Box<Receipt>),
    Sif(SifFacts),
}

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
    let contents = Contents::load(&Subject::open(dir, None)?)?;
    let lock = match &receipt.lock {
        Some(record) => Some(condense_input::read_to_string(
            dir.join("share").join(&record.path),
            condense_input::RECORD_MOST,
        )?),
        None => None,
    };
    let history = match Destination::inspect(dir)?.state() {
        State::Condense { .. } => changes::steps(dir, History::open(dir)?.generations()?),
        _ => Vec::new(),
    };
    let page = Page {
        path: dir.display().to_string(),
        origin: Origin::Installation(Box::new(receipt)),
        contents,
        findings,
        lock,
        history,
    };
    Ok(page.render())
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
    let (_, findings) = check(path, None, target)?;
    let page = Page {
        path: path.display().to_string(),
        origin: Origin::Sif(SifFacts::load(subject)?),
        contents: Contents::load(subject)?,
        findings,
        lock: subject.lock_text()?.map(|(_, text)| text),
        history: Vec::new(),
    };
    Ok(page.render())
}

/// Returns the policy of the page: a browser fetches nothing and runs no other script, even if a
/// name contains markup.
fn policy() -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; \
         base-uri 'none'; form-action 'none'"
    )
}

impl Page {
    fn render(&self) -> String {
        let name = Path::new(&self.path)
            .file_name()
            .map_or_else(|| self.path.clone(), |name| name.display().to_string());
        let parts = packages::parts(&self.contents);
        let sections = [
            ("findings", "Findings", findings::render(&self.findings)),
            (
                "space",
                "Space",
                packages::render_space(&self.contents, &parts),
            ),
            ("packages", "Packages", packages::render_table(&parts)),
            ("changes", "Changes", changes::render(&self.history)),
            ("provenance", "Provenance", provenance::render(&self.origin)),
            (
                "lock",
                "Lock",
                provenance::render_lock(self.lock.as_deref()),
            ),
        ];
        let sections: Vec<_> = sections
            .iter()
            .filter(|(_, _, text)| !text.is_empty())
            .collect();
        let links = each(&sections, |(id, title, _)| {
            format!("<li><a href=\"#{id}\">{title}</a></li>")
        });
        let sections = each(&sections, |(id, title, text)| {
            format!(
                "<section id=\"{id}\" aria-labelledby=\"of-{id}\">\n\
                 <h2 id=\"of-{id}\">{title}</h2>\n{text}</section>\n"
            )
        });
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <title>{name} - condense report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{name}</h1>\n<p class=\"path\"><code>{path}</code></p>\n{summary}\
             <nav aria-label=\"Sections\"><ul>{links}</ul></nav>\n</header>\n\
             <main>\n{sections}</main>\n\
             <footer><p>Written by <code>condense report</code> {version}. \
             This page refers to no other file.</p></footer>\n\
             <script>{SCRIPT}</script>\n</body>\n</html>\n",
            policy = policy(),
            name = escape(&name),
            path = escape(&self.path),
            summary = summary::render(self),
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}

#[cfg(test)]
mod tests;
