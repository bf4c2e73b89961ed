//! Responsible for the changes between each generation and the one before it.

use std::path::Path;

use condense_installation::{Generation, render_time};
use indicatif::HumanBytes;

use super::{
    html::{counted, each, escape, framed},
    provenance::command,
};
use crate::contents::{
    Change, ChangeCounts, ChangeKind, Contents, PackageKind, Subject, signed, size_difference,
};

/// Generation with its packages, or the reason why they could not be read.
pub(super) struct Step {
    pub(super) generation: Generation,
    pub(super) contents: Result<Contents, String>,
}

/// Reads the packages of all generations. A damaged generation does not hide the other ones.
pub(super) fn steps(dir: &Path, generations: Vec<Generation>) -> Vec<Step> {
    let read = |number| {
        let subject = Subject::open(dir, Some(number))?;
        Contents::load(&subject)
    };
    generations
        .into_iter()
        .map(|generation| Step {
            contents: read(generation.number).map_err(|error| format!("{error:#}")),
            generation,
        })
        .collect()
}

/// Renders the changes, the newest generation first. An installation with one generation has none.
pub(super) fn render(steps: &[Step]) -> String {
    if steps.len() < 2 {
        return String::new();
    }
    let mut text = String::from("<p>Each generation is compared with the one before it.</p>\n");
    let links = each(steps.iter().rev(), |step| {
        let number = step.generation.number;
        format!("<li><a href=\"#generation-{number}\">generation {number}</a></li>")
    });
    text.push_str(&format!(
        "<nav aria-label=\"Generations\"><ul>{links}</ul></nav>\n"
    ));
    for (index, step) in steps.iter().enumerate().rev() {
        let before = index.checked_sub(1).map(|before| &steps[before]);
        text.push_str(&render_step(step, before));
    }
    text
}

fn render_step(step: &Step, before: Option<&Step>) -> String {
    let number = step.generation.number;
    let mark = if step.generation.is_current {
        " <span class=\"badge visible\">visible</span>"
    } else {
        ""
    };
    let mut text = format!(
        "<article class=\"generation\" id=\"generation-{number}\">\n\
         <h3>Generation {number}{mark}</h3>\n"
    );
    if let Some(receipt) = &step.generation.receipt {
        text.push_str(&format!(
            "<p>{}: <code>{}</code></p>\n",
            render_time(receipt.created),
            escape(&command(receipt))
        ));
    }
    text.push_str(&match (before, &step.contents) {
        (_, Err(error)) => unreadable(number, error),
        (None, Ok(contents)) => {
            let count = counted(contents.packages.len(), "package", "packages");
            format!(
                "<p>The oldest generation that is kept: {count}{}.</p>\n",
                size(contents)
            )
        }
        (Some(before), Ok(after)) => match &before.contents {
            Err(error) => unreadable(before.generation.number, error),
            Ok(contents) => compared(before.generation.number, contents, number, after),
        },
    });
    text + "</article>\n"
}

fn unreadable(number: u32, error: &str) -> String {
    format!(
        "<p class=\"error\">Generation {number} cannot be read: {}</p>\n",
        escape(error)
    )
}

/// Returns the size of the image, after a comma.
fn size(contents: &Contents) -> String {
    contents.image.as_ref().map_or_else(String::new, |image| {
        format!(", image of {}", HumanBytes(image.bytes))
    })
}

fn compared(older: u32, before: &Contents, newer: u32, after: &Contents) -> String {
    let changes = Change::between(before, after);
    let mut summary = if changes.is_empty() {
        format!(
            "The same {} as generation {older}",
            counted(after.packages.len(), "package", "packages")
        )
    } else {
        format!("Since generation {older}: {}", ChangeCounts::of(&changes))
    };
    if let (Some(before), Some(after)) = (&before.image, &after.image) {
        summary.push_str(&format!(
            "; image {} \u{2192} {} ({})",
            unbroken(&HumanBytes(before.bytes).to_string()),
            unbroken(&HumanBytes(after.bytes).to_string()),
            unbroken(&size_difference(signed(after.bytes) - signed(before.bytes)))
        ));
    }
    let mut text = format!("<p class=\"counts\">{summary}</p>\n");
    if changes.is_empty() {
        return text;
    }
    let rows: String = changes.iter().map(row).collect();
    let table = format!(
        "<table class=\"sortable\" data-noun=\"changes\">\n<thead><tr>\
         <th scope=\"col\" class=\"middle\">Change</th><th scope=\"col\">Package</th>\
         <th scope=\"col\" class=\"middle\">Kind</th>\
         <th scope=\"col\" class=\"middle\">Generation {older}</th>\
         <th scope=\"col\" class=\"middle\">Generation {newer}</th>\
         <th scope=\"col\" class=\"number\">Size</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n"
    );
    text.push_str(&framed(
        &format!("Changes from generation {older} to {newer}"),
        &table,
    ));
    text
}

/// Returns a size whose unit stays in the line of its number.
fn unbroken(size: &str) -> String {
    size.replace(' ', "&nbsp;")
}

fn row(change: &Change) -> String {
    let kind = change.kind();
    let (name, of) = change.package().map_or(("", ""), |package| {
        (package.name.as_str(), PackageKind::as_str(package.kind))
    });
    let [before, after] = change.versions().map(|version| escape(&version));
    let size = match change.bytes() {
        Some(bytes) => format!(
            "<td class=\"number\" data-sort=\"{bytes}\">{}</td>",
            size_difference(bytes)
        ),
        None => "<td class=\"number\" data-sort=\"0\">-</td>".to_owned(),
    };
    let below = match kind {
        ChangeKind::Added => after.clone(),
        ChangeKind::Removed => before.clone(),
        ChangeKind::Version | ChangeKind::Build => format!("{before} \u{2192} {after}"),
    };
    let badge = format!("<span class=\"badge {of}\">{of}</span>");
    let word = kind.as_str();
    let mark = format!(
        "<span class=\"change {word}\"><b aria-hidden=\"true\">{}</b> {word}</span>",
        kind.sign()
    );
    format!(
        "<tr><td class=\"middle\">{mark}</td>\
         <th scope=\"row\"><span class=\"name\">{name}</span>\
         <span class=\"below\">{mark} {below} {badge}</span></th><td class=\"middle\">{badge}</td>\
         <td class=\"middle version\">{before}</td><td class=\"middle version\">{after}</td>\
         {size}</tr>\n",
        name = escape(name),
    )
}
